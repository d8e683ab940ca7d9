"""The short way between a client's octets and its session: lines are cut off, asked about and answered at once.

``data_received`` itself does what every session is made of (EHLO, AUTH, MAIL, RCPT, DATA, RSET, NOOP, QUIT and the
message) and what is no command at all, all replies of a chunk in one write. Every other line goes to aiosmtpd's
coroutine.

While something is awaited (a login, a commit, a handshake) and while replies pile up unread, nothing is worked off
and reading pauses at the next chunk that comes, so that a connection never holds more than a chunk or two.
"""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from enum import IntFlag
from typing import Final, cast

import structlog

from sesrelay.fronts.smtp import replies
from sesrelay.fronts.smtp.data import BodyReader
from sesrelay.fronts.smtp.door import Door
from sesrelay.fronts.smtp.foundation import Foundation
from sesrelay.fronts.smtp.login import Credentials
from sesrelay.fronts.smtp.session import LONGEST_AUTH_LINE, Decision, Next, Session

ENDLESS: Final = 65_536
"""So many octets are thrown away of a line that is too long, and behind the last word, before it is enough."""
_ENDLESS_LINE: Final = LONGEST_AUTH_LINE + 1 + ENDLESS
"""A longer line ends the session, whether its end has come with it or not."""
COMMANDS_IN_A_TURN: Final = 64
"""So many commands are answered before other connections get their turn (about half a millisecond)."""

log = structlog.get_logger()
# Before Python 3.12 a member is looked up by a call.
_COMMAND: Final = Next.COMMAND
_DATA: Final = Next.DATA
_CLOSE: Final = Next.CLOSE
_UNPRINTABLE: Final = re.compile(rb"[^\x20-\x7e]")


class Held(IntFlag):
    """Why what comes in is not worked off at once."""

    WAITING = 1
    """Something is awaited: a login, a commit, a handshake."""
    UNREAD = 2
    """Replies pile up that the client does not read."""
    CLOSING = 4
    """The last word was said."""
    OLD = 8
    """The session's life is over: it ends between messages."""


# Plain integers: arithmetic on an IntFlag costs more than all the rest of a reply.
WAITING, UNREAD, CLOSING, OLD = (int(why) for why in Held)
STOPPED: Final = WAITING | UNREAD | CLOSING


class ShortWay(Foundation):
    """Reading and answering; what has to be awaited is the subclass's."""

    short_way: frozenset[bytes] = frozenset({b"EHLO", b"AUTH", b"MAIL", b"RCPT", b"DATA", b"RSET", b"NOOP", b"QUIT"})
    long_way: frozenset[bytes] = frozenset({b"HELO", b"STARTTLS", b"HELP", b"VRFY", b"EXPN"})

    _session: Session

    def __init__(self, door: Door) -> None:
        super().__init__(door.loop)
        self._door = door
        self._held = 0
        self._buffer = b""
        self._line = b""
        """What aiosmtpd's coroutine was given."""
        self._coroutine_asks = False
        """It waits for the client's next line of AUTH."""
        self._beyond = 0
        """Octets that were thrown away: of an overlong line, and behind the last word."""
        self._body: BodyReader | None = None
        self._reading_paused = False
        self._switching = False
        self._gone = False
        self._client_closed = False
        """It sends nothing more, but may still listen."""
        self.alive = True
        """The client gave a sign of life since the door looked last."""

    @abstractmethod
    def _end_of_data(self, body: BodyReader, out: list[bytes]) -> None:
        """The message is complete: its refusal goes into ``out``, or its commit is awaited."""

    @abstractmethod
    def _begin_login(self, credentials: Credentials) -> None:
        """The outcome is awaited."""

    @property
    def _channel(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self.transport)  # uvloop's transports are no subclasses

    def touch(self) -> None:
        self.alive = True

    # Reading

    def data_received(self, data: bytes) -> None:
        """Works off what is complete, unless something is awaited: then no more is read after this."""
        if self._held & CLOSING:
            self._discard(data)
            return
        self.alive = True
        if self._buffer:
            data = self._buffer + data
        if not self._held & STOPPED:
            self._work_off(data)
            return
        self._buffer = data
        if not self._switching and not self._reading_paused:
            self._reading_paused = True
            self._channel.pause_reading()

    def _discard(self, data: bytes) -> None:
        """Closing takes until the client has read the last word; one that only goes on sending is cut off."""
        self._beyond += len(data)
        if self._beyond > ENDLESS:
            self._channel.abort()

    def _work_off(self, buffer: bytes) -> None:
        """Trouble that we do not understand ends the session here: nobody knows how far it had come."""
        try:
            self._answer_all_in(buffer)
        except Exception as error:
            log.exception("smtp.session_failed", exc_info=error)
            self._end(replies.FAILED)

    def _answer_all_in(self, buffer: bytes) -> None:
        """Answers everything that is complete in ``buffer`` and keeps the rest; the replies leave in one write."""
        out: list[bytes] = []
        turns, start, length = COMMANDS_IN_A_TURN, 0, len(buffer)
        while start < length:
            if self._body is not None:
                rest = self._body.feed(buffer[start:] if start else buffer)
                start = length if rest is None else length - len(rest)
                if rest is not None:
                    self._end_of_data(self._body, out)
            else:
                end = buffer.find(b"\n", start)
                if end < 0 or end - start + self._beyond > _ENDLESS_LINE:
                    buffer, start = self._unfinished(buffer[start:], out), 0
                    break
                line = buffer[start : end - 1] if end > start and buffer[end - 1] == 13 else buffer[start:end]
                start = end + 1
                self._beyond = 0
                if self._held & OLD:
                    out.append(replies.SESSION_TOO_OLD)
                    self._held |= CLOSING
                elif line[:4].upper() in self.short_way or not self._goes_long_way(line):
                    decision = self._decide(line)
                    reply, then, _ = decision
                    if reply:
                        out.append(reply)
                    if then is not _COMMAND:
                        self._enter(decision)
            turns -= 1
            if self._held & STOPPED or not turns:
                break
        self._buffer = buffer[start:]
        if out:
            self._write(out[0] if len(out) == 1 else b"".join(out))
        if self._held & CLOSING:
            self._channel.close()
        elif not turns and not self._held & WAITING:
            self._held |= WAITING
            self.loop.call_soon(self._go_on)
        elif self._client_closed:
            self._close_behind_the_last_reply()
        elif self._reading_paused and not self._held & STOPPED:
            self._reading_paused = False
            self._channel.resume_reading()

    def _decide(self, line: bytes) -> Decision:
        """What the session says to a line. Trouble that we do not understand is temporary, and only we hear of it."""
        try:
            return self._session.command(line)
        except Exception as error:
            log.exception("smtp.command_failed", exc_info=error)
            return Decision(replies.TEMPORARY_FAILURE)

    def client_closed(self) -> None:
        """The client has closed its direction of TLS; all that it sent is here, or is handed over next."""
        if not self._client_closed:
            self._client_closed = True
            self.loop.call_soon(self._close_behind_the_last_reply)

    def _close_behind_the_last_reply(self) -> None:
        if not self._gone and not self._held & STOPPED:
            self._held |= CLOSING
            self._channel.close()

    def _goes_long_way(self, line: bytes) -> bool:
        """Gives a response that ``smtp_AUTH`` waits for, or a command that aiosmtpd's loop finds well-formed, to it."""
        if self._session.awaits_response:
            if not self._coroutine_asks:
                return False
        else:
            verb = line.partition(b" ")[0].upper()
            if verb not in self.long_way or len(line) > LONGEST_AUTH_LINE or _UNPRINTABLE.search(line):
                return False
        self._held |= WAITING
        self._line = line
        self.hand_to_coroutine(line)
        return True

    def _unfinished(self, rest: bytes, out: list[bytes]) -> bytes:
        """A line without its end yet: kept as far as a line may go; one that never ends ends the session."""
        if len(rest) <= LONGEST_AUTH_LINE:
            return rest
        self._beyond += len(rest) - LONGEST_AUTH_LINE - 1
        if self._beyond <= ENDLESS:
            return rest[: LONGEST_AUTH_LINE + 1]
        out.append(replies.COMMAND_TOO_LONG + replies.LINE_WITHOUT_END)
        self._held |= CLOSING
        return b""

    def pause_writing(self) -> None:
        """The client does not read its replies: it gets no more until it does."""
        self._held |= UNREAD

    def resume_writing(self) -> None:
        self._held &= ~UNREAD
        if not self._held & STOPPED:
            self._work_off(self._buffer)

    # Answering

    def _write(self, reply: bytes) -> None:
        if not self._gone:
            self.transport.write(reply)  # type: ignore[union-attr]

    def _enter(self, decision: Decision) -> None:
        """Does what a decision says besides its reply."""
        what = decision.next
        if what is _DATA:
            around = self._door.around
            self._body = BodyReader(self._door.bounds.message_octets, around.memory, around.spool)
        elif what is _CLOSE:
            self._held |= CLOSING  # whoever sends the replies closes behind them
        elif decision.credentials is not None:
            self._held |= WAITING
            self._begin_login(decision.credentials)

    def _answer(self, decision: Decision) -> None:
        """The reply of something that was awaited, and on with what came meanwhile."""
        if self._gone or self._held & CLOSING:
            return
        if decision.next is _CLOSE:
            self._end(decision.reply)
            return
        self._write(decision.reply)
        self._enter(decision)
        self._go_on()

    def _go_on(self) -> None:
        """What was awaited has come."""
        if self._gone or self._held & CLOSING:
            return
        self._held &= ~WAITING
        if self._door.draining and self._body is None and self._session.between_messages:
            self._end(replies.SHUTTING_DOWN)
        elif (self._buffer or self._reading_paused or self._client_closed) and not self._held & UNREAD:
            self._work_off(self._buffer)

    def _end(self, reply: bytes) -> None:
        """The last word; nothing more is read."""
        self._held |= CLOSING
        self._buffer = b""
        self._forget_body()
        self._write(reply)
        self._channel.close()

    def _forget_body(self) -> None:
        """A message whose end has not come is nobody's any more."""
        body, self._body = self._body, None
        if body is not None:
            self._let_go(body)

    @staticmethod
    def _let_go(body: BodyReader, *, accepted: bool = False) -> None:
        """What a message held; a file that cannot be removed is the next start's to sweep."""
        try:
            body.close(accepted=accepted)
        except Exception as error:
            log.exception("smtp.body_not_let_go", exc_info=error)

    # What the door says

    def drain(self, *, patient: bool) -> None:
        """The worker stops: who is between two messages goes now. With patience, who has yet to send the first (he may
        be a program that sends one and never comes again) or is in the midst of one goes behind it.
        """
        if self._body is not None or self._held & (WAITING | CLOSING):
            return
        if not patient or self._session.between_messages:
            self._end(replies.SHUTTING_DOWN)

    def became_idle(self) -> None:
        """Nothing came for too long. One that does not even take the last word is cut off the next time."""
        if self._held & CLOSING:
            self._channel.abort()
        elif not self._held & WAITING:  # else it is we who let the client wait
            self._end(replies.IDLE)

    @property
    def logged_in(self) -> bool:
        return self._session.logged_in

    def login_overdue(self) -> None:
        """Nobody has logged in for too long; who waits for us at the moment is looked at again."""
        if not self._held & (WAITING | CLOSING):
            self._end(replies.LOGIN_OVERDUE)

    def became_old(self, *, much_too_old: bool) -> None:
        """The session's life is over; one that drips a message for a second life ends in the midst of it."""
        self._held |= OLD
        if much_too_old and not self._held & (WAITING | CLOSING):
            self._end(replies.SESSION_TOO_OLD)

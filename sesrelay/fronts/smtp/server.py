"""A connection to the front door: aiosmtpd's protocol, with one ``Session`` that decides and a short way to it.

The short way: ``data_received`` itself cuts lines off, asks the session and answers, all replies of a chunk in one
write. It takes what mail is made of (MAIL, RCPT, DATA, RSET, NOOP, QUIT and the message) and what is no command at
all. Every other line goes to aiosmtpd's coroutine and its ``smtp_…`` methods, which ask the same session.

While something is awaited (a login, a commit, a handshake) and while replies pile up unread, nothing is worked off
and reading pauses at the next chunk that comes.
"""

from __future__ import annotations

# ruff: noqa: N802, N815, ARG002 - names and signatures of smtp_… are aiosmtpd's
import asyncio
import re
from typing import Final, cast

import structlog

from sesrelay import killpoints
from sesrelay.fronts.smtp import replies
from sesrelay.fronts.smtp.data import BodyReader
from sesrelay.fronts.smtp.door import Door, Surroundings
from sesrelay.fronts.smtp.foundation import Foundation
from sesrelay.fronts.smtp.login import Credentials
from sesrelay.fronts.smtp.session import LONGEST_AUTH_LINE, Decision, Next, Session
from sesrelay.model.message import Submission
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.settings import Listener, Smtp

log = structlog.get_logger()

ENDLESS_LINE: Final = 65_536
"""A line that is still going on after so many octets ends the session."""
COMMANDS_IN_A_TURN: Final = 256
"""So many commands are answered before other connections get their turn (about a millisecond)."""

_UNPRINTABLE: Final = re.compile(rb"[^\x20-\x7e]")


def front_door(bounds: Smtp, listener: Listener, around: Surroundings) -> Door:
    """The protocol factory of one listener, for ``loop.create_server(door, …)``; call it on the running loop.

    With a listener of mode ``tls`` hand ``ssl=around.tls.default`` and ``ssl_handshake_timeout`` to ``create_server``.
    """
    return Door(SmtpServer, bounds, listener, around)


class SmtpServer(Foundation):
    """One connection."""

    short_way: frozenset[bytes] = frozenset({b"MAIL", b"RCPT", b"DATA", b"RSET", b"NOOP", b"QUIT"})
    long_way: frozenset[bytes] = frozenset({b"EHLO", b"HELO", b"STARTTLS", b"AUTH", b"HELP", b"VRFY", b"EXPN"})

    def __init__(self, door: Door) -> None:
        super().__init__(door.loop)
        self._door = door
        self._around = door.around
        self._buffer = b""
        self._line = b""
        self._beyond = 0
        """Octets of an overlong line that were thrown away."""
        self._body: BodyReader | None = None
        self._waiting = True
        """Something is awaited; at first: that the greeting is sent."""
        self._greeted = False
        self._unread_replies = False
        self._reading_paused = False
        self._switching = False
        self._closing = False
        self._gone = False
        self._admitted = False
        self._address = ""
        self.touched = 0.0

    # The life of a connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts it, finds its region, and lets aiosmtpd greet."""
        self._address = _address(transport.get_extra_info("peername"))
        self._admitted = self._door.opened(self, self._address)
        if not self._admitted:
            self.transport = transport
            self._end(replies.TOO_MANY_CONNECTIONS)
            return
        self._ends_at = self._around.clock.monotonic() + self._door.bounds.session_seconds
        self._begin(transport)
        self.__ident__ = replies.identification(self._door.unique())
        super().connection_made(transport)

    def _begin(self, transport: asyncio.BaseTransport) -> None:
        """A new session: at the start, and after STARTTLS, when everything before is forgotten."""
        ssl_object = transport.get_extra_info("ssl_object")
        region = self._door.region(ssl_object)
        self.hostname = self._around.endpoints[region]
        self._session = Session(
            self._door.bounds,
            region=region,
            host=self.hostname,
            client_address=self._address,
            encrypted=ssl_object is not None,
        )

    def connection_lost(self, error: Exception | None) -> None:
        """A message whose end was read is still committed; one that was not is forgotten."""
        if self._gone:
            return
        self._gone = True
        if self._admitted:
            self._door.closed(self, self._address)
        self._forget_body()
        if self.coroutine_runs:
            super().connection_lost(error)

    def eof_received(self) -> bool:
        """A client that has closed its side is not answered any more; a commit under way goes on."""
        return False

    def pause_writing(self) -> None:
        """The client does not read its replies: it gets no more until it does."""
        super().pause_writing()
        self._unread_replies = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_replies = False
        if not self._waiting:
            self._work_off()

    def touch(self) -> None:
        self.touched = self._door.touched(self)

    async def push(self, status: str | bytes) -> None:
        """What aiosmtpd says itself: the greeting, which comes first, and its reply when a command failed."""
        self._write((status.encode("ascii") if isinstance(status, str) else status) + b"\r\n")
        if not self._greeted:
            self._greeted = True
            self._go_on()

    async def handle_exception(self, error: Exception) -> str:
        """Trouble that we do not understand is temporary and says nothing to the client."""
        log.error("smtp.command_failed", client=self._address, exc_info=error)
        self.loop.call_soon(self._go_on)
        return replies.TEMPORARY_FAILURE.decode("ascii").rstrip()

    # Reading

    def data_received(self, data: bytes) -> None:
        """Works off what is complete, unless something is awaited: then no more is read after this."""
        if self._closing:
            return
        self.touch()
        self._buffer = self._buffer + data if self._buffer else data
        if not self._waiting and not self._unread_replies:
            self._work_off()
        elif not self._switching and not self._reading_paused:
            self._reading_paused = True
            self._channel.pause_reading()

    @property
    def _channel(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self.transport)  # uvloop's transports are no subclasses

    def _go_on(self) -> None:
        """What was awaited has come."""
        if self._gone or self._closing:
            return
        self._waiting = False
        if self._door.draining and self._body is None:
            self._end(replies.SHUTTING_DOWN)
        elif not self._unread_replies:
            self._work_off()

    def _work_off(self) -> None:
        """Answers everything that is complete; the replies leave in one write."""
        if self._buffer:
            if self.touched >= self._ends_at and self._overdue():
                self._end(replies.SESSION_TOO_OLD)
                return
            out: list[bytes] = []
            self._buffer = self._consume(self._buffer, out)
            if out:
                self._write(out[0] if len(out) == 1 else b"".join(out))
            if self._closing:
                self._channel.close()
                return
        if self._reading_paused and not self._waiting and not self._unread_replies:
            self._reading_paused = False
            self._channel.resume_reading()

    def _overdue(self) -> bool:
        """A session ends between messages; one that drips a message for a second session's life ends in it."""
        return self._body is None or self.touched >= self._ends_at + self._door.bounds.session_seconds

    def _consume(self, buffer: bytes, out: list[bytes]) -> bytes:
        """Appends the replies to what is complete in ``buffer``; returns what is left for later."""
        start = 0
        for _ in range(COMMANDS_IN_A_TURN):
            if self._body is not None:
                rest = self._body.feed(buffer[start:] if start else buffer)
                if rest is None:
                    return b""
                buffer, start = rest, 0
                self._end_of_data(self._body, out)
            else:
                end = buffer.find(b"\n", start)
                if end < 0:
                    return self._unfinished(buffer[start:], out)
                line = buffer[start : end - 1 if end > start and buffer[end - 1] == 13 else end]
                start = end + 1
                self._beyond = 0
                self._take_line(line, out)
            if self._waiting or self._closing:
                return b"" if self._closing else buffer[start:]
        if start < len(buffer):
            self._waiting = True
            self.loop.call_soon(self._go_on)
        return buffer[start:]

    def _take_line(self, line: bytes, out: list[bytes]) -> None:
        """Answers a line, or gives it to aiosmtpd's coroutine."""
        if line[:4].upper() not in self.short_way and self._for_coroutine(line):
            self._waiting = True
            self._line = line
            self.hand_to_coroutine(line)
            return
        decision = self._session.command(line)
        out.append(decision.reply)
        if decision.next is not Next.COMMAND:
            self._enter(decision.next)

    def _for_coroutine(self, line: bytes) -> bool:
        """A response that ``smtp_AUTH`` waits for, or a command that aiosmtpd's loop will find well-formed."""
        if self._session.awaits_response:
            return True
        verb = line.partition(b" ")[0].upper()
        return verb in self.long_way and len(line) <= LONGEST_AUTH_LINE and _UNPRINTABLE.search(line) is None

    def _unfinished(self, rest: bytes, out: list[bytes]) -> bytes:
        """A line without its end yet: kept as far as a line may go; one that never ends ends the session."""
        if len(rest) <= LONGEST_AUTH_LINE:
            return rest
        self._beyond += len(rest) - LONGEST_AUTH_LINE - 1
        if self._beyond <= ENDLESS_LINE:
            return rest[: LONGEST_AUTH_LINE + 1]
        out.append(replies.COMMAND_TOO_LONG + replies.LINE_WITHOUT_END)
        self._closing = True
        return b""

    # Answering

    def _write(self, reply: bytes) -> None:
        if not self._gone:
            self._channel.write(reply)

    def _enter(self, what: Next) -> None:
        """Does what a decision says besides its reply."""
        if what is Next.DATA:
            self._body = BodyReader(self._door.bounds.message_octets, self._around.memory, self._around.spool)
        elif what is Next.CLOSE:
            self._closing = True  # whoever sends the replies closes behind them

    def _end(self, reply: bytes) -> None:
        """The last word; nothing more is read."""
        self._closing = True
        self._buffer = b""
        self._forget_body()
        self._write(reply)
        self._channel.close()

    def _forget_body(self) -> None:
        """A message whose end has not come is nobody's any more."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def _answer(self, decision: Decision) -> None:
        """The reply of something that was awaited, and on with what came meanwhile."""
        if self._gone or self._closing:
            return
        if decision.next is Next.CLOSE:
            self._end(decision.reply)
            return
        self._write(decision.reply)
        self._enter(decision.next)
        self._go_on()

    def drain(self) -> None:
        """The worker stops: a message that is under way is finished first, everybody else goes now."""
        if not self._waiting and self._body is None and not self._closing:
            self._end(replies.SHUTTING_DOWN)

    def became_idle(self) -> None:
        """Nothing came for too long. One that does not even take the last word is cut off the next time."""
        if self._closing:
            self._channel.abort()
        elif not self._waiting:  # else it is we who let the client wait
            self._end(replies.IDLE)

    # The end of a message

    def _end_of_data(self, body: BodyReader, out: list[bytes]) -> None:
        """A message that cannot be taken is refused here; everything else is for the relay to judge."""
        content = body.content()
        self._body = None
        if isinstance(content, Refusal):
            body.close()
            self._session.message_ended(accepted=False)
            self._around.counters.refused(content.value)
            out.append(replies.refused(Refused(content)))
            if self._door.draining:
                out.append(replies.SHUTTING_DOWN)
                self._closing = True
            return
        self._waiting = True
        self._door.start(self._commit(self._session.submission(content), body))

    async def _commit(self, submission: Submission, body: BodyReader) -> None:
        """Hands the message over; whatever becomes of the connection, this runs to its end (SMTP-7)."""
        accepted = False
        try:
            message_id = await self._around.relay.accept(submission)
            accepted = True
            self._around.counters.accepted(len(submission.recipients))
            reply = replies.accepted(message_id)
            killpoints.reached("before-250")
        except Refused as refused:
            self._around.counters.refused(refused.refusal.value)
            reply = replies.refused(refused)
        except Exception:  # trouble that we do not understand is temporary
            log.exception("smtp.message_failed", client=self._address, account_id=submission.account_id)
            reply = replies.TEMPORARY_FAILURE
        finally:
            body.close(accepted=accepted)
        self._session.message_ended(accepted=accepted)
        self._answer(Decision(reply))

    # aiosmtpd's coroutine comes here; ``arg`` is its reading of the line, the session has its own

    async def smtp_EHLO(self, arg: str) -> None:
        self._answer(self._session.command(self._line))

    smtp_HELO = smtp_HELP = smtp_VRFY = smtp_EXPN = smtp_EHLO
    smtp_MAIL = smtp_RCPT = smtp_DATA = smtp_RSET = smtp_NOOP = smtp_QUIT = smtp_EHLO

    async def smtp_AUTH(self, arg: str) -> None:
        """The dialogue, then the check of what it brought."""
        decision = self._session.command(self._line)
        while decision.next is Next.RESPONSE:
            self._answer(decision)
            decision = self._session.command(await self.next_line())
        if decision.credentials is not None:
            decision = await self._log_in(decision.credentials)
        self._answer(decision)

    async def _log_in(self, credentials: Credentials) -> Decision:
        """Never a 535 for trouble of our own (SMTP-15)."""
        session = self._session
        try:
            login = await self._around.relay.login(credentials.access_key_id, credentials.password, session.region)
        except Refused as refused:
            log.info("smtp.login_refused", client=self._address, reason=refused.refusal.value)
            self._around.counters.refused(refused.refusal.value)
            return session.login_refused(refused)
        except Exception:
            log.exception("smtp.login_failed", client=self._address)
            return session.login_refused(Refused(Refusal.LOGIN_UNAVAILABLE))
        return session.logged_in(login)

    async def smtp_STARTTLS(self, arg: str) -> None:
        """Switches; what was sent in clear behind the command is thrown away unread (SMTP-2)."""
        decision = self._session.command(self._line)
        if decision.next is not Next.STARTTLS:
            self._answer(decision)
            return
        self._buffer = b""
        self._switching = True
        try:
            await self.switch_to_tls(decision.reply, self._around.tls.default, self._door.bounds.tls_handshake_seconds)
        except OSError as error:
            log.info("smtp.tls_handshake_failed", client=self._address, reason=type(error).__name__)
            self._channel.abort()
            self.connection_lost(error)  # the TLS layer does not tell us when its handshake fails
            return
        self._switching = self._reading_paused = False
        self._begin(self._channel)
        self._go_on()


def _address(peer: object) -> str:
    """The client's address as text, "" when it is gone already; IPv4 in IPv6 is IPv4."""
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else ""

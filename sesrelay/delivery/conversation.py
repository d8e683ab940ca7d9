"""The client's side of SMTP without a socket: replies in, octets out, and an outcome for each recipient.

Every transaction that was begun ends in exactly one Outcome, whatever the server says or does not say. Nothing that
arrived in clear is believed behind STARTTLS. The final dot is the one irrevocable step: whoever takes the last piece
(``next_piece`` when ``dot_is_next``) sends it or calls ``abandon``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from sesrelay.delivery.dots import END, wire_pieces
from sesrelay.delivery.opening import Opening
from sesrelay.delivery.transaction import QUIT_SECONDS, TIME_LIMITS, Answer, Outcome, Terms, Transaction
from sesrelay.model.reply import Reply, Scope, Stage

_ABOUT_OUR_LOGIN: Final = (530, 534, 535, 538)


class Conversation(Opening):
    """A session as a state machine.

    The owner calls ``receive``, ``begin``, ``next_piece``, ``tls_started``, ``broken`` and ``quit``, and after each
    looks at ``output``, ``wants_tls``, ``ready``, ``failure``, ``outcome`` and ``closed``.
    """

    __slots__ = (
        "_accepted", "_answers", "_awaited", "_dot_sent", "_leaving", "_next", "_pieces", "_reset_first", "_rest",
        "_served", "_spoke", "_transaction", "outcome",
    )  # fmt: skip

    def __init__(self, terms: Terms, *, encrypted: bool = False) -> None:
        super().__init__(terms, encrypted=encrypted)
        self.outcome: Outcome | None = None
        """Of the transaction that just ended; the owner takes it away."""
        self._served = 0
        self._leaving = False
        self._reset_first = False
        self._transaction: Transaction | None = None
        self._answers: dict[int, Answer] = {}
        self._accepted: list[int] = []
        self._awaited: deque[tuple[Stage, int]] = deque()
        """The commands whose replies have not come; with RCPT its recipient."""
        self._rest: deque[bytes] = deque()
        """What is said once the reply before it has come."""
        self._pieces: Iterator[tuple[bytes, bool]] = iter(())
        self._next: tuple[bytes, bool] | None = None
        self._dot_sent = False
        self._spoke = False

    @property
    def served(self) -> int:
        """Transactions that ended over this session."""
        return self._served

    @property
    def seconds(self) -> float:
        """How long the silence that now begins may last."""
        return QUIT_SECONDS if self._leaving else TIME_LIMITS[self.stage]

    # What arrives

    def receive(self, data: bytes) -> None:
        """Octets of the server."""
        reader = self._reader
        for reply in reader.feed(data):
            self._spoke = True
            self._heed(reply)
        if reader.trouble and not self.wants_tls:
            self.broken(reader.trouble)

    def broken(self, why: str) -> None:
        """The connection ended, timed out or makes no sense: nothing more can be learnt from it."""
        if self.closed:
            return
        if self._transaction is not None:
            stale = self._served > 0 and not self._spoke and not self._dot_sent
            self._finish(Scope.SESSION, None, why, stale=stale)
        elif not self.ready and self.failure is None:
            self.failure = Answer(self.stage, Scope.HOST, None, why)
        self._close()

    def abandon(self, why: str) -> None:
        """We stop before the final dot, for a reason of our own."""
        if self._transaction is not None:
            self._finish(Scope.OURSELVES, None, why, not_tried=True)
        self._close()

    # A transaction

    def begin(self, transaction: Transaction) -> None:
        """Starts a transaction; the session must be ready."""
        assert self.ready, "the session is not ready"  # a promise of the owner
        self.ready = False
        self._transaction = transaction
        self._answers = {}
        self._accepted = []
        self._dot_sent = False
        self._spoke = False
        never = self._never_sendable(transaction)
        if never:
            self._finish(Scope.MESSAGE, None, never, permanent=True)
            return
        commands = [self._mail(transaction)]
        awaited = self._awaited
        if self._reset_first:
            commands.insert(0, b"RSET\r\n")
            awaited.append((Stage.MAIL, -2))
            self._reset_first = False
        awaited.append((Stage.MAIL, -1))
        for key, address in transaction.recipients.items():
            commands.append(b"RCPT TO:<%b>\r\n" % address.encode())
            awaited.append((Stage.RCPT, key))
        commands.append(b"DATA\r\n")
        awaited.append((Stage.DATA, -1))
        self.stage = Stage.MAIL
        self._heed = self._heed_command
        if "PIPELINING" in self._extensions:
            self.output.append(b"".join(commands))
        else:
            self.output.append(commands[0])
            self._rest.extend(commands[1:])

    def _mail(self, transaction: Transaction) -> bytes:
        # 8-bit content goes to a server without 8BITMIME as it is: to recode it would break its signatures.
        body = " BODY=8BITMIME" if transaction.eight_bit and "8BITMIME" in self._extensions else ""
        size = f" SIZE={len(transaction.content)}" if "SIZE" in self._extensions else ""
        return f"MAIL FROM:<{transaction.mail_from}>{body}{size}\r\n".encode()

    def _never_sendable(self, transaction: Transaction) -> str:
        """Why this transaction cannot go to this server at all, in words that begin with a code, or ""."""
        for address in (transaction.mail_from, *transaction.recipients.values()):
            if not (address.isascii() and address.isprintable()):
                return f"553 5.6.7 the address {address!r} cannot be written in ASCII"
        octets, limit = len(transaction.content), self._extensions.get("SIZE", "")
        # RFC 1870 §6.1: what the server said that it will not take is not sent.
        if limit.isdecimal() and 0 < int(limit) < octets:
            return f"552 5.3.4 message of {octets} octets exceeds the server's limit of {limit}"
        return ""

    def _heed_command(self, reply: Reply) -> None:
        stage, key = self._awaited.popleft()
        if reply.code == 421:
            self._end_session(reply, stage)
            return
        if stage is Stage.RCPT:
            if key in self._answers:
                pass  # MAIL was refused; what is said to a RCPT behind it means nothing
            elif reply.code // 100 == 2:
                self._accepted.append(key)
            else:
                self._answers[key] = Answer(Stage.RCPT, Scope.RECIPIENT, reply)
        elif stage is Stage.DATA:
            self._heed_data(reply)
            return
        elif key == -1 and reply.code // 100 != 2:
            # RFC 4954 §6: these are about how we came, not about the mail.
            scope = Scope.OURSELVES if reply.code in _ABOUT_OUR_LOGIN else Scope.MESSAGE
            self._answer_all(Answer(Stage.MAIL, scope, reply))
            if self._rest:
                self._finish(Scope.MESSAGE, reply, "")
                return
        if self._rest:
            if not self._accepted and self._awaited[0][0] is Stage.DATA:
                self._reset_first = True
                self._finish(Scope.MESSAGE, reply, "")
                return
            self.output.append(self._rest.popleft())
        self.stage = self._awaited[0][0]

    def _heed_data(self, reply: Reply) -> None:
        if reply.code // 100 == 3:
            self.stage = Stage.BODY
            self._heed = self._heed_final
            transaction = self._transaction
            assert transaction is not None
            # RFC 2920 §3.1: nobody was accepted and the server waits for a message all the same: an empty one.
            self._pieces = wire_pieces(transaction.content) if self._accepted else iter(((END, True),))
            self._next = next(self._pieces)
            return
        self._reset_first = True
        self.stage = Stage.DATA
        if reply.code // 100 == 2:
            self._finish(Scope.SESSION, None, f"a senseless reply to DATA: {reply}")
            self._close()
            return
        self._finish(Scope.MESSAGE, reply, "")

    # The content

    @property
    def has_content(self) -> bool:
        """There are octets of the content to be sent now."""
        return self._next is not None

    @property
    def content_sent(self) -> bool:
        """Octets of the content are on their way, perhaps all of them."""
        return self.stage is Stage.BODY or self.stage is Stage.END_OF_DATA

    @property
    def dot_is_next(self) -> bool:
        """The next piece ends the message."""
        return self._next is not None and self._next[1]

    def next_piece(self) -> bytes:
        """The next octets of the content (``has_content``)."""
        assert self._next is not None  # a promise of the owner
        piece, last = self._next
        if last:
            self._next = None
            self._dot_sent = bool(self._accepted)
            self.stage = Stage.END_OF_DATA
        else:
            self._next = next(self._pieces)
        return piece

    def _heed_final(self, reply: Reply) -> None:
        if self._next is not None:
            # An answer before the end: we cannot leave the message half sent, so the session ends here.
            scope = Scope.SESSION if reply.code == 421 else Scope.MESSAGE
            self._finish(scope, None if reply.positive else reply, f"{reply}" if reply.positive else "")
            self._close()
        elif reply.code == 421:
            self._dot_sent = False
            self._end_session(reply, Stage.END_OF_DATA)
        elif reply.code // 100 == 3:
            self._finish(Scope.SESSION, None, f"a senseless reply to the final dot: {reply}")
            self._close()
        else:
            self._dot_sent = False
            self._finish(Scope.MESSAGE, reply, "")

    # Ends

    def _end_session(self, reply: Reply, stage: Stage) -> None:
        """421: the server goes away (RFC 5321 §3.8)."""
        self.stage = stage
        stale = self._served > 0 and stage is Stage.MAIL
        self._finish(Scope.SESSION, reply, "", stale=stale)
        self._close()

    def _answer_all(self, answer: Answer) -> None:
        transaction = self._transaction
        assert transaction is not None
        for key in transaction.recipients:
            self._answers.setdefault(key, answer)

    def _finish(
        self,
        scope: Scope,
        reply: Reply | None,
        trouble: str,
        *,
        permanent: bool = False,
        not_tried: bool = False,
        stale: bool = False,
    ) -> None:
        """Everybody without an answer gets this one; the session is ready for the next transaction."""
        self._answer_all(Answer(self.stage, scope, reply, trouble, self._dot_sent, permanent, not_tried))
        self.outcome = Outcome(self._answers, stale)
        self._served += 1
        self._transaction = None
        self._next = None
        if self._awaited or self._rest:
            self._awaited.clear()
            self._rest.clear()
        self._become_ready()

    def _heed_unasked(self, reply: Reply) -> None:
        """Said without being asked; a 421 before it hangs up, as a rule."""
        self.broken(f"{reply}")

    def quit(self) -> None:
        """Ends an idle session politely."""
        if not self.closed:
            self.ready = False
            self._leaving = True
            self._heed = self._heed_farewell
            self._say("QUIT")

    def _heed_farewell(self, _reply: Reply) -> None:
        self._close()

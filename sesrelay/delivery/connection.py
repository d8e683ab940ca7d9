"""A conversation on a socket: moves octets and watches the time; what they mean is the conversation's business.

Works on asyncio's own loop and on uvloop. The owner hears of the end of every transaction exactly once, and exactly
once that the connection is gone.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

import structlog

from sesrelay import killpoints
from sesrelay.delivery.conversation import Conversation
from sesrelay.delivery.hosts import Host
from sesrelay.delivery.transaction import QUIT_SECONDS, TIME_LIMITS, Outcome, Transaction
from sesrelay.model.clock import Clock
from sesrelay.model.reply import Stage

log = structlog.get_logger()


class Owner(Protocol):
    """Who uses a connection."""

    def may_finish(self) -> bool:
        """May a final dot be sent now? No, when our claims may already be somebody else's."""

    def transaction_ended(self, connection: Connection, outcome: Outcome) -> None:
        """A transaction has its outcome; the next may begin at once if the connection is ``ready``."""

    def connection_gone(self, connection: Connection) -> None:
        """The connection is closed; nothing more will come of it."""


class Connection(asyncio.Protocol):
    """One TCP connection to a host. ``opened`` is done when the session is ready or has failed."""

    def __init__(
        self,
        conversation: Conversation,
        host: Host,
        owner: Owner,
        clock: Clock,
        *,
        tls: ssl.SSLContext | None,
        idle_seconds: float,
    ) -> None:
        self.conversation = conversation
        self.host = host
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.deadline = clock.monotonic() + TIME_LIMITS[Stage.GREETING]
        """On the monotonic clock: when ``expire`` is to be called."""
        self.remote = str(host)
        self.local_address = ""
        self.tls = ""
        self._owner = owner
        self._clock = clock
        self._tls_context = tls
        self._idle_seconds = idle_seconds
        self._transport: asyncio.Transport | None = None
        self._unsent = 0
        self._writing_paused = False
        self._advancing = False
        self._gone = False
        self._upgrade: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """A transaction may begin."""
        return self.conversation.ready

    def begin(self, transaction: Transaction) -> None:
        """Starts a transaction on a ready connection."""
        self.conversation.begin(transaction)
        self._advance()

    def quit(self) -> None:
        """Says goodbye on an idle connection."""
        self.conversation.quit()
        self._advance()

    def abort(self, why: str) -> None:
        """Gives the connection up at once."""
        self.conversation.broken(why)
        if self._transport is not None:
            self._transport.abort()
        self._advance()

    def expire(self) -> None:
        """The deadline has passed."""
        conversation = self.conversation
        if conversation.ready:
            self.quit()
        elif self._transport is not None and self._transport.get_write_buffer_size() < self._unsent:
            self._rearm()  # slow, but it moves
        else:
            self.abort(f"timed out: silent for {conversation.seconds:.0f} s")

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        local = transport.get_extra_info("sockname")
        self.local_address = local[0] if isinstance(local, tuple) else ""
        self._describe_tls()

    def data_received(self, data: bytes) -> None:
        self.conversation.receive(data)
        self._advance()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._gone:
            return
        self._gone = True
        self._transport = None
        self.conversation.broken(f"the connection broke: {exc}" if exc else "the server closed the connection")
        self._advance()
        self._owner.connection_gone(self)

    # What the conversation wants

    def _advance(self) -> None:
        """Does all that the conversation now wants; transactions that end at once make no recursion."""
        if self._advancing:
            return
        self._advancing = True
        try:
            conversation = self.conversation
            while True:
                # The outcome first: the owner may begin the next transaction, which then goes out with the same write.
                outcome = conversation.outcome
                if outcome is not None:
                    conversation.outcome = None
                    self._owner.transaction_ended(self, outcome)
                else:
                    self._obey()
                    if conversation.outcome is None:
                        break
        except Exception:
            # A fault of ours must neither lose a claim nor leave a half-sent message behind.
            log.exception("delivery-connection-fault", remote=self.remote)
            self.conversation.broken("a fault of our own")
            if self._transport is not None:
                self._transport.abort()
        finally:
            self._advancing = False

    def _obey(self) -> None:
        conversation, transport = self.conversation, self._transport
        if transport is not None:
            output = conversation.output
            if output:
                transport.write(output[0] if len(output) == 1 else b"".join(output))
                output.clear()
            if conversation.has_content:
                self._send_content(transport)
            if conversation.closed:
                transport.close()
            elif conversation.wants_tls and self._upgrade is None:
                self._upgrade = asyncio.get_running_loop().create_task(self._start_tls(transport))
        if not self.opened.done() and (conversation.ready or conversation.closed):
            self.opened.set_result(None)
        self._rearm()

    def _rearm(self) -> None:
        conversation = self.conversation
        if conversation.ready:
            seconds = self._idle_seconds
        elif conversation.closed:
            seconds = QUIT_SECONDS
        else:
            seconds = conversation.seconds
            if conversation.content_sent and self._transport is not None:
                self._unsent = self._transport.get_write_buffer_size()
        self.deadline = self._clock.monotonic() + seconds

    def _send_content(self, transport: asyncio.Transport) -> None:
        conversation = self.conversation
        while not self._writing_paused and conversation.has_content:
            ends = conversation.dot_is_next
            if ends and not self._owner.may_finish():
                conversation.abandon("our lease on this message is in doubt: not sent")
                transport.abort()
                return
            piece = conversation.next_piece()
            transport.write(piece)
            if ends:
                _after_final_dot()

    # TLS

    async def _start_tls(self, transport: asyncio.Transport) -> None:
        """Wraps the connection; the conversation has already forgotten what came in clear."""
        try:
            upgraded = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._tls_context or ssl.create_default_context(),
                server_hostname=self.host.name,
                ssl_handshake_timeout=TIME_LIMITS[Stage.STARTTLS],
            )
        except OSError as fault:  # SSLError and TimeoutError are OSErrors
            self._upgrade = None
            self.abort(f"the TLS handshake failed: {fault}")
            self.connection_lost(None)  # not every loop says so after a failed handshake
            return
        self._upgrade = None
        if upgraded is None or self._gone:
            return
        self._transport = upgraded
        self._describe_tls()
        self.conversation.tls_started()
        self._advance()

    def _describe_tls(self) -> None:
        transport = self._transport
        wrapped = transport.get_extra_info("ssl_object") if transport is not None else None
        if wrapped is not None:
            self.tls = f"{wrapped.version()} {wrapped.cipher()[0]}"


def _after_final_dot() -> None:
    """The kill point; not before the loop's next turn, since uvloop writes at the end of this one."""
    if killpoints.ARMED == "after-final-dot":
        asyncio.get_running_loop().call_soon(killpoints.reached, "after-final-dot")

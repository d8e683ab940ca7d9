"""Connections from their arrival to their session: counted and bounded at once, before anything is done for them
(SMTP-9, SMTP-13).

Where nothing comes before the greeting the loop has the socket in the turn in which it was accepted. Where TLS or a
PROXY header comes first, an arrival is a socket in a set; nothing is read that is not the header's. Whoever is one too
many hears so in clear; who is late, or may not send a header, or would be one too many in TLS is closed without a
word: there is none that such a client would understand.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final, cast

import structlog

from sesrelay.connections.beforetls import BeforeTls
from sesrelay.connections.running import run_now
from sesrelay.fronts.smtp import replies
from sesrelay.fronts.smtp.door import TLS_CLOSE_SECONDS, Connection, Door
from sesrelay.fronts.smtp.proxyheader import ProxyHeader, ProxyHeaderError

HEADER_SECONDS: Final = 5.0
_UNINTRODUCED: Final = 500
"""Connections of a listener whose PROXY header is awaited."""

log = structlog.get_logger()


class InClear:
    """One whose session is next: the loop has its socket in this turn, and it hears us in the next one."""

    __slots__ = ("_client", "_door", "_session", "_socket")

    def __init__(self, door: Door, connection: socket.socket, client: str) -> None:
        self._door = door
        self._socket = connection
        self._client = client

    def come(self) -> None:
        """Counts it, or says why not."""
        door = self._door
        try:
            admitted = door.admit(self._client)
        except Exception:
            log.exception("smtp.session_failed", client=self._client)
            self._turn_away(replies.FAILED)
            return
        if not admitted:
            self._turn_away(replies.TOO_MANY_CONNECTIONS)
            return
        door.begun(self)
        self._session: Connection | None = None
        run_now(door.loop.connect_accepted_socket(self._begin, self._socket), self._begun)

    def cut(self) -> None:
        """It is as good as in its session, which hears of all that happens."""

    def _begin(self) -> asyncio.Protocol:
        self._session = self._door.session_for(self._client)
        return cast("asyncio.Protocol", self._session)

    def _begun(self, failure: Exception | None) -> None:
        """Exactly one of us counts it out: the door, when the session came to it, or we."""
        door = self._door
        door.ended(self)
        if failure is not None:
            log.error("smtp.session_failed", client=self._client, exc_info=failure)
            self._socket.close()
        if self._session is None or not self._session.admitted:
            door.leave(self._client)

    def _turn_away(self, words: bytes) -> None:
        """For the first words there is always room in a socket."""
        with suppress(OSError):
            self._socket.send(words)
        self._socket.close()


class Arrival(BeforeTls):
    """One for whom TLS or a PROXY header comes first."""

    __slots__ = ("_counted", "_door", "_header", "_session", "_timer")

    failed = "smtp.session_failed"

    def __init__(self, door: Door, connection: socket.socket, peer: str) -> None:
        super().__init__(door.loop, door.around.handshakes, connection, peer)
        self._door = door
        self._header: ProxyHeader | None = None
        self._counted = False
        self._timer: asyncio.TimerHandle | None = None
        self._session: Connection | None = None

    def come(self) -> None:
        """Counts it; where the PROXY header comes first, that says whom to count."""
        door = self._door
        door.begun(self)
        if not door.proxied:
            self._go_on_in_tls()
        elif not door.trusts(self.client):
            self._refuse("not from a trusted network")
        elif door.introducing >= _UNINTRODUCED:
            door.count(door.around.counters.connection_refused)
            self.cut()
        else:
            self._await_header()

    def _await_header(self) -> None:
        door = self._door
        door.introducing += 1
        self._header = ProxyHeader()
        self._timer = door.loop.call_later(HEADER_SECONDS, self._refuse, "too late")
        self._when_readable(self._read_header)

    def _read_header(self) -> None:
        assert self._header is not None
        assert self._socket is not None
        try:
            while self._header.wanted:
                octets = self._socket.recv(self._header.wanted)
                if not octets:
                    self.cut()
                    return
                self._header.feed(octets)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.cut()
            return
        except ProxyHeaderError as error:
            self._refuse(str(error))
            return
        self._door.loop.remove_reader(self._socket)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._introduced(self._header.client or self.client)

    def _introduced(self, client: str) -> None:
        self._header = None
        self._door.introducing -= 1
        self.client = client
        if self._door.tls_at_once:
            self._go_on_in_tls()
        else:
            in_clear = InClear(self._door, self._taken(), client)
            self._leave()
            in_clear.come()

    def _go_on_in_tls(self) -> None:
        """A handshake that begins at once has its own end of time."""
        self._counted = self._door.admit(self.client)
        if not self._counted:
            self.cut()
            return
        self._await_hello()
        if self._task is None and self._socket is not None:
            self._set_timer()

    def _set_timer(self) -> None:
        self._timer = self._door.loop.call_later(self._door.bounds.tls_handshake_seconds, self._too_late)

    def _too_late(self) -> None:
        self._door.complain("smtp.tls_handshake_failed", self.client, "too late")
        self.cut()

    def _refuse(self, reason: str) -> None:
        self._door.count(self._door.around.counters.proxy_header_refused)
        self._door.complain("smtp.proxy_header_refused", self.client, reason)
        self.cut()

    async def _open(self) -> None:
        door = self._door
        self._session = session = door.session_for(self.client)
        await door.loop.connect_accepted_socket(
            lambda: cast("asyncio.Protocol", session),
            self._taken(),
            ssl=door.around.tls.first,
            ssl_handshake_timeout=door.bounds.tls_handshake_seconds,
            ssl_shutdown_timeout=TLS_CLOSE_SECONDS,
        )

    def _not_opened(self, error: OSError) -> None:
        self._door.complain("smtp.tls_handshake_failed", self.client, type(error).__name__)

    def _leave(self) -> None:
        """Exactly one of us counts it out: the door, when the session came to it, or we."""
        super()._leave()
        session, self._session = self._session, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._door.ended(self)
        if self._header is not None:
            self._door.introducing -= 1
            self._header = None
        if self._counted and (session is None or not session.admitted):
            self._door.leave(self.client)
        self._counted = False

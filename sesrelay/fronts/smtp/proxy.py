"""A listener behind a load balancer: the PROXY header first, from trusted networks only, then the session (SMTP-13).

Whoever is not trusted, is late or sends something else is closed without a word and with a line in the log: no
address is ever believed of a client, and none falls back to the load balancer's.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any, Final, Protocol, cast

import structlog

from sesrelay.fronts.smtp.door import TLS_CLOSE_SECONDS, Door
from sesrelay.fronts.smtp.proxyheader import ProxyHeader, ProxyHeaderError

HEADER_SECONDS: Final = 5.0
log = structlog.get_logger()


class Served(Protocol):
    """What is asked of a connection of the front door."""

    client: str
    """The client's address where the transport's peer is somebody else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def data_received(self, data: bytes) -> None: ...


class ProxyDoor(Door):
    """The protocol factory of a listener with ``proxy_protocol``; TLS begins behind the header."""

    header_seconds = HEADER_SECONDS

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._handshakes: set[asyncio.Task[None]] = set()

    def __call__(self) -> asyncio.BaseProtocol:  # type: ignore[override]
        return _Introduction(self)

    @property
    def tls_arguments(self) -> dict[str, object]:
        return {}

    def trusts(self, peer: str) -> bool:
        """Whether this peer may say who its clients are."""
        if not peer:
            return False
        address = ip_address(peer.partition("%")[0])
        return any(address in ip_network(network) for network in self.bounds.proxy_networks)

    def admit(self, transport: asyncio.Transport, client: str) -> None:
        """The header was read: the session begins, after the handshake where TLS comes first."""
        server = cast("Served", self._make(self))
        server.client = client
        if self._tls_at_once:
            transport.pause_reading()
            self._handshakes.add(task := self.loop.create_task(self._shake_hands(transport, server)))
            task.add_done_callback(self._handshakes.discard)
        else:
            transport.set_protocol(cast("asyncio.BaseProtocol", server))
            server.connection_made(transport)

    async def _shake_hands(self, transport: asyncio.Transport, server: Served) -> None:
        early = _Early()
        try:
            encrypted = await self.loop.start_tls(
                *(transport, early, self.around.tls.default),
                server_side=True,
                ssl_handshake_timeout=self.bounds.tls_handshake_seconds,
                ssl_shutdown_timeout=TLS_CLOSE_SECONDS,
            )
        except OSError as error:
            log.info("smtp.tls_handshake_failed", client=server.client, reason=type(error).__name__)
            transport.abort()
            return
        if encrypted is None or early.lost:
            return
        encrypted.set_protocol(cast("asyncio.BaseProtocol", server))
        server.connection_made(encrypted)
        if early.octets:
            server.data_received(bytes(early.octets))


class _Introduction(asyncio.BufferedProtocol):
    """Reads the header: never more than it wants, since a ClientHello may follow at once."""

    def __init__(self, door: ProxyDoor) -> None:
        self._door = door
        self._header = ProxyHeader()
        self._place = bytearray()
        self._peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else ""
        self._timer = self._door.loop.call_later(self._door.header_seconds, self._refuse, "too late")
        if not self._door.trusts(self._peer):
            self._refuse("not from a trusted network")

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - asyncio's signature
        self._place = bytearray(self._header.wanted or 1)
        return self._place

    def buffer_updated(self, nbytes: int) -> None:
        if self._transport.is_closing():
            return
        try:
            self._header.feed(bytes(self._place[:nbytes]))
        except ProxyHeaderError as error:
            self._refuse(str(error))
            return
        if not self._header.wanted:
            self._timer.cancel()
            self._door.admit(self._transport, self._header.client or self._peer)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._timer.cancel()

    def _refuse(self, reason: str) -> None:
        self._timer.cancel()
        log.info("smtp.proxy_header_refused", peer=self._peer, reason=reason)
        self._transport.abort()


class _Early(asyncio.Protocol):
    """Keeps what a client sends between the end of the handshake and the start of its session."""

    def __init__(self) -> None:
        self.octets = bytearray()
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.octets += data

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.lost = True

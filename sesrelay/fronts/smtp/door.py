"""A listener's front door: lets clients in, watches them all with one timer, and closes without losing mail."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, Final, Protocol

import structlog

from sesrelay.connections.acceptor import Acceptor, Arrival
from sesrelay.connections.caps import NodeConnections
from sesrelay.connections.complaints import Complaints
from sesrelay.connections.handshakes import Handshakes
from sesrelay.core.guard import LoginGuard
from sesrelay.fronts.smtp.data import SpoolWriter, WorkerOctets
from sesrelay.fronts.smtp.tls import TlsContexts
from sesrelay.model.account import Login
from sesrelay.model.clock import Clock
from sesrelay.model.message import MessageId, Submission
from sesrelay.settings import Listener, Smtp

log = structlog.get_logger()

_ALPHANUMERICS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TO_ALPHANUMERICS: Final = bytes(_ALPHANUMERICS[octet % len(_ALPHANUMERICS)] for octet in range(256))
TLS_CLOSE_SECONDS: Final = 2
"""A client that does not answer the end of TLS in this time is cut off."""
_POLL_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 2
"""At a drain, whoever came for a message and is silent for so long (or is still in its handshake then) is not waited
for: longer than a round trip, shorter than others like to wait for a restart."""
_LOOKS: Final = 10
"""A session is closed as idle when it was so for as long as it may, and at most a tenth longer."""


class RelayDoor(Protocol):
    """What the front door needs of ``core.Relay``."""

    async def accept(self, submission: Submission) -> MessageId:
        """Returns when the message is durable. Refused."""

    async def login(self, access_key_id: str, password: bytes, region: str, client_address: str) -> Login:
        """Refused: BAD_CREDENTIALS, NOT_SUBSCRIBED, MAY_NOT_SEND, LOGIN_UNAVAILABLE."""


class Counters(Protocol):
    """What the front door counts."""

    def accepted(self, recipients: int) -> None:
        """A message to so many recipients was committed."""

    def refused(self, reason: str) -> None:
        """A login or a message got a refusal of this name."""

    def connection_refused(self) -> None:
        """There were too many, of its address or in all."""

    def proxy_header_refused(self) -> None:
        """Somebody sent none, or may not send one."""

    def login_delayed(self) -> None:
        """A login waits, because of those that failed before it."""


class Connection(Protocol):
    """What a door asks of its connections."""

    client: str
    """Its address, which may not be that of the transport's peer."""
    admitted: bool
    """It is known to its door, which counts it out."""
    alive: bool
    """The client gave a sign of life; the door sets it back when it has seen it."""

    @property
    def logged_in(self) -> bool:
        """A login succeeded."""

    def login_overdue(self) -> None:
        """None did for too long."""

    def became_idle(self) -> None:
        """It gave none for too long."""

    def became_old(self, *, much_too_old: bool) -> None:
        """Its session's life is over; or even twice that."""

    def drain(self, *, patient: bool) -> None:
        """The worker stops; without patience who is not in the midst of a message leaves at once."""


@dataclass(slots=True)
class _Watched:
    """What the watch knows of a connection, in seconds of ``Clock.monotonic``."""

    opened: float
    seen: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all doors of a worker share."""

    relay: RelayDoor
    tls: TlsContexts
    caps: NodeConnections
    clock: Clock
    chance: Callable[[int], bytes]
    counters: Counters
    spool: Callable[[bytes], SpoolWriter]
    """Opens a file for a big message; its argument is the header, the empty line included."""
    memory: WorkerOctets
    endpoints: Mapping[str, str]
    """Region to endpoint name, the default region first."""
    guard: LoginGuard
    handshakes: Handshakes = field(default_factory=Handshakes)


class Door:
    """The front door of one listener."""

    def __init__(
        self,
        make: Callable[[Door], Connection],
        arrive: Callable[[Door, socket.socket, str], Arrival],
        bounds: Smtp,
        listener: Listener,
        around: Surroundings,
    ) -> None:
        """``make``: a session that has yet to begin; ``arrive``: a client, by its socket and its address."""
        self.loop = asyncio.get_running_loop()
        self.bounds = bounds
        self.around = around
        self.draining = False
        self._make = make
        self._acceptor = Acceptor(
            self.loop, partial(arrive, self), not_accepted="smtp.not_accepted", failed="smtp.session_failed"
        )
        self.tls_at_once = listener.mode == "tls"
        self.proxied = listener.proxy_protocol
        self.introducing = 0
        """How many have yet to send their PROXY header."""
        self._networks = tuple(ip_network(network) for network in bounds.proxy_networks)
        self._region = listener.region
        self._default_region = listener.region or next(iter(around.endpoints))
        self.complain = Complaints(log.info, around.clock.monotonic).about
        """Of peers: event, client and reason, one line for each in a minute."""
        self._coming: set[Arrival] = set()
        """Accepted, and not in a session yet: in the handshake of TLS, say."""
        self._connections: dict[Connection, _Watched] = {}
        self._under_way: dict[Connection, asyncio.Task[None]] = {}
        self._watcher: asyncio.Task[None] | None = None

    def listen(self, listening: socket.socket, backlog: int) -> None:
        """Takes whoever comes to this socket, until ``close``."""
        self._acceptor.listen(listening, backlog)

    def take(self, connection: socket.socket) -> None:
        """Somebody else has accepted it."""
        self._acceptor.take(connection)

    def close(self) -> None:
        """Nobody comes any more. The sockets are closed; ``drain`` is next."""
        self._acceptor.close()

    # Arrivals

    def trusts(self, peer: str) -> bool:
        """Whether this peer may say who its clients are."""
        if not peer:
            return False
        address = ip_address(peer.partition("%")[0])
        return any(address in network for network in self._networks)

    def begun(self, arrival: Arrival) -> None:
        """Somebody is on the way."""
        self._coming.add(arrival)

    def session_for(self, client: str) -> Connection:
        """Not begun yet."""
        session = self._make(self)
        session.client = client
        return session

    def ended(self, arrival: Arrival) -> None:
        """It is a session now, or gone."""
        self._coming.discard(arrival)

    # What sessions ask

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def region(self, ssl_object: ssl.SSLObject | None) -> str:
        """The listener's region if it has one, else the one whose endpoint name the client asked for (SMTP-1)."""
        return self._region or self.around.tls.region(ssl_object) or self._default_region

    def unique(self) -> str:
        """20 alphanumerics that name a session."""
        return self.around.chance(20).translate(_TO_ALPHANUMERICS).decode("ascii")

    # Connections come, give signs of life, and go

    def admit(self, address: str) -> bool:
        """False: there are too many, of this address or in all; or it has no address, because it is gone already."""
        if not address:
            return False
        if not self.around.caps.admit(address):
            self.count(self.around.counters.connection_refused)
            return False
        return True

    def leave(self, address: str) -> None:
        """Somebody who was admitted is gone."""
        try:
            self.around.caps.leave(address)
        except Exception:  # the others go on; the count is too high until this worker ends
            log.exception("smtp.not_counted_out", client=address)

    def opened(self, connection: Connection) -> None:
        """The session of somebody who was admitted begins."""
        now = self.around.clock.monotonic()
        self._connections[connection] = _Watched(now, now)
        if not self.draining and (self._watcher is None or self._watcher.done()):
            self._watcher = self.loop.create_task(self._watch())

    def login_is_overdue(self, connection: Connection) -> bool:
        """This one, which has not logged in, has had the time for it."""
        return self.around.clock.monotonic() - self._connections[connection].opened >= self.bounds.login_seconds

    def closed(self, connection: Connection) -> None:
        """An admitted connection is gone."""
        del self._connections[connection]
        self.leave(connection.client)

    @staticmethod
    def count(counter: Callable[..., None], *what: object) -> None:
        """Tells a counter; what becomes of mail and logins never depends on it."""
        try:
            counter(*what)
        except Exception:
            log.exception("smtp.not_counted")

    def start(self, connection: Connection, work: Coroutine[Any, Any, None]) -> None:
        """Runs to its end whatever becomes of the connection, and says ``finished`` itself; ``drain`` waits for it."""
        self._under_way[connection] = self.loop.create_task(work)

    def finished(self, connection: Connection) -> None:
        """The connection's work has ended."""
        del self._under_way[connection]

    async def _watch(self) -> None:
        """When it fails, the next connection starts it again."""
        try:
            await self._look_again_and_again()
        except Exception:
            log.exception("smtp.watch_failed")

    async def _look_again_and_again(self) -> None:
        """One look at everybody, ten times in the span that matters: a sign of life costs no more than a flag."""
        bounds = self.bounds
        every = min(bounds.idle_seconds, bounds.session_seconds, bounds.login_seconds) / _LOOKS
        while self._connections:
            await self.around.clock.sleep(every)
            now = self.around.clock.monotonic()
            for connection, watched in list(self._connections.items()):
                self._look(connection, watched, now)

    def _look(self, connection: Connection, watched: _Watched, now: float) -> None:
        if connection.alive:
            connection.alive = False
            watched.seen = now
        elif now - watched.seen >= self.bounds.idle_seconds:
            watched.seen = now
            connection.became_idle()
        age = now - watched.opened
        if age >= self.bounds.login_seconds and not connection.logged_in:
            connection.login_overdue()
        if age >= self.bounds.session_seconds:
            connection.became_old(much_too_old=age >= 2 * self.bounds.session_seconds)

    # The end

    async def drain(self, seconds: float) -> None:
        """Everybody is told 421: who is between two messages now, who has yet to send his first, or is in the midst of
        one, behind it, as long as he goes on. After ``seconds`` those still in the midst are left to themselves.

        ``close`` comes first.
        """
        self.draining = True
        if self._watcher is not None:
            self._watcher.cancel()
        for connection in list(self._connections):
            connection.drain(patient=True)
            connection.alive = False
        now = self.around.clock.monotonic()
        end, look = now + seconds, now + _PATIENCE_SECONDS
        while (self._connections or self._under_way or self._coming) and now < end:
            await self.around.clock.sleep(_POLL_SECONDS)
            now = self.around.clock.monotonic()
            if now >= look:
                look = now + _PATIENCE_SECONDS
                self.tire_of_coming()
                self._lose_patience()
        self.tire_of_coming()
        for connection in list(self._connections):
            connection.drain(patient=False)

    def tire_of_coming(self) -> None:
        """Those who have not come so far are not waited for."""
        for arrival in list(self._coming):
            arrival.cut()

    def _lose_patience(self) -> None:
        """With those that gave no sign of life since the last look."""
        for connection in list(self._connections):
            if not connection.alive:
                connection.drain(patient=False)
            connection.alive = False

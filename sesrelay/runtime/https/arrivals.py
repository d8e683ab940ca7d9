"""Clients of the HTTPS port from the accept to TLS: counted at once, and a bare socket until they say something.

Who is one too many may stay in one of a few places that are kept for them: there is an answer in HTTP (503, and
health checks get theirs), and it cannot be given before TLS is up. When these are taken the one who has been there
for longest goes without a word, so that nothing is won by sitting on them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from sesrelay.connections.acceptor import Acceptor
from sesrelay.connections.beforetls import BeforeTls
from sesrelay.connections.caps import NodeConnections
from sesrelay.connections.handshakes import Handshakes

_HANDSHAKES: Final = 100
_HANDSHAKES_PER_ADDRESS: Final = 20
_CLOSE_SECONDS: Final = 3600
"""The loop's own time for the end of TLS; ``waiting`` has the one that counts, and knows about slow readers."""


class Occupant(Protocol):
    """Whoever has a ticket."""

    def cut(self) -> None:
        """Goes at once, and gives the ticket back."""


class Ticket:
    """A client's place. Given back once, however often that is said."""

    __slots__ = ("_entrance", "client", "crowded", "occupant", "socket")

    def __init__(
        self, entrance: Entrance, client: str, connection: socket.socket, occupant: Occupant, *, crowded: bool
    ) -> None:
        self._entrance: Entrance | None = entrance
        self.client = client
        self.socket = connection
        """To ask the kernel about; who closes it is the occupant's affair."""
        self.crowded = crowded
        """It is one too many."""
        self.occupant = occupant

    def taken_by(self, occupant: Occupant) -> None:
        """It has changed hands."""
        self.occupant = occupant

    def give_back(self) -> None:
        entrance, self._entrance = self._entrance, None
        if entrance:
            entrance.left(self)


class Entrance:
    """Who may come in."""

    def __init__(self, caps: NodeConnections, extra: int) -> None:
        """``extra``: places of this worker for those who are too many."""
        self._caps = caps
        self._extra = extra
        self._crowd: OrderedDict[Ticket, None] = OrderedDict()
        self.inside = 0
        """Clients of this worker now, with those who are too many."""

    def ticket(self, client: str, connection: socket.socket, occupant: Occupant) -> Ticket | None:
        """None: there is no room at all."""
        crowded = not self._caps.admit(client)
        if crowded and not self._extra:
            return None
        ticket = Ticket(self, client, connection, occupant, crowded=crowded)
        self.inside += 1
        if crowded:
            if len(self._crowd) >= self._extra:
                self._crowd.popitem(last=False)[0].occupant.cut()
            self._crowd[ticket] = None
        return ticket

    def left(self, ticket: Ticket) -> None:
        """Said by the ticket."""
        self.inside -= 1
        if ticket.crowded:
            self._crowd.pop(ticket, None)
        else:
            self._caps.leave(ticket.client)


class Arrivals:
    """Accepts on the port's sockets and leads through TLS."""

    def __init__(
        self,
        entrance: Entrance,
        context: ssl.SSLContext,
        make: Callable[[Ticket], asyncio.Protocol],
        *,
        now: Callable[[], float],
        seconds: float,
        refused: Callable[[str, str, str], None],
        mail: Handshakes,
    ) -> None:
        """``seconds``: from the accept to the end of the handshake; ``refused`` is told kind, client and reason;
        ``mail``: SMTP's handshakes, whose established sessions come first.
        """
        self.loop = asyncio.get_running_loop()
        self.entrance = entrance
        self.context = context
        self.make = make
        self.now = now
        self.seconds = seconds
        self.refused = refused
        # Of their own, so that nobody here pushes a handshake of SMTP out.
        self.handshakes = Handshakes(most=_HANDSHAKES, most_per_address=_HANDSHAKES_PER_ADDRESS, beside=mail)
        self.coming: OrderedDict[_Arrival, None] = OrderedDict()
        """The oldest first."""
        self._acceptor = Acceptor(
            self.loop, partial(_Arrival, self), not_accepted="http.not_accepted", failed="http.connection_failed"
        )

    def listen(self, listening: socket.socket, backlog: int) -> None:
        """Takes whoever comes to this socket, until ``close``."""
        self._acceptor.listen(listening, backlog)

    def take(self, connection: socket.socket) -> None:
        """Somebody else has accepted it."""
        self._acceptor.take(connection)

    def close(self) -> None:
        """Nobody comes any more, and who has not said a word yet goes."""
        self._acceptor.close()
        for arrival in list(self.coming):
            if arrival.silent:  # who is in the midst of a handshake may go on
                arrival.cut()

    def cut(self) -> None:
        """Nobody who is on the way arrives any more."""
        for arrival in list(self.coming):
            arrival.cut()

    def look(self, now: float) -> None:
        """Ends those who are late."""
        for arrival in list(self.coming):
            if now - arrival.since < self.seconds:
                break
            self.refused("handshake", arrival.client, "too late")
            arrival.cut()


class _Arrival(BeforeTls):
    """One with a ticket."""

    __slots__ = ("_arrivals", "_ticket", "since")

    failed = "http.connection_failed"

    def __init__(self, arrivals: Arrivals, connection: socket.socket, client: str) -> None:
        super().__init__(arrivals.loop, arrivals.handshakes, connection, client)
        self.since = arrivals.now()
        self._arrivals = arrivals
        self._ticket: Ticket | None = None

    def come(self) -> None:
        """Counts it, and waits for its first word."""
        arrivals = self._arrivals
        assert self._socket is not None
        self._ticket = arrivals.entrance.ticket(self.client, self._socket, self)
        if self._ticket is None or self._ticket.crowded:
            arrivals.refused("crowd", self.client, "too many connections")
        if self._ticket is None:
            self.cut()
            return
        arrivals.coming[self] = None
        self._await_hello()

    async def _open(self) -> None:
        assert self._ticket is not None
        arrivals = self._arrivals
        conversation = arrivals.make(self._ticket)
        await arrivals.loop.connect_accepted_socket(
            lambda: conversation,
            self._taken(),
            ssl=arrivals.context,
            ssl_handshake_timeout=arrivals.seconds,
            ssl_shutdown_timeout=_CLOSE_SECONDS,
        )

    def _not_opened(self, error: OSError) -> None:
        self._arrivals.refused("handshake", self.client, _why(error))

    def _leave(self) -> None:
        """Gives the ticket back unless a conversation has it."""
        super()._leave()
        self._arrivals.coming.pop(self, None)
        if self._ticket is not None and self._ticket.occupant is self:
            self._ticket.give_back()
        self._ticket = None


def _why(error: OSError) -> str:
    return str(getattr(error, "reason", None) or type(error).__name__)

"""Handshakes of TLS in turn: the dear part of a connection never keeps established sessions waiting for long.

One costs as much as several messages. So few are begun in one turn of the loop, and few are under way in a worker
and from one address. While sessions work that are here to stay, there is time for them between one and the next: a
message of theirs meets one handshake or two, and not one at each of its steps. Addresses take turns: who floods waits
behind itself. Whoever finds no place waits for one, as long as its own time lasts; when the worker's places are all
taken, the handshake that has been under way for longest makes room: to sit on places brings nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

IN_A_TURN: Final = 1
SECONDS_BETWEEN: Final = 0.005
"""From one to the next while established sessions work: 200 a second in a worker, with RSA-2048 a fifth of its time."""
_WORKING_SECONDS: Final = 1.0
"""Sessions that worked in the last span of this length, or in the one before, work now."""
MOST: Final = 500
"""Under way in a worker: some 40 KB of memory each."""
MOST_PER_ADDRESS: Final = 50


class Candidate(Protocol):
    """A connection whose client has begun to speak."""

    client: str

    def begin(self) -> None:
        """Its handshake starts now; it says ``ended`` once, whatever comes of it."""

    def cut(self) -> None:
        """It makes room."""


class ByAddress:
    """Who waits: addresses take turns, and within an address whoever came first is first."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, OrderedDict[Candidate, None]] = OrderedDict()

    def __len__(self) -> int:
        """0: nobody waits."""
        return len(self._waiting)

    def put(self, candidate: Candidate) -> None:
        """Behind the others of its address, which is behind all others when it is new."""
        self._waiting.setdefault(candidate.client, OrderedDict())[candidate] = None

    def take(self) -> Candidate:
        """The next; its address comes again when all others have. KeyError: nobody waits."""
        address, waiting = self._waiting.popitem(last=False)
        candidate, _ = waiting.popitem(last=False)
        if waiting:
            self._waiting[address] = waiting
        return candidate

    def remove(self, candidate: Candidate) -> None:
        """It waits no longer, if it did."""
        waiting = self._waiting.get(candidate.client)
        if waiting is not None:
            waiting.pop(candidate, None)
            if not waiting:
                del self._waiting[candidate.client]


class _Upgrade:
    """STARTTLS of a session that is open already."""

    def __init__(self, client: str, cut: Callable[[], None]) -> None:
        self.client = client
        self.cut = cut
        self.begun = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        if not self.begun.done():
            self.begun.set_result(None)


class Handshakes:
    """Those of one worker, over all its doors."""

    def __init__(
        self,
        *,
        in_a_turn: int = IN_A_TURN,
        most: int = MOST,
        most_per_address: int = MOST_PER_ADDRESS,
        seconds_between: float = SECONDS_BETWEEN,
        beside: Handshakes | None = None,
    ) -> None:
        """``seconds_between``: from one turn to the next while established sessions work; those of ``beside`` count
        too.
        """
        self._beside = beside
        self._in_a_turn = in_a_turn
        self._most = most
        self._most_per_address = most_per_address
        self._seconds_between = seconds_between
        self._worked = self._working = False
        self._ready = ByAddress()
        self._parked: dict[str, OrderedDict[Candidate, None]] = {}
        """Those whose address has all of its places taken."""
        self._under_way: OrderedDict[Candidate, None] = OrderedDict()
        self._by_address: Counter[str] = Counter()
        self._turn: asyncio.Handle | None = None

    @property
    def under_way(self) -> int:
        """How many were begun and have not ended."""
        return len(self._under_way)

    def want(self, candidate: Candidate) -> None:
        """It begins now or in one of the next turns."""
        self._ready.put(candidate)
        if self._turn is None:
            self._take_turn()

    def leave(self, candidate: Candidate) -> None:
        """It has gone before its turn."""
        self._ready.remove(candidate)
        self._parked.get(candidate.client, OrderedDict()).pop(candidate, None)

    @asynccontextmanager
    async def turn(self, client: str, cut: Callable[[], None]) -> AsyncIterator[None]:
        """Entered when it is this client's turn, left when its handshake is over. ``cut``: it makes room."""
        upgrade = _Upgrade(client, cut)
        self.want(upgrade)
        try:
            await upgrade.begun
            yield
        finally:
            if upgrade in self._under_way:
                self.ended(upgrade)
            else:
                self.leave(upgrade)

    def established_worked(self) -> None:
        """A session that is here to stay has brought a message."""
        self._worked = True
        if not self._working:
            self._working = True
            asyncio.get_running_loop().call_later(_WORKING_SECONDS, self._look_who_works)

    @property
    def _somebody_works(self) -> bool:
        return self._working or (self._beside is not None and self._beside._somebody_works)

    def _look_who_works(self) -> None:
        self._working, self._worked = self._worked, False
        if self._working:
            asyncio.get_running_loop().call_later(_WORKING_SECONDS, self._look_who_works)

    def ended(self, candidate: Candidate) -> None:
        """A handshake that was begun is over."""
        del self._under_way[candidate]
        address = candidate.client
        self._by_address[address] -= 1
        if parked := self._parked.get(address):
            self.want(parked.popitem(last=False)[0])
        else:
            self._parked.pop(address, None)
        if not self._by_address[address]:
            del self._by_address[address]

    def _take_turn(self) -> None:
        """Each that begins some is followed by another, which begins more or lets the next one begin at once."""
        self._turn = None
        begun = 0
        while self._ready and begun < self._in_a_turn:
            begun += self._begin(self._ready.take())
        if not begun:
            return
        loop = asyncio.get_running_loop()
        if self._somebody_works:
            self._turn = loop.call_later(self._seconds_between, self._take_turn)
        else:
            self._turn = loop.call_soon(self._take_turn)

    def _begin(self, candidate: Candidate) -> bool:
        address = candidate.client
        if self._by_address[address] >= self._most_per_address:
            self._parked.setdefault(address, OrderedDict())[candidate] = None
            return False
        self._by_address[address] += 1
        self._under_way[candidate] = None
        if len(self._under_way) > self._most:
            next(iter(self._under_way)).cut()
        candidate.begin()
        return True

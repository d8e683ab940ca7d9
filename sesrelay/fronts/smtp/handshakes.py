"""Handshakes of TLS in turn: the dear part of a connection never keeps established sessions waiting for long.

One costs as much as several messages. So few are begun in one turn of the loop, and few are under way in a worker
and from one address. Whoever finds no place waits for one, as long as its own time lasts; when the worker's places
are all taken, the handshake that has been under way for longest makes room: to sit on places brings nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from typing import Final, Protocol

IN_A_TURN: Final = 1
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


class Handshakes:
    """Those of one worker, over all its doors."""

    def __init__(
        self, *, in_a_turn: int = IN_A_TURN, most: int = MOST, most_per_address: int = MOST_PER_ADDRESS
    ) -> None:
        self._in_a_turn = in_a_turn
        self._most = most
        self._most_per_address = most_per_address
        self._ready: OrderedDict[Candidate, None] = OrderedDict()
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
        self._ready[candidate] = None
        if self._turn is None:
            self._take_turn()

    def leave(self, candidate: Candidate) -> None:
        """It has gone before its turn."""
        self._ready.pop(candidate, None)
        self._parked.get(candidate.client, self._ready).pop(candidate, None)

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
            begun += self._begin(self._ready.popitem(last=False)[0])
        if begun:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

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

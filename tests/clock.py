"""A clock that stands still until a test moves it.

``clock.move(seconds)`` only changes the time and wakes who is due (usable without a loop, from any test).
``await clock.advance(seconds)`` walks there sleeper by sleeper, so that one who sleeps again within the span
is woken again at the right moment.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

from sesrelay.model.clock import SECOND, Micros

START: Micros = 1_790_000_000 * SECOND
"""2026-09-21T14:13:20Z: where every FakeClock begins."""

_SETTLING_TURNS = 20
"""Turns of the loop in which whoever was woken may do its work before time goes on."""


class FakeClock:
    """Satisfies ``sesrelay.model.clock.Clock``."""

    def __init__(self, now: Micros = START) -> None:
        self._now = now
        self._monotonic = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> Micros:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), future))
        await future

    @property
    def sleepers(self) -> int:
        """How many are asleep now."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def move(self, seconds: float) -> None:
        """Time goes on by so much at once; who is due is woken when the loop next runs."""
        self._monotonic += seconds
        self._now += round(seconds * SECOND)
        while self._sleepers and self._sleepers[0][0] <= self._monotonic + 1e-9:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)

    def set_wall(self, now: Micros) -> None:
        """The time of day jumps (an operator set it); no sleeper notices."""
        self._now = now

    async def advance(self, seconds: float) -> None:
        """Time goes on step by step: everybody due on the way is woken in order and may act."""
        await self.settle()
        end = self._monotonic + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            self.move(max(0.0, self._sleepers[0][0] - self._monotonic))
            await self.settle()
        self.move(end - self._monotonic)
        await self.settle()

    async def settle(self) -> None:
        """Lets everybody who can act now do so; time stands still."""
        for _ in range(_SETTLING_TURNS):
            await asyncio.sleep(0)

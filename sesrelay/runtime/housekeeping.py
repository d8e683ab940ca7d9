"""The chores of a relay, each a short function; when and by whom they are done is the table in ``roles``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from sesrelay.model.clock import Clock
from sesrelay.store import Store, Transaction, leases, retention

log = structlog.get_logger()


class QueueGauge(Protocol):
    """Where the size of the queue is shown."""

    def queue(self, states: Mapping[str, int]) -> None:
        """The queue as it was counted just now."""


class House:
    """What chores work with."""

    def __init__(self, store: Store, clock: Clock, gauge: QueueGauge) -> None:
        self.store = store
        self.clock = clock
        self.gauge = gauge

    async def in_steps(self, step: Callable[[Transaction], int]) -> int:
        """Repeats a step of retention until there is nothing left, letting mail through between two steps."""
        removed = 0
        while True:
            number = await self.store.write(step)
            removed += number
            if number < retention.ROWS_AT_ONCE:
                return removed
            await self.clock.sleep(0.01)


async def free_the_dead(house: House) -> None:
    """Claims of workers of other nodes that have not renewed themselves."""
    freed = await house.store.release_dead()
    if freed:
        log.warning("claims of dead workers freed", recipients=freed)


async def sweep(house: House) -> None:
    """Bodies of dead workers that no row knows."""
    removed = await house.store.sweep_bodies()
    if removed:
        log.info("bodies without messages removed", files=len(removed))


async def count_queue(house: House) -> None:
    """The size of the queue, for those who watch."""
    house.gauge.queue(await house.store.read(retention.count_queue))


async def prune(house: House) -> None:
    """Rows whose time is over."""
    await house.in_steps(retention.prune_minutes)
    await house.in_steps(retention.prune_invocations)
    await house.store.write(leases.bury)

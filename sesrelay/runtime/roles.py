"""Who does which chore, and how often: a table, and the one place that makes sure that it is done once.

A chore of the node is done by its first worker; a chore of the cluster by whoever holds its lease. A chore that
fails is logged and done again at its next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import structlog

from sesrelay.model.clock import SECOND
from sesrelay.runtime import housekeeping
from sesrelay.runtime.housekeeping import House, Lease, LeaseLost
from sesrelay.store import leases

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Chore:
    """A row of the table."""

    name: str
    scope: Literal["node", "cluster"]
    every_seconds: float
    work: Callable[[House], Awaitable[None]]


CHORES: Final = (
    Chore("sweep", "node", 3600, housekeeping.sweep),
    Chore("count-queue", "node", 15, housekeeping.count_queue),
    Chore("free-the-dead", "node", 10, housekeeping.free_the_dead),
    Chore("expire-held", "cluster", 60, housekeeping.expire_held),
    Chore("verify-domains", "cluster", 15, housekeeping.verify_domains),
    Chore("grow-limits", "cluster", 3600, housekeeping.grow),
    Chore("prune", "cluster", 600, housekeeping.prune),
    Chore("retain", "cluster", 3600, housekeeping.retain),
)


class Roles:
    """The chores that fall to this worker."""

    def __init__(self, house: House, holder: str, *, first_of_node: bool) -> None:
        """``holder``: the worker's incarnation."""
        self._house = house
        self._holder = holder
        self._first_of_node = first_of_node

    async def run(self) -> None:
        """Does them until cancelled."""
        mine = [chore for chore in CHORES if chore.scope == "cluster" or self._first_of_node]
        await asyncio.gather(*(self._repeat(chore) for chore in mine))

    async def _repeat(self, chore: Chore) -> None:
        while True:
            await self.do(chore)
            await self._house.clock.sleep(chore.every_seconds)

    async def do(self, chore: Chore) -> bool:
        """Does it once, if it falls to us now."""
        try:
            house = self._house
            if chore.scope == "cluster":
                term = await self._lease(chore)
                if term is None:
                    return False
                house = house.under(Lease(chore.name, self._holder, term))
            await chore.work(house)
        except LeaseLost:
            log.info("a chore took longer than its lease: who has it now goes on with it", chore=chore.name)
        except Exception:
            log.exception("a chore failed", chore=chore.name)
        return True

    async def _lease(self, chore: Chore) -> int | None:
        """Its term; None: another has it. Ours until just before its next time, lest others do it again meanwhile."""
        span = round(chore.every_seconds * SECOND) - SECOND
        take = partial(leases.take, name=chore.name, holder=self._holder, span=span)
        return await self._house.store.write(take)

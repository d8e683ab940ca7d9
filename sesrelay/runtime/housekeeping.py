"""The chores of a relay, each a short function; when and by whom they are done is the table in ``roles``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import structlog

from sesrelay.core import growth
from sesrelay.model.clock import Clock
from sesrelay.store import Store, Transaction, leases, retention
from sesrelay.store.retention import Keep, Step
from sesrelay.store.segments import BodyDamaged
from sesrelay.store.sweep import Fate, fate

log = structlog.get_logger()
T = TypeVar("T")

BREATH_SECONDS: Final = 0.01


class QueueGauge(Protocol):
    """Where the size of the queue is shown."""

    def queue(self, states: Mapping[str, int]) -> None:
        """The queue as it was counted just now."""


class Relay(Protocol):
    """What of ``core.relay.Relay`` is used here."""

    async def expire_held(self) -> int: ...


class Watch(Protocol):
    """What of ``verification.domains.DomainWatch`` is used here."""

    async def round(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Lease:
    """By which a chore of the cluster is ours: ``leases.take`` gave the term."""

    name: str
    holder: str
    term: int


class LeaseLost(Exception):  # noqa: N818 - no error: the chore goes on elsewhere
    """The chore is another worker's by now."""


class House:
    """What chores work with."""

    def __init__(
        self,
        store: Store,
        relay: Relay,
        clock: Clock,
        gauge: QueueGauge,
        keep: Keep,
        *,
        domains: Watch,
        growth: bool = False,
    ) -> None:
        """``growth``: limits step up and down by how accounts send."""
        self.growth = growth
        self._lease: Lease | None = None
        self.domains = domains
        self.relay = relay
        self.store = store
        self.clock = clock
        self.gauge = gauge
        self.keep = keep

    def under(self, lease: Lease) -> House:
        """The same house for somebody who may change it only as long as the lease is his."""
        house = copy.copy(self)
        house._lease = lease
        return house

    async def write(self, step: Callable[[Transaction], T]) -> T:
        """An action of a chore, in a transaction of its own. LeaseLost: then it has done nothing."""
        return await self.store.write(partial(_under_lease, step, self._lease))

    async def in_steps(self, step: Callable[[Transaction], int]) -> int:
        """Repeats a step of retention until it finds less than it could do; how many rows in all."""
        total = 0
        while True:
            number = await self.write(step)
            total += number
            if number < retention.ROWS_AT_ONCE:
                return total
            await self.breathe()

    async def page_by_page(self, step: Callable[[Transaction, Keep, bytes], Step]) -> int:
        """Goes through a table by key; how many messages were let go."""
        total, after = 0, b""
        while True:
            done = await self.write(partial(_page, step, self.keep, after))
            total += done.removed
            if done.after is None:
                return total
            after = done.after
            await self.breathe()

    async def breathe(self) -> None:
        """Mail goes first: a step takes about as long as the pause behind it."""
        await self.clock.sleep(BREATH_SECONDS)


def _under_lease(step: Callable[[Transaction], T], lease: Lease | None, tx: Transaction) -> T:
    if lease is not None and not leases.holds(tx, lease.name, lease.holder, lease.term):
        raise LeaseLost
    return step(tx)


def _page(step: Callable[[Transaction, Keep, bytes], Step], keep: Keep, after: bytes, tx: Transaction) -> Step:
    return step(tx, keep, after)


async def free_the_dead(house: House) -> None:
    """Claims of workers of other nodes that have not renewed themselves."""
    freed = await house.store.release_dead()
    if freed:
        log.warning("claims of dead workers freed", recipients=freed)


async def expire_held(house: House) -> None:
    """Held mail whose time is over goes back to its sender (SMTP-7)."""
    expired = await house.relay.expire_held()
    if expired:
        log.error("held mail expired: nobody had let it go on", recipients=expired)


async def sweep(house: House) -> None:
    """Bodies of dead workers that no row knows."""
    removed = await house.store.sweep_bodies()
    if removed:
        log.info("bodies without messages removed", files=len(removed))


async def count_queue(house: House) -> None:
    """The size of the queue, for those who watch."""
    house.gauge.queue(await house.store.read(retention.count_queue))


async def verify_domains(house: House) -> None:
    """Domains that are due are asked about; by whom each is, its row says, so a lost lease does no harm."""
    await house.domains.round()


async def prune(house: House) -> None:
    """Rows that limits, idempotency and leases need no longer."""
    await house.in_steps(retention.prune_minutes)
    await house.in_steps(retention.prune_invocations)
    await house.write(leases.bury)


async def grow(house: House) -> None:
    """Limits of accounts, up or down by how they send (LIM-6)."""
    after: str | None = "" if house.growth else None
    while after is not None:
        page, after = await house.store.read(partial(growth.page, after=after))
        for account_id, region in page:
            given = await house.write(partial(growth.take_step, account_id=account_id, region=region))
            if given:
                log.info("limits stepped", account_id=account_id, region=region, quota=given.quota, rate=given.rate)
        if after is not None:
            await house.breathe()


async def retain(house: House) -> None:
    """Bodies and stories whose time is over."""
    bodies = await house.page_by_page(retention.forget_bodies)
    segments = await _remove_segments(house)
    stories = await house.page_by_page(retention.forget_messages)
    if bodies or segments or stories:
        log.info("what was kept long enough was let go", bodies=bodies, segments=segments, messages=stories)


async def _remove_segments(house: House) -> int:
    """Files of which nothing is needed, or so little that it moves; how many. One that is being written waits."""
    removed, segment = 0, ""
    while found := await house.store.read(partial(retention.next_segment, after=segment)):
        segment = found
        try:
            removed += await _look_after(house, segment)
        except (BodyDamaged, OSError) as error:
            log.warning("a segment of bodies cannot be let go", segment=segment, error=str(error))
        await house.breathe()
    return removed


async def _look_after(house: House, segment: str) -> int:
    """1 when the segment is gone."""
    if await house.store.is_written(segment):
        return 0
    use = await house.store.read(partial(retention.segment_use, segment=segment, keep=house.keep))
    end = fate(use, house.clock.now(), house.keep.bodies)
    if end is Fate.KEEP:
        return 0
    await house.in_steps(partial(retention.leave_segment, segment=segment, keep=house.keep))
    while end is Fate.MOVE and await house.store.move_bodies(segment):
        await house.breathe()
    return len(await house.store.remove_bodies([segment]))

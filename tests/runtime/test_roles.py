"""Chores: done once over all workers, and again at their time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from sesrelay.core.settle import Settling
from sesrelay.core.verifying import Verifying
from sesrelay.model.clock import DAY
from sesrelay.model.message import RecipientState
from sesrelay.rules.retries import DEFAULT
from sesrelay.runtime import housekeeping, roles
from sesrelay.runtime.housekeeping import House
from sesrelay.runtime.roles import CHORES, Chore, Roles
from sesrelay.store import Store, Transaction
from sesrelay.store.retention import ROWS_AT_ONCE, Keep
from sesrelay.store.schema import bodies, messages
from sesrelay.verification.domains import DomainWatch
from tests.clock import FakeClock
from tests.store.samples import an_order, open_account, settled

KEEP = Keep(3 * DAY, 14 * DAY, 30 * DAY)


class Gauge:
    def __init__(self) -> None:
        self.shown: Mapping[str, int] = {}

    def queue(self, states: Mapping[str, int]) -> None:
        self.shown = states


def a_house(store: Store, clock: FakeClock) -> House:
    settling = Settling(store, clock, bytes, DEFAULT, lambda _: None)
    watch = DomainWatch(Verifying(store, None), Silence(), clock, lambda: 0.5)
    return House(store, settling, clock, Gauge(), KEEP, domains=watch)


class Silence:
    """A DNS that nobody asks."""

    async def published_txt(self, name: str) -> tuple[str, ...]:
        raise AssertionError(name)


class Log:
    """A chore that notes who did it."""

    def __init__(self) -> None:
        self.done: Counter[House] = Counter()

    async def work(self, house: House) -> None:
        self.done[house] += 1


@pytest.mark.parametrize("chore", CHORES, ids=lambda chore: chore.name)
async def test_every_chore_can_be_done_by_two_at_once(store: Store, another, clock: FakeClock, chore: Chore) -> None:
    second = await another("second")
    await asyncio.gather(
        Roles(a_house(store, clock), "one", first_of_node=True).do(chore),
        Roles(a_house(second, clock), "two", first_of_node=True).do(chore),
    )
    assert await store.verify() == []


async def test_a_chore_of_the_cluster_is_done_once_in_its_time(store: Store, another, clock: FakeClock) -> None:
    log = Log()
    chore = Chore("count", "cluster", 600, log.work)
    one = Roles(a_house(store, clock), "one", first_of_node=True)
    two = Roles(a_house(await another("second"), clock), "two", first_of_node=True)
    assert sorted(await asyncio.gather(one.do(chore), two.do(chore))) == [False, True]
    assert log.done.total() == 1
    clock.move(600)
    assert [await one.do(chore), await two.do(chore)].count(True) == 1
    assert log.done.total() == 2


async def test_a_dead_holders_chore_is_another_ones_in_time(store: Store, another, clock: FakeClock) -> None:
    log = Log()
    chore = Chore("count", "cluster", 600, log.work)
    await Roles(a_house(store, clock), "dies", first_of_node=True).do(chore)
    heir = Roles(a_house(await another("second"), clock), "heir", first_of_node=True)
    assert not await heir.do(chore)
    clock.move(600)
    assert await heir.do(chore)


async def test_a_chore_that_outlives_its_lease_changes_nothing_more(store: Store, another, clock: FakeClock) -> None:
    steps: list[str] = []

    def step(name: str, tx: Transaction) -> int:
        steps.append(name)
        return ROWS_AT_ONCE

    async def slow(house: House) -> None:
        await house.write(partial(step, "slow"))
        clock.move(60)
        if len(steps) == 1:
            await heir.do(quick)
        await house.in_steps(partial(step, "too late"))

    async def once(house: House) -> None:
        await house.write(partial(step, "heir"))

    quick = Chore("count", "cluster", 60, once)
    heir = Roles(a_house(await another("second"), clock), "heir", first_of_node=True)
    assert await Roles(a_house(store, clock), "slow", first_of_node=True).do(Chore("count", "cluster", 60, slow))
    assert steps == ["slow", "heir"]


async def test_a_chore_that_fails_is_done_again(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()

    async def fails_once(house: House) -> None:
        await log.work(house)
        if log.done.total() == 1:
            raise OSError("the disk is full")

    monkeypatch.setattr(roles, "CHORES", (Chore("count", "node", 60, fails_once),))
    running = asyncio.create_task(Roles(a_house(store, clock), "one", first_of_node=True).run())
    await clock.advance(130)
    running.cancel()
    assert log.done.total() == 3


async def test_a_chore_of_the_node_is_its_first_workers(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    monkeypatch.setattr(roles, "CHORES", (Chore("count", "node", 60, log.work),))
    await Roles(a_house(store, clock), "second worker", first_of_node=False).run()
    assert not log.done


async def test_retention_removes_bodies_segments_and_stories(store: Store, another, clock: FakeClock) -> None:
    await store.write(open_account)
    writer = await another("writer")
    big = b"Subject: hi\r\n\r\n" + b"x" * 20_000 + b"\r\n"
    for content in (b"Subject: hi\r\n\r\nsmall\r\n", big):
        (claim,) = (await writer.accept(an_order(at=clock.now(), content=content))).claims
        await writer.settle([settled(claim, RecipientState.DELIVERED)])
    await writer.close()  # its segment is full, as it were
    house = a_house(store, clock)
    await retained(house, clock)
    assert await stored(store, messages) == 2
    clock.move(3 * 86400 + 1)
    await retained(house, clock)
    assert await stored(store, bodies) == 0
    assert await stored(store, messages) == 2
    clock.move(30 * 86400)
    await retained(house, clock)
    assert await stored(store, messages) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_nearly_empty_segment_gives_its_rest_away(store: Store, another, clock: FakeClock) -> None:
    await store.write(open_account)
    writer = await another("writer")
    big = b"Subject: hi\r\n\r\n" + b"x" * 20_000 + b"\r\n"
    waiting, *finished = [(await writer.accept(an_order(at=clock.now(), content=big))).claims[0] for _ in range(5)]
    await writer.settle([settled(claim, RecipientState.DELIVERED) for claim in finished])
    house = a_house(store, clock)
    clock.move(3 * 86400 + 1)
    await retained(house, clock)
    assert [path.name for path in bodies_on(store)] == [waiting.body.segment], "while it is written it stays"
    await writer.close()
    await retained(house, clock)
    assert waiting.body.segment not in [path.name for path in bodies_on(store)]
    assert await store.body(waiting.message_id, waiting.body) == big


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_damaged_segment_does_not_stop_retention(store: Store, another, clock: FakeClock) -> None:
    await store.write(open_account)
    big = b"Subject: hi\r\n\r\n" + b"x" * 20_000 + b"\r\n"
    for name in ("damaged", "sound"):
        writer = await another(name)
        _, *finished = [(await writer.accept(an_order(at=clock.now(), content=big))).claims[0] for _ in range(5)]
        await writer.settle([settled(claim, RecipientState.DELIVERED) for claim in finished])
        await writer.close()
    for path in bodies_on(store):
        if path.name.startswith("damaged"):
            path.write_bytes(bytes(path.stat().st_size))
    clock.move(3 * 86400 + 1)
    await retained(a_house(store, clock), clock)
    left = {path.name.partition(".")[0] for path in bodies_on(store)}
    assert left == {"damaged", "worker-one"}


def bodies_on(store: Store) -> list[Path]:
    """The files of bodies that there are."""
    return sorted((store._options.data_dir / "bodies").glob("*.segment"))


async def stored(store: Store, table) -> int:
    return (await store.read(lambda tx: tx.execute(select(func.count()).select_from(table))))[0][0]


async def retained(house: House, clock: FakeClock) -> None:
    """Retention to its end, with time going on where it waits."""
    work = asyncio.create_task(housekeeping.retain(house))
    while not work.done():
        await clock.advance(0.01)
        await asyncio.sleep(0.005)
    await work


async def test_the_queue_is_shown_as_it_is(store: Store, clock: FakeClock) -> None:
    await store.write(open_account)
    await store.accept(an_order("a@example.org", "b@example.org", claimed=False))
    house = a_house(store, clock)
    await housekeeping.count_queue(house)
    assert house.gauge.shown == {"claimed": 0, "held": 0, "waiting": 2}

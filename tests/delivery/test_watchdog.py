"""Deadlines by the injected clock."""

from __future__ import annotations

import asyncio

import pytest

from sesrelay.delivery.slots import WorkerShareOfSlots
from sesrelay.delivery.watchdog import Watchdog
from tests.clock import FakeClock


async def test_work_within_its_time_gives_its_result(clock: FakeClock) -> None:
    async def work() -> int:
        return 7

    assert await Watchdog(clock).within(1, work()) == 7


async def test_work_beyond_its_time_is_ended(clock: FakeClock) -> None:
    watchdog = Watchdog(clock)
    watching = asyncio.ensure_future(watchdog.run())
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await clock.sleep(1000)
        finally:
            ended.set()

    working = asyncio.ensure_future(watchdog.within(30, work()))
    await clock.advance(29)
    assert not working.done()
    await clock.advance(2)
    with pytest.raises(TimeoutError, match="silent for 30 s"):
        await working
    assert ended.is_set()
    watching.cancel()


async def test_who_gives_up_waiting_ends_the_work(clock: FakeClock) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await clock.sleep(1000)
        finally:
            ended.set()

    working = asyncio.ensure_future(Watchdog(clock).within(30, work()))
    await clock.settle()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await clock.settle()
    assert ended.is_set()


def test_a_worker_has_its_share_of_the_ceiling_and_at_least_one() -> None:
    slots = WorkerShareOfSlots(5, 2)
    assert [slots.take("a"), slots.take("a"), slots.take("a"), slots.take("b")] == [True, True, False, True]
    slots.give("a")
    assert slots.take("a")
    assert WorkerShareOfSlots(1, 8).take("a")

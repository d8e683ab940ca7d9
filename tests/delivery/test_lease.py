"""A lease is believed for 20 seconds from the moment in which its renewal was asked for."""

from __future__ import annotations

import asyncio

from sesrelay.delivery.lease import Lease
from tests.clock import FakeClock


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def away() -> bool:
    raise ConnectionError("database away")


async def test_it_runs_out_without_renewal(clock: FakeClock) -> None:
    lease = Lease(clock)
    clock.move(19.9)
    assert lease.held()
    clock.move(0.2)
    assert not lease.held()
    await lease.renew(away)
    assert not lease.held()
    await lease.renew(yes)
    assert lease.held()


async def test_it_counts_from_the_question_not_from_the_answer(clock: FakeClock) -> None:
    lease = Lease(clock)

    async def slowly() -> bool:
        await clock.sleep(15)
        return True

    renewing = asyncio.ensure_future(lease.renew(slowly))
    await clock.advance(15)
    await renewing
    clock.move(5)
    assert not lease.held()


async def test_declared_dead_is_dead_for_ever(clock: FakeClock) -> None:
    lease = Lease(clock)
    await lease.renew(no)
    assert lease.lost
    await lease.renew(yes)
    assert not lease.held()


async def test_it_is_kept_every_five_seconds_until_it_is_lost(clock: FakeClock) -> None:
    lease = Lease(clock)
    answers = iter((True, True, True, False))
    asked: list[float] = []

    async def renew() -> bool:
        asked.append(clock.monotonic())
        return next(answers)

    keeping = asyncio.ensure_future(lease.keep(renew))
    await clock.advance(60)
    await asyncio.wait_for(keeping, 1)
    assert asked == [0, 5, 10, 15]

from __future__ import annotations

import asyncio
from pathlib import Path

from sesrelay.model.clock import HOUR, SECOND
from sesrelay.runtime.clock import OFFSET_FILE, ShiftedClock, SystemClock, chance, spread, system_clock
from tests.clock import FakeClock


def test_the_file_moves_time_and_spans_alike(tmp_path: Path) -> None:
    file = tmp_path / "offset"
    clock = ShiftedClock(file)
    now, span = clock.now(), clock.monotonic()
    file.write_text("3600")
    assert HOUR <= clock.now() - now < HOUR + 60 * SECOND
    assert 3600 <= clock.monotonic() - span < 3660


def test_a_half_written_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "offset"
    clock = ShiftedClock(file)
    file.write_text("3600")
    late = clock.now()
    file.write_text("36x")
    assert clock.now() >= late


async def test_who_sleeps_is_woken_when_the_file_says_that_it_is_late(tmp_path: Path) -> None:
    file = tmp_path / "offset"
    file.write_text("0")
    sleeper = asyncio.create_task(ShiftedClock(file).sleep(3600))
    await asyncio.sleep(0)
    file.write_text("3601")
    await asyncio.wait_for(sleeper, 10)


def test_only_the_environment_chooses_the_shifted_clock(monkeypatch, tmp_path: Path) -> None:
    assert isinstance(system_clock(), SystemClock)
    monkeypatch.setenv(OFFSET_FILE, str(tmp_path / "offset"))
    assert isinstance(system_clock(), ShiftedClock)


def test_chance_has_the_length_asked_for_and_spread_is_a_part_of_one() -> None:
    assert len(chance(16)) == 16
    assert chance(16) != chance(16)
    assert all(0 <= spread() < 1 for _ in range(100))


async def test_a_fake_clock_wakes_sleepers_in_order_and_again_within_the_span() -> None:
    clock, woken = FakeClock(), []

    async def every(seconds: float, name: str) -> None:
        while True:
            await clock.sleep(seconds)
            woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(every(2, "two")), asyncio.create_task(every(3, "three"))]
    await clock.advance(6)
    for task in tasks:
        task.cancel()
    assert woken == [("two", 2), ("three", 3), ("two", 4), ("three", 6), ("two", 6)]


async def test_a_fake_clock_stands_still_by_itself() -> None:
    clock = FakeClock()
    sleeper = asyncio.create_task(clock.sleep(0.001))
    await clock.settle()
    assert not sleeper.done()
    assert clock.sleepers == 1
    clock.move(0.001)
    await sleeper

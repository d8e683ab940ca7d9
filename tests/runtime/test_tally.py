"""Numbers that all workers share, in memory that does not grow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sesrelay.runtime.tally import FAILED_LOGINS, LOGINS, PLACES, NodeTally
from tests.clock import FakeClock

KEY = bytes(16)


@pytest.fixture
def memory() -> Iterator[int]:
    fd = NodeTally.memory()
    yield fd
    os.close(fd)


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.move(1000)
    return clock


def tally(
    fd: int, clock: FakeClock, table: int = FAILED_LOGINS, *, half_life: float = 600, most: float = 200
) -> NodeTally:
    return NodeTally(fd, table, KEY, clock, half_life_seconds=half_life, most=most)


def test_every_worker_sees_what_one_counted(memory: int, clock: FakeClock) -> None:
    first, second = tally(memory, clock), tally(memory, clock)
    first.add(b"a")
    second.add(b"a")
    assert first.number(b"a") == second.number(b"a") == 2
    assert first.number(b"b") == 0


def test_half_is_forgotten_in_each_half_life(memory: int, clock: FakeClock) -> None:
    one = tally(memory, clock)
    for _ in range(8):
        one.add(b"a")
    clock.move(1200)
    assert one.number(b"a") == 2
    one.add(b"a")
    assert one.number(b"a") == 3


def test_no_number_grows_beyond_the_most(memory: int, clock: FakeClock) -> None:
    one = tally(memory, clock, most=5)
    for _ in range(50):
        one.add(b"a")
    assert one.number(b"a") == 5


def test_taking_back_leaves_others_what_they_have(memory: int, clock: FakeClock) -> None:
    one = tally(memory, clock)
    for _ in range(3):
        one.add(b"a")
        one.add(b"b")
    one.take_back(b"a")
    one.take_back(b"nobody")
    assert (one.number(b"a"), one.number(b"b")) == (0, 3)


def test_tables_are_apart(memory: int, clock: FakeClock) -> None:
    failures, logins = tally(memory, clock), tally(memory, clock, LOGINS)
    failures.add(b"a")
    assert logins.number(b"a") == 0


def test_ten_thousand_names_of_an_attacker_cost_no_memory_and_do_not_touch_the_others(
    memory: int, clock: FakeClock
) -> None:
    one = tally(memory, clock)
    before = os.fstat(memory).st_size
    for number in range(10_000):
        one.add(b"key %d" % number)
    assert os.fstat(memory).st_size == before == 2 * 4 * PLACES * 16
    assert [number for number in range(1000) if one.number(b"innocent %d" % number) > 1] == []
    assert sum(one.number(b"innocent %d" % number) for number in range(1000)) < 20


def test_the_key_decides_who_meets_whom(memory: int, clock: FakeClock) -> None:
    one = tally(memory, clock)
    other = NodeTally(memory, FAILED_LOGINS, b"x" * 16, clock, half_life_seconds=600, most=200)
    assert one._places(b"a") != other._places(b"a")


HAMMER = """
import sys
from sesrelay.runtime.tally import NodeTally
from tests.clock import FakeClock
tally = NodeTally(int(sys.argv[1]), 0, bytes(16), FakeClock(), half_life_seconds=600, most=1e9)
for turn in range(3000):
    tally.add(b"a")
"""


def test_workers_that_add_at_once_lose_nothing(memory: int) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", HAMMER, str(memory)], pass_fds=[memory]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert tally(memory, FakeClock(), most=1e9).number(b"a") == 9000


def test_a_worker_that_dies_holding_the_lock_blocks_nobody_and_takes_nothing_along(
    memory: int, clock: FakeClock
) -> None:
    one = tally(memory, clock)
    one.add(b"a")
    script = """
import fcntl, os, signal, sys
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(memory)], pass_fds=[memory], check=False)
    one.add(b"a")
    assert one.number(b"a") == 2

"""A set of workers when the system has no room for another process."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from sesrelay.runtime import children
from sesrelay.runtime.children import Surroundings, WorkerFault, WorkerSet
from sesrelay.runtime.logs import PlainLog
from sesrelay.runtime.plan import Door, Plan
from tests.clock import FakeClock


class Process:
    """One that never says anything and ends when it is told to."""

    pid = 2**22 + 1

    def __init__(self) -> None:
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.returncode = -9


class System:
    """Starts processes as long as there is room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: list[bool] = []
        self.started: list[Process] = []
        monkeypatch.setattr(children.subprocess, "Popen", self._start)

    def _start(self, *_: Any, **__: Any) -> Process:
        if not self.room.pop(0):
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.started.append(Process())
        return self.started[-1]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


def workers(clock: FakeClock, number: int) -> WorkerSet:
    folder = Path("/nowhere")
    plan = Plan(folder, number, (), Door("metrics", "127.0.0.1", 0), 5.0, {})
    around = Surroundings("node", 0, 0, b"", clock, PlainLog(clock), os.urandom, folder, lambda _: None)
    return WorkerSet(plan, {}, around)


async def test_a_set_that_cannot_be_started_whole_leaves_nobody_behind(system: System) -> None:
    system.room = [True, False]
    clock = FakeClock()
    starting = asyncio.create_task(workers(clock, 2).start(first=True))
    while not starting.done():
        await clock.advance(0.1)
    with pytest.raises(WorkerFault, match="a worker could not be started: Resource temporarily unavailable") as fault:
        await starting
    assert fault.value.passing
    assert [process.returncode for process in system.started] == [-9]


async def test_a_dead_worker_is_replaced_as_soon_as_there_is_room(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    system.room = [True, False, False, True]
    clock = FakeClock()
    living = workers(clock, 1)
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ready.set_result(None)
    dead = living._spawn(0, "node-0-dead", ready, [])
    replaced = asyncio.create_task(living._another(dead, ready))
    await clock.advance(59)
    assert not replaced.done()
    await clock.advance(2)
    assert (await replaced) is living.children[0] is not dead
    assert capsys.readouterr().err.count("no worker can be started now") == 2
    dead.channel.close()
    await living.end()


async def test_no_worker_is_started_any_more_when_the_set_leaves(system: System) -> None:
    system.room = [True, False]
    clock = FakeClock()
    living = workers(clock, 1)
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ready.set_result(None)
    dead = living._spawn(0, "node-0-dead", ready, [])
    replaced = asyncio.create_task(living._another(dead, ready))
    await clock.advance(1)
    dead.process.kill()
    await living.end()
    await clock.advance(30)
    assert await replaced is None


@pytest.mark.parametrize("call", ["memfd_create", "ftruncate"])
def test_without_memory_for_the_counts_it_says_so_and_holds_nothing(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def exhausted(*_: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(os, call, exhausted)
    with pytest.raises(WorkerFault, match="connections cannot be counted: Too many open files: file desc") as fault:
        workers(FakeClock(), 2)
    assert fault.value.passing
    assert len(list(Path("/proc/self/fd").iterdir())) == before

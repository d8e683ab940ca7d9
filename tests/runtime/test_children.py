"""A set of workers when the system has no room for another process, and workers that neither start nor end."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
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
        self.lines: list[socket.socket] = []
        """The workers' ends of their channels."""
        monkeypatch.setattr(children.subprocess, "Popen", self._start)

    def _start(self, *_: Any, pass_fds: list[int], **__: Any) -> Process:
        if not self.room.pop(0):
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.started.append(Process())
        self.lines.append(socket.socket(fileno=os.dup(pass_fds[0])))
        return self.started[-1]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    made = System(monkeypatch)
    yield made
    for line in made.lines:
        line.close()


def workers(clock: FakeClock, number: int, gone: Callable[[int], None] = lambda _: None) -> WorkerSet:
    folder = Path("/nowhere")
    plan = Plan(folder, number, (), Door("metrics", "127.0.0.1", 0), 5.0, {})
    around = Surroundings("node", 0, 0, b"", clock, PlainLog(clock), os.urandom, folder, gone)
    return WorkerSet(plan, {}, around)


def ready() -> asyncio.Future[None]:
    """What a place has whose first worker was ready."""
    started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    started.set_result(None)
    return started


async def test_a_set_that_cannot_be_started_whole_leaves_nobody_behind(system: System) -> None:
    system.room = [True, False]
    clock = FakeClock()
    gone: list[int] = []
    starting = asyncio.create_task(workers(clock, 2, gone.append).start(first=True))
    while not starting.done():
        await clock.advance(0.1)
    with pytest.raises(WorkerFault, match="a worker could not be started: Resource temporarily unavailable") as fault:
        await starting
    assert fault.value.passing
    assert [process.returncode for process in system.started] == [-9]
    assert gone == [Process.pid]


async def test_a_dead_worker_is_replaced_as_soon_as_there_is_room(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    system.room = [True, False, False, True]
    clock = FakeClock()
    living = workers(clock, 1)
    started = ready()
    dead = living._spawn(0, "node-0-dead", started, [])
    replaced = asyncio.create_task(living._another(dead, started))
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
    started = ready()
    dead = living._spawn(0, "node-0-dead", started, [])
    replaced = asyncio.create_task(living._another(dead, started))
    await clock.advance(1)
    dead.process.kill()
    await living.end()
    await clock.advance(30)
    assert await replaced is None


async def test_a_worker_that_says_why_it_cannot_start_is_not_waited_for(system: System) -> None:
    system.room = [True, True]
    clock = FakeClock()
    starting = asyncio.create_task(workers(clock, 2).start(first=True))
    await clock.advance(0.1)
    system.lines[1].send(json.dumps({"say": "fault", "text": "no keyring", "passing": False}).encode())
    while not starting.done():
        await clock.advance(0.1)
    with pytest.raises(WorkerFault, match="no keyring") as fault:
        await starting
    assert not fault.value.passing
    assert [process.returncode for process in system.started] == [-9, -9]


async def test_a_replacement_that_is_not_ready_in_time_is_killed(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    system.room = [True]
    clock = FakeClock()
    living = workers(clock, 1)
    living._spawn(0, "node-0-slow", ready(), [])
    await clock.advance(children.SILENCE_SECONDS - 1)
    living.kill_the_silent()
    assert system.started[0].returncode is None
    await clock.advance(2)
    living.kill_the_silent()
    assert system.started[0].returncode == -9
    living.kill_the_silent()  # nobody is killed twice
    assert capsys.readouterr().err.count("worker is silent; killing it") == 1
    await living.end()


async def test_a_worker_whose_gauges_cannot_be_taken_away_is_replaced_all_the_same(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhausted(_: int) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    system.room = [True, True]
    clock = FakeClock()
    living = workers(clock, 1, exhausted)
    started = ready()
    keeper = asyncio.create_task(living._keep(living._spawn(0, "node-0-dead", started, []), started))
    system.started[0].kill()
    system.lines[0].close()
    while len(system.started) < 2:
        await clock.advance(0.1)
        assert not keeper.done()
    assert "a dead worker's gauges stay" in capsys.readouterr().err
    keeper.cancel()
    system.started[1].kill()
    await living.end()


async def test_nobody_can_change_the_settings_of_workers_who_come_later() -> None:
    living = workers(FakeClock(), 1)
    fd = os.open(f"/proc/self/fd/{living._settings_fd}", os.O_RDWR)
    assert json.loads(os.pread(fd, 100, 0)) == {}
    for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, 100)):
        with pytest.raises(PermissionError):
            change()
    os.close(fd)
    await living.end()


@pytest.mark.parametrize("call", ["memfd_create", "ftruncate"])
def test_without_memory_for_the_counts_it_says_so_and_holds_nothing(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def exhausted(*_: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(os, call, exhausted)
    with pytest.raises(WorkerFault, match="no memory for what workers share: Too many open files: file desc") as fault:
        workers(FakeClock(), 2)
    assert fault.value.passing
    assert len(list(Path("/proc/self/fd").iterdir())) == before

"""What the supervisor goes on with while a reload takes its time."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sesrelay.runtime import supervisor
from sesrelay.runtime.children import WorkerSet
from sesrelay.runtime.listeners import Doors, OpenDoor
from sesrelay.runtime.plan import Door
from sesrelay.runtime.supervisor import Supervisor
from sesrelay.runtime.systemd import Notifier


class Workers(WorkerSet):
    """Counts how often somebody looks who is silent."""

    def __init__(self) -> None:
        self.looks = 0
        self.looked = asyncio.Event()

    def kill_the_silent(self) -> None:
        self.looks += 1
        self.looked.set()

    async def another_look(self) -> None:
        self.looked.clear()
        async with asyncio.timeout(10):
            await self.looked.wait()


class Hands(Workers):
    """Takes connections, or does not."""

    def __init__(self) -> None:
        super().__init__()
        self.full = True
        self.asked: list[str] = []

    def give(self, door: str, connection: socket.socket) -> bool:
        self.asked.append(door)
        if not self.full:
            connection.close()
        return not self.full


async def test_who_waits_in_our_hand_during_a_reload_comes_to_the_door_that_his_socket_has_then() -> None:
    it = Supervisor(Path("/nowhere"), Notifier({}, 0), Doors())
    it._workers = hands = Hands()
    doors = [OpenDoor(Door("", "127.0.0.1", 0), [socket.create_server(("127.0.0.1", 0))], shared=True) for _ in "ab"]
    for door in doors:
        door.sockets[0].setblocking(False)
    it._pass_on({"smtp-0": doors[0], "smtp-1": doors[1]})
    with socket.create_connection(doors[0].sockets[0].getsockname()):
        async with asyncio.timeout(10):
            while not hands.asked:
                await asyncio.sleep(0)
        assert set(hands.asked) == {"smtp-0"}
        hands.full, hands.asked = False, []
        it._pass_on({"smtp-0": doors[1], "smtp-1": doors[0]})
        assert hands.asked == ["smtp-1"]
    it._pass_on({})
    for door in doors:
        door.close()


async def test_a_worker_that_falls_silent_during_a_reload_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    checking, checks = asyncio.Event(), 0

    async def check_without_end(*_: Any) -> NoReturn:
        nonlocal checks
        checks += 1
        checking.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(supervisor, "read", check_without_end)
    monkeypatch.setattr(supervisor, "_LOOK_SECONDS", 0.01)
    it = Supervisor(Path("/nowhere"), Notifier({}, 0), Doors())
    it._workers = workers = Workers()
    watching = asyncio.create_task(it._watch())
    it._asked_to_reload()
    await checking.wait()
    it._asked_to_reload()  # one at a time
    for _ in range(3):
        await workers.another_look()
    assert checks == 1
    it._asked_to_stop()
    async with asyncio.timeout(10):
        await watching


async def test_who_asks_for_a_reload_during_another_gets_it_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Running(Supervisor):
        reloads = 0

        async def _exchange(self) -> None:
            self.reloads += 1
            if self.reloads == 1:
                self._asked_to_reload()
                for _ in range(3):
                    await asyncio.sleep(0)  # the watch sees that the first has not ended
            else:
                self._asked_to_stop()

    monkeypatch.setattr(supervisor, "_LOOK_SECONDS", 1000)
    it = Running(Path("/nowhere"), Notifier({}, 0), Doors())
    it._asked_to_reload()
    async with asyncio.timeout(10):
        await it._watch()
    assert it.reloads == 2


@pytest.mark.parametrize("stopping", [False, True])
async def test_workers_are_let_finish_also_when_a_reload_meets_what_nobody_expected(
    monkeypatch: pytest.MonkeyPatch, *, stopping: bool
) -> None:
    left = False

    class Running(Supervisor):
        """All is up, and a reload fails: when it is begun, or when the stop comes."""

        async def _exchange(self) -> NoReturn:
            if stopping:
                self._asked_to_stop()
            raise ZeroDivisionError

        async def _leave(self) -> None:
            nonlocal left
            left = True

    monkeypatch.setattr(supervisor, "_LOOK_SECONDS", 0.01)
    it = Running(Path("/nowhere"), Notifier({}, 0), Doors())
    it._asked_to_reload()
    async with asyncio.timeout(10):
        with pytest.raises(ZeroDivisionError):
            await it._stay()
    assert left

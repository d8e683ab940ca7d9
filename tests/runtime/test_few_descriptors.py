"""File descriptors that run out in the midst of a reload, or are too few from the start: the relay says so, goes on
with what it has, and keeps nothing open of what it could not finish.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from select import select

import pytest

from tests.runtime.house import House, Template, until

REFUSED = "reload refused; the old configuration stays"
IN_USE = 80
"""More of the supervisor's files: workers may open as many as it, and can serve when it has hardly any left."""


@pytest.fixture(scope="module")
def crowded(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One relay for all; its supervisor has many files open."""
    made = House(template, tmp_path_factory.mktemp("crowded"))

    def spend() -> None:  # the lowest numbers, whatever the tests' own process has there
        for number in range(3, 3 + IN_USE):
            os.dup2(0, number)

    made.start(close_fds=False, preexec_fn=spend)
    yield made
    made.end()


def open_files(process: int) -> set[int]:
    return {int(fd.name) for fd in Path(f"/proc/{process}/fd").iterdir()}


def leave(spare: int, process: int) -> None:
    """It may open exactly so many files more."""
    taken = open_files(process)
    first_too_many = next(islice((number for number in count() if number not in taken), spare, None))
    hard = resource.prlimit(process, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(process, resource.RLIMIT_NOFILE, (first_too_many, hard))


def reload(house: House) -> list[str]:
    """What is said until it has ended, one way or the other."""
    assert house.process
    before = len(house.said())
    house.process.send_signal(signal.SIGHUP)
    until(lambda: any(REFUSED in line or '"reloaded"' in line for line in house.said()[before:]), "its end")
    return house.said()[before:]


# What stands in the way: the check of the configuration, the memory that workers share, one of the workers, nothing.
@pytest.mark.parametrize("spare", [*range(13), 20])
def test_wherever_descriptors_run_out_a_reload_is_refused_in_one_line_or_done(crowded: House, spare: int) -> None:
    assert crowded.process
    until(lambda: len(crowded.workers()) == 2, "nobody is left of an earlier reload")
    before, workers = len(open_files(crowded.process.pid)), {worker.pid for worker in crowded.workers()}
    limits = resource.prlimit(crowded.process.pid, resource.RLIMIT_NOFILE)
    leave(spare, crowded.process.pid)
    try:
        said = reload(crowded)
        refused = any(REFUSED in line for line in said)
        if not refused:  # who meets a worker that leaves is told so behind his message
            until(lambda: workers.isdisjoint({worker.pid for worker in crowded.workers()}), "the old workers are gone")
        crowded.send()
    finally:
        resource.prlimit(crowded.process.pid, resource.RLIMIT_NOFILE, limits)
    if refused:
        assert spare < 12
        assert len(said) == 1, said
        assert "Too many open files" in said[0]
        assert {worker.pid for worker in crowded.workers()} == workers
    else:
        assert spare > 3
    until(lambda: len(open_files(crowded.process.pid)) == before, "no file of the reload's is open any more")


def test_without_descriptors_the_nodes_own_port_still_answers(house: House) -> None:
    house.start()
    assert house.process
    before = len(house.said())
    for spare in range(3):
        leave(spare, house.process.pid)
        assert house.get("/healthz") == (200, "ok\n")
        assert house.get("/readyz") == (200, "ready\n")
        status, words = house.get("/metrics")
        if spare < 2:  # one is the connection's
            assert (status, words) == (503, "this cannot be said now: Too many open files\n")
        else:
            assert status == 200
            assert "sesrelay_messages_accepted_total" in words
    assert [json.loads(line)["event"] for line in house.said()[before:]] == ["status.not_accepted"]


def test_workers_who_could_serve_nobody_are_not_started(house: House) -> None:
    house.start()
    assert house.process
    leave(8, house.process.pid)
    (refused,) = reload(house)
    assert "raise the limit" in refused
    house.send()


def test_who_comes_while_a_worker_has_no_descriptors_left_is_served_when_it_has(house: House) -> None:
    house.settle(workers=1)
    house.start()
    (worker,) = house.workers()
    limits = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    leave(0, worker.pid)
    clients = [socket.create_connection(("127.0.0.1", house.port("smtp-0")), 60) for _ in range(20)]
    try:
        until(
            lambda: house.events("smtp.not_accepted") or any(map(hung_up_on, clients)), "a complaint, or that they go"
        )
        assert not any(map(hung_up_on, clients))
    finally:
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, limits)
    for client in clients:
        with client:
            assert client.recv(4) == b"220 "
    assert len(house.events("smtp.not_accepted")) == 1


def hung_up_on(client: socket.socket) -> bool:
    return bool(select([client], [], [], 0)[0]) and not client.recv(1, socket.MSG_PEEK)


def test_a_relay_that_cannot_start_leaves_nothing_in_memory(house: House, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    few = (60, 60)
    process = house.begin(
        {"RUNTIME_DIRECTORY": str(memory)}, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, few)
    )
    assert process.wait(60) == 2
    (line,) = house.said()
    assert line == (
        "sesrelay: a process may have 60 files open here, and a worker needs 67: raise the limit "
        "(LimitNOFILE= of the unit, or ulimit -n)"
    )
    assert list(memory.iterdir()) == []

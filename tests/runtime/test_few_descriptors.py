"""File descriptors that run out in the midst of a reload, or are too few from the start: the relay says so, goes on
with what it has, and keeps nothing open of what it could not finish.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

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


def open_files(house: House) -> set[int]:
    assert house.process
    return {int(fd.name) for fd in Path(f"/proc/{house.process.pid}/fd").iterdir()}


def leave(spare: int, house: House) -> None:
    """The supervisor may open exactly so many files more."""
    assert house.process
    taken = open_files(house)
    first_too_many = next(islice((number for number in count() if number not in taken), spare, None))
    hard = resource.prlimit(house.process.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(house.process.pid, resource.RLIMIT_NOFILE, (first_too_many, hard))


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
    before, workers = len(open_files(crowded)), {worker.pid for worker in crowded.workers()}
    limits = resource.prlimit(crowded.process.pid, resource.RLIMIT_NOFILE)
    leave(spare, crowded)
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
    until(lambda: len(open_files(crowded)) == before, "no file of the reload's is open any more")


def test_without_descriptors_the_nodes_own_port_still_answers(house: House) -> None:
    house.start()
    before = len(house.said())
    for spare in range(3):
        leave(spare, house)
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
    leave(8, house)
    (refused,) = reload(house)
    assert "raise the limit" in refused
    house.send()


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

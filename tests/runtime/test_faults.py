"""What an operator reads when the system refuses something at a start or a reload, and whether it may pass."""

from __future__ import annotations

import errno
import signal
import socket
import urllib.request

import pytest

from sesrelay.runtime import supervisor
from sesrelay.runtime.children import WorkerFault
from sesrelay.runtime.listeners import DoorFault
from sesrelay.runtime.plan import PlanFault
from tests.runtime.house import House, until

FULL, FORBIDDEN = (
    OSError(errno.EMFILE, "Too many open files"),
    PermissionError(errno.EACCES, "Permission denied", "x/y"),
)


@pytest.mark.parametrize(
    ("fault", "words", "passes"),
    [
        (FULL, "this machine has no room for it: Too many open files", True),
        (OSError(errno.ENOSPC, "No space left", "a/b"), "this machine has no room for it: No space left (a/b)", True),
        (FORBIDDEN, "the system refuses: Permission denied (x/y)", False),
        (DoorFault("the port is taken"), "the port is taken", False),
        (DoorFault("too many open files", passing=True), "too many open files", True),
        (PlanFault(["bad", "worse"]), "bad\nworse", False),
        (PlanFault(["it took too long"], passing=True), "it took too long", True),
        (WorkerFault("the database is away", passing=True), "the database is away", True),
        (WorkerFault("wrong keyring", passing=False), "wrong keyring", False),
    ],
)
def test_a_fault_says_what_it_is(fault: Exception, words: str, *, passes: bool) -> None:
    assert supervisor._words(fault) == words
    assert supervisor._may_pass(fault) is passes


def test_a_reload_that_cannot_tell_its_ports_changes_nothing(house: House) -> None:
    house.start()
    assert house.process
    before, old = {worker.pid for worker in house.workers()}, house.port("metrics")
    hindrance = house.data / "run" / "ports.new"
    hindrance.mkdir()
    house.settle(metrics={"address": "127.0.0.2", "port": 0})
    house.process.send_signal(signal.SIGHUP)
    (refused,) = until(lambda: house.events("reload refused; the old configuration stays"), "refused")
    assert refused["fault"] == f"the system refuses: Is a directory ({hindrance})"
    assert {worker.pid for worker in house.workers()} == before
    with urllib.request.urlopen(f"http://127.0.0.1:{old}/readyz") as answer:
        assert answer.status == 200
    hindrance.rmdir()
    house.process.send_signal(signal.SIGHUP)
    until(lambda: house.events("reloaded"), "reloaded")
    with urllib.request.urlopen(f"http://127.0.0.2:{house.port('metrics')}/readyz") as answer:
        assert answer.status == 200
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", old)).close()
    assert house.stop() == 0

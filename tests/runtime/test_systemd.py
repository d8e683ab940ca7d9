from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sesrelay.runtime.systemd import Notifier, passed_sockets


@pytest.fixture
def manager(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def notifier(manager: socket.socket, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname(), **more}, 42)


def test_readiness_stopping_and_signs_of_life_are_told(manager: socket.socket) -> None:
    told = notifier(manager)
    told.ready()
    told.alive()
    told.stopping()
    assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_reload_is_told_with_its_moment(manager: socket.socket) -> None:
    notifier(manager).reloading(12.5)
    assert manager.recv(100) == b"RELOADING=1\nMONOTONIC_USEC=12500000"


def test_without_systemd_nothing_happens() -> None:
    told = Notifier({}, 42)
    told.ready()
    assert told.watchdog_seconds == 0


def test_a_manager_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, 42).ready()


def test_without_a_descriptor_left_nothing_fails_for_a_notice(manager: socket.socket) -> None:
    told = notifier(manager)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        told.reloading(12.5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    told.ready()
    assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize(("pid", "seconds"), [("42", 30.0), ("43", 0.0)])
def test_the_watchdog_is_for_the_process_that_it_names(manager: socket.socket, pid: str, seconds: float) -> None:
    assert notifier(manager, WATCHDOG_USEC="30000000", WATCHDOG_PID=pid).watchdog_seconds == seconds


def test_no_child_inherits_what_systemd_told_us() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "42", "LISTEN_FDS": "0", "LISTEN_PID": "42"}
    Notifier(environ, 42)
    passed_sockets(environ, 42)
    assert environ == {}


def test_sockets_passed_to_another_process_are_not_ours() -> None:
    assert passed_sockets({"LISTEN_FDS": "3", "LISTEN_PID": "41"}, 42) == []


def test_passed_sockets_arrive_as_descriptors_from_3_on() -> None:
    script = """
import os
from sesrelay.runtime.systemd import passed_sockets
os.environ["LISTEN_PID"] = str(os.getpid())
print([sock.getsockname()[1] for sock in passed_sockets(os.environ, os.getpid())], os.environ.get("LISTEN_FDS"))
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        fd = listener.fileno()
        done = subprocess.run(
            ["bash", "-c", f'exec 3<&{fd}; exec "$0" -c "$1"', sys.executable, script],
            pass_fds=[fd], env={**os.environ, "LISTEN_FDS": "1"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert done.stdout == f"[{port}] None\n"

"""The stand-in's ports: each is given away once."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sesrelay.runtime.listeners import Doors
from sesrelay.runtime.plan import Door
from tests.standins.relay import free_port

ANOTHER = """
import itertools, random, sys
from tests.standins.relay import free_port
numbers = itertools.count(int(sys.argv[1]))
random.randrange = lambda *_: next(numbers)
print(free_port())
"""


def test_a_port_is_given_away_once_although_nobody_listens_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    numbers = iter(range(port, port + 100))
    monkeypatch.setattr(random, "randrange", lambda *_: next(numbers))
    assert free_port() != port
    told = subprocess.run(
        [sys.executable, "-c", ANOTHER, str(port)], cwd=Path(__file__).parents[2], capture_output=True, check=True
    )
    assert int(told.stdout) != port


def test_who_was_given_a_port_can_listen_there() -> None:
    doors, port = Doors(), free_port()
    for sock in doors.open([Door("smtp-0", "127.0.0.1", port)], 2)["smtp-0"].sockets:
        sock.listen()
    for _ in range(20):
        socket.create_connection(("127.0.0.1", port)).close()
    doors.close()

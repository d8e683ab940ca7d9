from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sesrelay.runtime.logs import PlainLog, line
from tests.clock import FakeClock

SCRIPT = """
import logging, warnings
import structlog
from sesrelay.runtime import logs
from sesrelay.model.message import MessageId
from tests.clock import FakeClock
early = structlog.get_logger()
logs.configure(FakeClock(), process="worker-0")
early.info("accepted", message_id=MessageId.make(0, 0, bytes(16)), count=2)
early.debug("not wanted")
try:
    raise OSError("the disk")
except OSError:
    early.exception("went wrong")
logging.getLogger("asyncio").error("of a library: %s", "x")
logging.getLogger("uvicorn.access").error("never")
logging.getLogger("mail.log").warning("never")
warnings.warn("deprecated")
"""


def test_every_line_is_json_with_time_level_and_event() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    lines = [json.loads(each) for each in done.stderr.splitlines()]
    assert [(each["level"], each["event"].split(":")[0]) for each in lines][:3] == [
        ("info", "accepted"),
        ("error", "went wrong"),
        ("error", "of a library"),
    ]
    assert len(lines) == 4
    assert {each["process"] for each in lines} == {"worker-0"}
    assert {each["time"] for each in lines} == {"2026-09-21T14:13:20.000Z"}
    assert lines[0]["message_id"] == "0100000000000000-00000000-0000-0000-0000-000000000000-000000"
    assert "OSError: the disk" in lines[1]["exception"]
    assert lines[2]["library"] == "asyncio"


def test_the_supervisors_lines_look_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    PlainLog(FakeClock(), process="supervisor").warning("look", pid=7)
    said = json.loads(capsys.readouterr().err)
    assert said == {
        "time": "2026-09-21T14:13:20.000Z", "level": "warning", "event": "look", "process": "supervisor", "pid": 7,
    }  # fmt: skip


class Pieces(io.RawIOBase):
    """Remembers what the system is given at a time."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, octets: Any) -> int:
        self.given.append(bytes(octets))
        return len(octets)


def test_a_long_line_is_written_in_one_piece_so_that_no_worker_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = Pieces()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(pieces), line_buffering=True))
    PlainLog(FakeClock()).error("look", fault="x" * 20_000)
    (piece,) = pieces.given
    assert json.loads(piece)["fault"] == "x" * 20_000
    assert piece.endswith(b"}\n")


def test_any_value_can_be_written() -> None:
    assert json.loads(line(0, "info", "x", {"path": sys}))["path"].startswith("<module")


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    script = (
        SCRIPT.replace("early = ", "plain = logs.PlainLog(FakeClock())\nearly = ")
        + "plain.error('look')\nprint('ok')\n"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=full, text=True, check=False
        )
    assert done.stdout == "ok\n"

"""A process dies where it is told to, when it is told to, and if told so only once among all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from sesrelay.killpoints import reached
for turn in range(4):
    reached("after-commit"); reached("before-commit"); print(turn, flush=True)
"""


def run(kill_at: str | None) -> tuple[int, str]:
    environment = {**os.environ, **({} if kill_at is None else {"SESRELAY_KILL_AT": kill_at})}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("kill_at", "expected"),
    [
        (None, (0, "0123")),
        ("before-250", (0, "0123")),
        ("before-commit", (-9, "")),
        ("before-commit:1", (-9, "")),
        ("before-commit:3", (-9, "01")),
        ("before-commit:5", (0, "0123")),
    ],
)
def test_a_process_dies_at_the_named_place_the_nth_time(kill_at: str | None, expected: tuple[int, str]) -> None:
    assert run(kill_at) == expected


def test_only_the_first_process_dies_when_a_file_says_who_was(tmp_path: Path) -> None:
    kill_at = f"before-commit:2@{tmp_path / 'died'}"
    assert [run(kill_at), run(kill_at)] == [(-9, "0"), (0, "0123")]

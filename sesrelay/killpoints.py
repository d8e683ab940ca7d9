"""The named places where a process may die without harm, and the means to make it die there.

``SESRELAY_KILL_AT=before-commit:3`` kills this process (SIGKILL) the third time it comes to that place; with
``before-commit:3@FILE`` only the first process dies that comes so far and finds no such file, which it makes.
Unset, ``reached`` costs one comparison. docs/JOURNEY.md argues for each place why nothing accepted is lost.
"""

from __future__ import annotations

import os
import signal
from typing import Final, Literal

KillPoint = Literal[
    "before-body-sync",
    "after-body-sync",
    "before-commit",
    "after-commit",
    "before-250",
    "after-final-dot",
    "before-settle",
]

_place, _, _marker = os.environ.get("SESRELAY_KILL_AT", "").partition("@")
_name, _, _count = _place.partition(":")
ARMED: Final = _name
_left = int(_count or "1")


def reached(point: KillPoint) -> None:
    """Dies here if the environment says so."""
    if point == ARMED:
        global _left
        _left -= 1
        if _left <= 0 and _chosen():
            os.kill(os.getpid(), signal.SIGKILL)


def _chosen() -> bool:
    """Whether it is this process's turn to die."""
    if not _marker:
        return True
    try:
        os.close(os.open(_marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True

"""How long somebody waits who failed before: a few failures are free, then each doubles the wait, up to a longest.

Failures fade: after each half-life half of them count.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp2
from typing import Final

_FADED_A_LITTLE: Final = 0.5
"""A failure of a moment ago still counts as a whole one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How much is borne of one kind of client."""

    free_failures: int
    first_seconds: float
    longest_seconds: float


def wait_seconds(failures: float, patience: Patience) -> float:
    """What to wait after so many failures that count."""
    beyond = failures - patience.free_failures
    if beyond < -_FADED_A_LITTLE:
        return 0.0
    return min(patience.first_seconds * exp2(max(beyond, 0.0)), patience.longest_seconds)


def faded(failures: float, age_seconds: float, half_life_seconds: float) -> float:
    """What is left of them after so long."""
    return failures * exp2(-max(age_seconds, 0.0) / half_life_seconds)

"""When a failed attempt is made again: waits that double up to a longest one, spread by chance, until mail is too old.

The last attempt is made when the mail reaches its age, so that a receiver that comes back late is not missed. The
schedule follows from the number of attempts and the age alone: it survives every restart.
"""

from __future__ import annotations

from dataclasses import dataclass

from sesrelay.model.clock import HOUR, MINUTE, Micros


@dataclass(frozen=True, slots=True)
class Schedule:
    """The settings of ``delivery.retry`` (DEL-5)."""

    first: Micros = 5 * MINUTE
    longest: Micros = 60 * MINUTE
    max_age: Micros = 14 * HOUR


DEFAULT = Schedule()


def wait(attempts: int, spread: float, schedule: Schedule = DEFAULT) -> Micros:
    """How long to wait after that many attempts (from 1). ``spread`` in [0, 1) moves it between 3/4 and 5/4."""
    doublings = min(max(attempts, 1) - 1, 40)
    middle = min(schedule.first << doublings, schedule.longest)
    return round(middle * (0.75 + spread / 2))


def next_attempt(attempts: int, age: Micros, spread: float, schedule: Schedule = DEFAULT) -> Micros | None:
    """How long to wait after a failed attempt, at that age of the mail; None: it is too old, give up."""
    left = schedule.max_age - age
    return min(wait(attempts, spread, schedule), left) if left > 0 else None

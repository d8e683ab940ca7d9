"""What the product knows of time: handed in from the edge, never taken from the system.

``runtime.clock`` has the real one; tests bring a clock that they move by hand.
"""

from __future__ import annotations

from typing import Protocol

Micros = int
"""Microseconds since 1970-01-01T00:00:00Z (a point in time) or a number of microseconds (a span)."""

SECOND: Micros = 1_000_000
MINUTE: Micros = 60 * SECOND
HOUR: Micros = 60 * MINUTE
DAY: Micros = 24 * HOUR

SKEW: Micros = MINUTE
"""Clocks that agree differ by less. What is noted for a time further ahead was noted by a clock since put right."""


def not_back(now: Micros, noted: Micros) -> Micros:
    """``now``, but not before what was noted last: small steps back are none. A noted time far ahead was wrong."""
    return noted if now < noted <= now + SKEW else now


class Clock(Protocol):
    """One clock for a process: wall time that the whole node (or cluster) agrees on, and waits."""

    def now(self) -> Micros:
        """The time of day, in microseconds since 1970 UTC."""

    def monotonic(self) -> float:
        """Seconds that only ever grow; for measuring spans within this process."""

    async def sleep(self, seconds: float) -> None:
        """Returns when that many seconds of this clock have passed."""

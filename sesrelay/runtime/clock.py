"""The one clock and the one source of chance: everybody else gets them handed in.

Tests of several processes move time by a file: ``SESRELAY_CLOCK_OFFSET_FILE`` names one that holds seconds
to be added to the time of day and to spans alike; every process that reads it is in the same hour at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Final

from sesrelay.model.clock import SECOND, Micros

OFFSET_FILE: Final = "SESRELAY_CLOCK_OFFSET_FILE"
_LOOK_AGAIN_SECONDS: Final = 0.02


class SystemClock:
    """Local time, and waits of the running event loop."""

    def now(self) -> Micros:
        """Microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds since some moment of this machine."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Waits; a span of 0 or less gives others a turn."""
        await asyncio.sleep(seconds)


class ShiftedClock:
    """Local time and the seconds that a file says; who sleeps is woken early when the file says it is late."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds = 0.0

    def _shift(self) -> float:
        try:
            self._seconds = float(self._file.read_text() or 0)
        except (OSError, ValueError):  # not there yet, or half written: as it was
            return self._seconds
        return self._seconds

    def now(self) -> Micros:
        """Microseconds since 1970 UTC, shifted."""
        return time.time_ns() // 1000 + round(self._shift() * SECOND)

    def monotonic(self) -> float:
        """Seconds since some moment of this machine, shifted."""
        return time.monotonic() + self._shift()

    async def sleep(self, seconds: float) -> None:
        """Waits until the shifted clock has gone on by so much."""
        end = self.monotonic() + seconds
        await asyncio.sleep(0)
        while (left := end - self.monotonic()) > 0:  # noqa: ASYNC110 - what is awaited is a file that others write
            await asyncio.sleep(min(left, _LOOK_AGAIN_SECONDS))


def system_clock() -> SystemClock | ShiftedClock:
    """The clock of this process."""
    file = os.environ.get(OFFSET_FILE)
    return ShiftedClock(Path(file)) if file else SystemClock()


def chance(octets: int) -> bytes:
    """So many octets that nobody can guess."""
    return os.urandom(octets)


def spread() -> float:
    """A number from 0 to 1 (never 1), for waits that must not fall together; not for secrets."""
    return random.random()

"""Numbers by name, counted over all workers of the node in memory of a fixed size, that fade with time.

The memory is the supervisor's: it outlives every worker and every reload, and whoever sends a million names makes it
no larger. A name stands in one place of each of ``ROWS`` rows, chosen by a keyed hash, and has the least of the numbers
there: it counts too much only when in every row somebody else counts in the same place. Adding raises no place above
what the name itself has by now, so that names disturb each other as little as can be (a count-min sketch with
conservative update).

Numbers are read without the lock: at worst one is seen with the age of the one that it takes the place of.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from sesrelay.model.clock import Clock
from sesrelay.rules.patience import faded

ROWS: Final = 4
TABLES: Final = 2
"""Failed logins, and logins that succeeded."""
FAILED_LOGINS, LOGINS = range(TABLES)
PLACES: Final = 1 << 15
"""Of a row; a power of two."""
_DOUBLES: Final = 2  # of a place: its number, and when it was written
_TABLE: Final = ROWS * PLACES * _DOUBLES
_REMEMBERED: Final = 4096
"""Clients come back: their places are remembered."""


class NodeTally:
    """Table ``table`` of the memory. All workers give the same key, half-life and most."""

    def __init__(self, fd: int, table: int, key: bytes, clock: Clock, *, half_life_seconds: float, most: float) -> None:
        """``most``: no number grows beyond it."""
        self._fd = fd
        self._key = key
        self._clock = clock
        self._half_life = half_life_seconds
        self._most = most
        self._places = lru_cache(_REMEMBERED)(self._find_places)
        everything = memoryview(mmap.mmap(fd, os.fstat(fd).st_size)).cast("d")
        self._table = everything[table * _TABLE : (table + 1) * _TABLE]

    @staticmethod
    def memory() -> int:
        """A file descriptor of memory for all tables, all numbers 0. Untouched pages cost nothing."""
        fd = os.memfd_create("sesrelay-tally")
        os.ftruncate(fd, TABLES * _TABLE * 8)
        return fd

    def number(self, name: bytes) -> float:
        """What has not faded yet."""
        places = self._places(name)
        if not self._table[places[0]]:  # mostly nothing is there, and each new connection asks
            return 0.0
        now = self._clock.monotonic()
        return min([self._at(place, now) for place in places])

    def add(self, name: bytes) -> None:
        """One more, to the most."""
        now = self._clock.monotonic()
        with self._locked():
            number = min(self.number(name) + 1.0, self._most)
            for place in self._places(name):
                if self._at(place, now) < number:
                    self._write(place, number, now)

    def take_back(self, name: bytes) -> None:
        """All that this name has; what others have in its places stays."""
        now = self._clock.monotonic()
        if not self.number(name):
            return
        with self._locked():
            number = self.number(name)
            for place in self._places(name):
                self._write(place, max(self._at(place, now) - number, 0.0), now)

    def _at(self, place: int, now: float) -> float:
        number = self._table[place]
        return faded(number, now - self._table[place + 1], self._half_life) if number else 0.0

    def _write(self, place: int, number: float, now: float) -> None:
        self._table[place], self._table[place + 1] = number, now

    def _find_places(self, name: bytes) -> tuple[int, ...]:
        digest = hashlib.blake2b(name, digest_size=4 * ROWS, key=self._key).digest()
        numbers = [int.from_bytes(digest[4 * row : 4 * row + 4], "big") for row in range(ROWS)]
        return tuple((row * PLACES + number % PLACES) * _DOUBLES for row, number in enumerate(numbers))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A record lock belongs to the process, not to the inherited descriptor, and dies with it.
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

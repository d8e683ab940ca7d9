"""Which bodies stay in the kernel's page cache: those that this process wrote last. Older ones are on the disk alone.

A body is read once or twice, soon after it was written. Left alone the kernel fills the machine's memory with all of
them, and takes a page that nobody has used yet for each new one: on virtual machines, whose host finds the memory
behind it only then, writing to such a page takes ten times as long as writing to one that has been used before.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path
from typing import Final

from sesrelay.store.segments import Disk

KEPT_OCTETS: Final = 64 * 1024 * 1024


class RecentFiles:
    """Complete and synced files of one folder, in the order in which they were written."""

    def __init__(self, folder: Path, disk: Disk, kept_octets: int = KEPT_OCTETS) -> None:
        self._folder = folder
        self._disk = disk
        self._kept_octets = kept_octets
        self._files: deque[tuple[str, int]] = deque()
        self._octets = 0

    def add(self, name: str, octets: int) -> None:
        """The file that is newest now; those that are not needed for the last ``kept_octets`` leave memory."""
        self._files.append((name, octets))
        self._octets += octets
        while self._octets - self._files[0][1] >= self._kept_octets:
            oldest, size = self._files.popleft()
            self._octets -= size
            self._forget(oldest)

    def _forget(self, name: str) -> None:
        # No more than advice; and a file that has been removed has left memory already.
        with contextlib.suppress(OSError):
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._disk.forget(descriptor)
            finally:
                os.close(descriptor)

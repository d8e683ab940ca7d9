"""Segments: files of message bytes that only ever grow, written by one process and read by all.

What ``append`` has returned for is on the disk. After a failed write or sync a segment is cut back to its last good
octet and closed for good: what a disk says after it has lied once is not worth asking for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zlib_ng.zlib_ng import crc32

from sesrelay.killpoints import reached
from sesrelay.model.message import BodyLocation
from sesrelay.store.errors import StoreError

ROLL_OVER_OCTETS: Final = 64 * 1024 * 1024
"""A segment that has reached this size gets no further batch."""

SUFFIX: Final = ".segment"
_BUFFERS_AT_ONCE: Final = 512  # below IOV_MAX (1024 on Linux)


class BodyDamaged(StoreError):  # noqa: N818 - what the reader finds, not what it did wrong
    """The bytes at a location are not those that were written there."""


class BodyMissing(BodyDamaged):
    """The file of a location is gone: removed, or its messages were moved to another segment."""


def forget(descriptor: int) -> None:
    """A synced file is read from the disk from now on. OSError."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


@dataclass(frozen=True, slots=True)
class Disk:
    """What bodies ask of the operating system; tests bring one that fails."""

    write: Callable[[int, Sequence[bytes | bytearray | memoryview]], int] = os.writev
    """Octets written; raises OSError."""
    sync: Callable[[int], None] = os.fdatasync
    sync_folder: Callable[[int], None] = os.fsync
    forget: Callable[[int], None] = forget


SYSTEM_DISK: Final = Disk()


def sync_folder(folder: Path, disk: Disk) -> None:
    """Makes the names in ``folder`` durable. OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.sync_folder(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, buffers: Sequence[bytes | bytearray], disk: Disk) -> None:
    """Writes all of ``buffers`` where the file stands, however little the system takes at a time. OSError."""
    for start in range(0, len(buffers), _BUFFERS_AT_ONCE):
        rest: list[bytes | bytearray | memoryview] = list(buffers[start : start + _BUFFERS_AT_ONCE])
        while rest:
            written = disk.write(descriptor, rest)
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if written:
                rest[0] = memoryview(rest[0])[written:]


class Segment:
    """The segment that this process is writing: locked (flock) until it is closed."""

    def __init__(self, folder: Path, name: str, disk: Disk = SYSTEM_DISK) -> None:
        """Makes the file, takes its lock and makes its name durable. OSError; FileExistsError is a fault of ours."""
        self.name = name
        self.size = 0
        self._disk = disk
        path = folder / name
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_folder(folder, disk)
        except BaseException:
            os.close(self._descriptor)
            path.unlink(missing_ok=True)
            raise

    def append(self, contents: Sequence[bytes]) -> list[BodyLocation]:
        """Writes and syncs all of them. OSError: none of them counts, and the segment is closed."""
        try:
            write_all(self._descriptor, contents, self._disk)
            reached("before-body-sync")
            self._disk.sync(self._descriptor)
            reached("after-body-sync")
        except BaseException:
            self._seal()
            raise
        return list(self._locate(contents))

    def _locate(self, contents: Sequence[bytes]) -> Iterator[BodyLocation]:
        for content in contents:
            yield BodyLocation(self.name, self.size, len(content), crc32(content))
            self.size += len(content)

    def _seal(self) -> None:
        # Only to give room back: nobody reads beyond the last good octet.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self.size)
        self.close()

    def close(self) -> None:
        """Nothing more is written; others may move or remove the segment."""
        os.close(self._descriptor)


def read(folder: Path, location: BodyLocation) -> bytes:
    """The bytes at ``location``. BodyMissing, BodyDamaged; OSError when the disk fails."""
    try:
        descriptor = os.open(folder / location.segment, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BodyMissing(f"{location.segment} is gone") from None
    try:
        content = os.pread(descriptor, location.length, location.offset)
    finally:
        os.close(descriptor)
    if len(content) != location.length or crc32(content) != location.crc32:
        raise BodyDamaged(f"{location.segment} is damaged at {location.offset}, {location.length} octets")
    return content

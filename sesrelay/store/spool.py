"""The spool: a big message goes to a file of its own while it comes in, and never through memory as a whole.

In front of the body there is room for the header as it will be rewritten; ``put_header`` writes it so that it ends
where the body begins, and then the file is the message.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from zlib_ng.zlib_ng import crc32

from sesrelay.model.message import SpooledBody
from sesrelay.store.segments import SYSTEM_DISK, Disk, write_all

HEADER_GROWTH: Final = 16 * 1024
"""Octets by which rewriting may lengthen a header (MSG-2, MSG-6)."""

SUFFIX: Final = ".spool"
_PAGE: Final = 4096


class SpoolWriter:
    """One message on its way in: the header is known, the body comes in chunks."""

    def __init__(self, path: Path, header: bytes, disk: Disk = SYSTEM_DISK) -> None:
        """``header``: up to and including the empty line. OSError."""
        self._path = path
        self._header = header
        self._disk = disk
        self._reserved = -(-(len(header) + HEADER_GROWTH) // _PAGE) * _PAGE
        self._length = 0
        self._crc32 = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.lseek(self._descriptor, self._reserved, os.SEEK_SET)

    def write(self, chunk: bytes | bytearray) -> None:
        """The next octets of the body. OSError: the disk is full or fails; discard."""
        write_all(self._descriptor, [chunk], self._disk)
        self._crc32 = crc32(chunk, self._crc32)
        self._length += len(chunk)

    def finish(self) -> SpooledBody:
        """The body is complete; it becomes durable when the message is accepted. Or remove it: ``discard``."""
        os.close(self._descriptor)
        self._descriptor = -1
        return SpooledBody(self._header, str(self._path), self._reserved, self._length, self._crc32)

    def discard(self) -> None:
        """The message is not wanted: its file goes. May be called at any time, also twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        discard(self._path)


def discard(path: str | Path) -> None:
    """Removes a spooled body that was refused. Gone already: all the better."""
    with contextlib.suppress(OSError):  # what stays is swept at the next start
        Path(path).unlink()


@contextlib.contextmanager
def mapped(spooled: SpooledBody) -> Iterator[mmap.mmap]:
    """The file, to be read and not to be held in memory; the body begins at ``reserved`` and is not empty. OSError."""
    with Path(spooled.path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as octets:
        yield octets


def put_header(spooled: SpooledBody, disk: Disk) -> int:
    """Writes the header to end where the body begins and syncs the file. The message's offset.

    OSError; EINVAL when the header has grown beyond the room that was left for it.
    """
    offset = spooled.reserved - len(spooled.header)
    if offset < 0:
        raise OSError(errno.EINVAL, f"a header of {len(spooled.header)} octets in room for {spooled.reserved}")
    descriptor = os.open(spooled.path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.lseek(descriptor, offset, os.SEEK_SET)
        write_all(descriptor, [spooled.header], disk)
        disk.sync(descriptor)
    finally:
        os.close(descriptor)
    return offset

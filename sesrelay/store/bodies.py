"""Where the bytes of messages lie on embedded storage: safe before their rows are written, readable by any process.

Small and middling messages share segments, a batch at a time and one sync for each batch; a big message is a file
of its own, which came in through the spool. A row of the database knows a message's place; a file without rows is
swept when the process that wrote it is dead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from zlib_ng.zlib_ng import crc32, crc32_combine

from sesrelay.killpoints import reached
from sesrelay.model.message import BodyLocation, NewMessage, SpooledBody
from sesrelay.store import spool, sweep
from sesrelay.store.recent import RecentFiles
from sesrelay.store.segments import ROLL_OVER_OCTETS, SUFFIX, SYSTEM_DISK, Disk, Segment, read, sync_folder
from sesrelay.store.spool import SpoolWriter, put_header
from sesrelay.store.sweep import Signature

BIG_SUFFIX: Final = ".message"
"""Of the file of one big message."""
SYNCS_AT_ONCE: Final = 8


class Bodies:
    """This process's pen, and everybody's eyes. ``append``, ``adopt`` and ``move`` belong to one thread."""

    def __init__(
        self, data_dir: Path, incarnation: str, disk: Disk = SYSTEM_DISK, roll_over_octets: int = ROLL_OVER_OCTETS
    ) -> None:
        """Makes the folders ``bodies`` and ``spool`` where they are missing, durably. OSError."""
        self._folder = data_dir / "bodies"
        self._spool = data_dir / "spool"
        self._signature = Signature(self._folder, incarnation)
        self._spool_signature = Signature(self._spool, incarnation)
        self._disk = disk
        self._roll_over_octets = roll_over_octets
        self._segment: Segment | None = None
        self._recent = RecentFiles(self._folder, disk)
        self._pool: ThreadPoolExecutor | None = None
        for folder in (self._folder, self._spool):
            folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(data_dir, disk)  # also where a sibling has just made them: it may not have come so far

    def append(self, messages: Sequence[NewMessage]) -> list[BodyLocation]:
        """Makes the contents of a batch durable; their places in the same order. OSError: none of them is.

        Messages with a SpooledBody go through ``adopt``. Commit the rows of a batch before the next append.
        """
        return self._append([_in_memory(message) for message in messages])

    def _append(self, contents: Sequence[bytes]) -> list[BodyLocation]:
        if not contents:
            return []
        segment = self._current()
        self._segment = None  # should the disk fail, nobody writes there again
        locations = segment.append(contents)
        self._segment = segment
        return locations

    def _current(self) -> Segment:
        """The segment for the next batch: a new one at first, after a failure and when the last is full."""
        if self._segment is not None and self._segment.size >= self._roll_over_octets:
            self._segment.close()
            self._recent.add(self._segment.name, self._segment.size)
            self._segment = None
        if self._segment is None:
            self._segment = Segment(self._folder, self._signature.sign(SUFFIX), self._disk)
        return self._segment

    def spool(self, header: bytes) -> SpoolWriter:
        """A writer for a big message whose header (with the empty line) is known. Always on one thread. OSError."""
        return SpoolWriter(self._spool / self._spool_signature.sign(spool.SUFFIX), header, self._disk)

    def adopt(self, spooled: Sequence[SpooledBody]) -> list[BodyLocation | OSError]:
        """Makes spooled messages durable, each under its final header; the bodies are not read again.

        For each its place, or why it is not durable: then its file may be anywhere between spool and bodies, and is
        swept. The disk gets all their syncs at once, and the folder is synced once: one after the other costs four
        times as long.
        """
        if not spooled:
            return []
        reached("before-body-sync")
        places = [self._take_in(*written) for written in zip(spooled, self._write_headers(spooled), strict=True)]
        try:
            sync_folder(self._folder, self._disk)
        except OSError as error:
            return [error] * len(spooled)
        reached("after-body-sync")
        for place in places:
            if isinstance(place, BodyLocation):
                self._recent.add(place.segment, place.length)
        return places

    def _write_headers(self, spooled: Sequence[SpooledBody]) -> Iterable[int | OSError]:
        if len(spooled) == 1:
            return [self._write_header(spooled[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(SYNCS_AT_ONCE, thread_name_prefix="sync")
        return self._pool.map(self._write_header, spooled)

    def _write_header(self, spooled: SpooledBody) -> int | OSError:
        """The message's offset in its file, synced."""
        try:
            return put_header(spooled, self._disk)
        except OSError as error:
            return error

    def _take_in(self, spooled: SpooledBody, offset: int | OSError) -> BodyLocation | OSError:
        """Into the folder of bodies, not yet durably."""
        if isinstance(offset, OSError):
            return offset
        try:
            name = self._signature.sign(BIG_SUFFIX)
            Path(spooled.path).rename(self._folder / name)
        except OSError as error:
            return error
        checksum = crc32_combine(crc32(spooled.header), spooled.body_crc32, spooled.body_length)
        return BodyLocation(name, offset, len(spooled.header) + spooled.body_length, checksum)

    def read(self, location: BodyLocation) -> bytes:
        """The bytes at ``location``. Any thread. BodyMissing, BodyDamaged; OSError when the disk fails.

        BodyMissing can mean that the message has moved since its row was read: read the row again.
        """
        return read(self._folder, location)

    def move(self, locations: Sequence[BodyLocation]) -> list[BodyLocation]:
        """Copies messages out of nearly empty segments (``sweep.fate``), durably; their new places in order.

        Then write the new places into the rows, commit, and ``remove`` the old segments. BodyDamaged, OSError.
        """
        return self._append([self.read(location) for location in locations])

    def is_written(self, segment: str) -> bool:
        """Whether its writer still has it; once it has not, nobody writes there again. OSError."""
        with sweep.locked(self._folder / segment) as free:
            return not free

    def remove(
        self, segments: Sequence[str], still_needed: Callable[[Sequence[str]], set[str]] = lambda _names: set()
    ) -> list[str]:
        """Removes files whose rows were let go or moved, but for a segment that is being written; what went. OSError.

        ``still_needed`` as in ``sweep``: a segment may have got rows since it was found empty.
        """
        return sweep.remove(self._folder, segments, still_needed)

    def sweep(self, still_needed: Callable[[Sequence[str]], set[str]]) -> list[str]:
        """Removes what dead processes left: files without rows, and spooled messages never accepted; their names.

        ``still_needed`` gets file names and gives those that a row knows; it must look under the write lock.
        """
        removed = sweep.sweep(self._folder, (SUFFIX, BIG_SUFFIX), still_needed)
        removed += sweep.sweep(self._spool, (spool.SUFFIX,), lambda _names: set())
        sweep.bury(self._folder)
        sweep.bury(self._spool)
        return removed

    def close(self) -> None:
        """After the last commit: others may take over what was written."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._signature.close()
        self._spool_signature.close()


def _in_memory(message: NewMessage) -> bytes:
    if isinstance(message.content, SpooledBody):
        raise TypeError(f"{message.message_id}: a spooled message goes through adopt()")
    return message.content

"""Which files of bodies may go: the decisions, and the locks that make them safe among processes.

Two locks say that a file is in use. A process that writes bodies holds ``<incarnation>.lock`` for life: rows for
its files may still be on their way. The segment being written is locked itself, by its writer. Nothing here is
removed unless its lock could be had.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from sesrelay.model.clock import Micros

LOCK_SUFFIX: Final = ".lock"
NAMES_AT_ONCE: Final = 500
MOVE_BELOW: Final = 0.25
"""A segment of which no more than this share is still needed is worth copying the rest."""


class Fate(StrEnum):
    """What becomes of a segment."""

    KEEP = "keep"
    REMOVE = "remove"
    """Nobody needs anything in it."""
    MOVE = "move"
    """Little of it is needed and for long: that moves to another segment, then it is removed."""


@dataclass(frozen=True, slots=True)
class SegmentUse:
    """What the rows say about a segment (or about the file of one big message)."""

    segment: str
    written_octets: int
    """Of all messages that have a row in it."""
    needed_octets: int
    """Of those that are not finished, or finished more recently than their retention."""
    newest: Micros
    """When the youngest message in it was accepted."""


def fate(use: SegmentUse, now: Micros, retention: Micros) -> Fate:
    """Whole segments go; one that is old and nearly empty gives its rest away.

    ``retention``: of finished mail's bodies; what is still needed in a segment older than that will stay for long
    (queued, held, captured).
    """
    if use.needed_octets == 0:
        return Fate.REMOVE
    old = use.newest + retention < now
    return Fate.MOVE if old and use.needed_octets <= MOVE_BELOW * use.written_octets else Fate.KEEP


class Signature:
    """What makes a folder's new files this incarnation's own: their names, and the lock that says that it lives."""

    def __init__(self, folder: Path, incarnation: str) -> None:
        self._folder = folder
        self._incarnation = incarnation
        self._numbers: Iterator[int] | None = None
        self._descriptor = -1

    def sign(self, suffix: str) -> str:
        """The name for a new file. The first time, takes the lock: OSError, BlockingIOError for a name in use."""
        if self._numbers is None:
            self._descriptor = _enlist(self._folder, self._incarnation)
            taken = [_number(path.name) for path in self._folder.glob(f"{glob.escape(self._incarnation)}.*.*")]
            self._numbers = itertools.count(max(taken, default=0) + 1)
        return f"{self._incarnation}.{next(self._numbers):06}{suffix}"

    def close(self) -> None:
        """From now on this incarnation's files are a dead one's."""
        if self._numbers is not None:
            os.close(self._descriptor)
            self._numbers = None


def _enlist(folder: Path, incarnation: str) -> int:
    """The descriptor that holds the incarnation's lock."""
    lock = folder / f"{incarnation}{LOCK_SUFFIX}"
    with locked(lock) as free:
        if not free:
            raise BlockingIOError(errno.EWOULDBLOCK, "another process goes by the same incarnation", str(lock))
    # Under another name first: whoever finds a .lock file that is not locked takes its owner for dead.
    new = lock.with_suffix(".enlisting")
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(lock)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _owner(file_name: str) -> str:
    """The incarnation that made a file: ``<incarnation>.<number>.<kind>``."""
    return file_name.rsplit(".", 2)[0]


def _number(file_name: str) -> int:
    digits = file_name.rsplit(".", 2)[1]
    return int(digits) if digits.isdecimal() else 0


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Whether the file's lock was to be had; it is held inside. A file that is gone counts as had."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def sweep(folder: Path, suffixes: Sequence[str], still_needed: Callable[[Sequence[str]], set[str]]) -> list[str]:
    """Removes the files of dead incarnations that no row needs; their names. OSError.

    ``still_needed`` is asked with up to 500 names while their owner's lock is held, and must look under the
    database's write lock.
    """
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(tuple(suffixes)))
    removed: list[str] = []
    for owner, files in itertools.groupby(names, _owner):
        with locked(folder / f"{owner}{LOCK_SUFFIX}") as dead:
            while dead and (some := list(itertools.islice(files, NAMES_AT_ONCE))):
                needed = still_needed(some)
                removed += remove(folder, [name for name in some if name not in needed])
    return removed


def bury(folder: Path) -> None:
    """Removes the lock files of incarnations that are dead and have left nothing behind."""
    names = [path.name for path in folder.iterdir()]
    owners = {_owner(name) for name in names if not name.endswith(LOCK_SUFFIX)}
    remove(folder, [n for n in names if n.endswith(LOCK_SUFFIX) and n.removesuffix(LOCK_SUFFIX) not in owners])


def remove(
    folder: Path, names: Sequence[str], still_needed: Callable[[Sequence[str]], set[str]] = lambda _names: set()
) -> list[str]:
    """Removes those of ``names`` whose lock is to be had and that are not ``still_needed``; what went. OSError.

    Rows may have been written for a segment until its lock was had, so it is asked for each, with its lock held.
    """
    removed: list[str] = []
    for name in names:
        with locked(folder / name) as free:
            if free and name not in still_needed([name]):
                (folder / name).unlink(missing_ok=True)
                removed.append(name)
    return removed

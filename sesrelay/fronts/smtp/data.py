"""Reading a message: only CRLF.CRLF ends it, doubled dots are undone, and memory stays bounded (SMTP-8, SMTP-10).

Bytes come in chunks cut anywhere; all looking is done by C loops over whole chunks. A message beyond
``SPOOLED_OCTETS`` goes to a file while it comes in, one beyond the limit is read to its end but not kept.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from sesrelay.model.message import SpooledBody
from sesrelay.model.refusal import Refusal
from sesrelay.rules.lines import LineCheck

log = structlog.get_logger()
SPOOLED_OCTETS: Final = 262_144
"""A message of more octets does not stay in memory."""

_SMALL_OCTETS: Final = 512
_CRLF: Final = b"\r\n"
_END: Final = b"\r\n.\r\n"
_END_OF_HEADER: Final = b"\r\n\r\n"
_BEGINNINGS_OF_END: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
_LINE_WITH_DOT: Final = re.compile(rb"\n\.")
_STRETCH: Final = 4096
"""Octets that are searched behind a dot: the next one may be far away."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class SpoolWriter(Protocol):
    """A file that takes a big message in; the store has it."""

    def write(self, chunk: bytes | bytearray) -> None:
        """The next octets. OSError."""

    def finish(self) -> SpooledBody:
        """It is complete. OSError."""

    def discard(self) -> None:
        """It is not wanted; may be called at any time, also twice."""


class WorkerOctets:
    """Octets of messages held in this worker's memory, all sessions together."""

    __slots__ = ("_limit", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def take(self, octets: int) -> bool:
        """True: there was room, and they are counted."""
        if self.held + octets > self._limit:
            return False
        self.held += octets
        return True

    def give_back(self, octets: int) -> None:
        """They are no longer held."""
        self.held -= octets


class BodyReader:
    """One message on its way in. ``close`` must be called when it is done with, whatever became of it."""

    __slots__ = (
        "_check",
        "_fault",
        "_held",
        "_limit",
        "_memory",
        "_open",
        "_pieces",
        "_seam",
        "_size",
        "_spool",
        "_tail",
    )

    def __init__(self, limit: int, memory: WorkerOctets, spool: Callable[[bytes], SpoolWriter]) -> None:
        """``limit``: octets of the longest message; ``spool`` opens a file for what follows the given header."""
        self._limit = limit
        self._memory = memory
        self._open = spool
        self._spool: SpoolWriter | None = None
        self._check = LineCheck()
        self._fault: Refusal | None = None
        self._pieces: list[bytes | bytearray] = []
        self._seam = b""  # the last octets of a header that has no end yet, although it is too long for memory
        self._held = 0
        self._size = -len(_CRLF)
        self._tail = _CRLF  # the end of DATA's own line: a dot right behind it begins a line

    def feed(self, chunk: bytes) -> bytes | None:
        """Takes the next chunk. None: the message goes on; else it is complete, and these octets follow its end."""
        if self._size < 0 and self._tail == _CRLF and chunk and not chunk.startswith(b"."):
            self._size, window = 0, chunk  # as nearly every message begins: one copy less
        else:
            window = self._tail + chunk
        dot = _line_with_dot(window)
        if dot >= 0:
            end = window.find(_END, max(dot - 1, 0))
            if end >= 0:
                self._take(window[: end + 2], dotted=dot < end)
                return window[end + len(_END) :]
        self._tail = b""
        if window.endswith(_BEGINNINGS_OF_END):
            self._tail = next(beginning for beginning in _BEGINNINGS_OF_END if window.endswith(beginning))
            window = window[: -len(self._tail)]
        self._take(window, dotted=dot >= 0)
        return None

    def content(self) -> bytes | SpooledBody | Refusal:
        """The complete message, dots undone; or why it cannot be taken."""
        if self._size > self._limit:
            return Refusal.TOO_LONG
        fault = self._fault or self._check.fault()
        if fault is not None:
            return fault
        if self._spool is None:
            return b"".join(self._pieces)
        try:
            return self._spool.finish()
        except OSError as error:
            return _trouble(error)

    def close(self, *, accepted: bool = False) -> None:
        """Gives back what it holds; the file of a message that was not accepted goes."""
        self._pieces = []
        self._memory.give_back(self._held)
        self._held = 0
        if self._spool is not None and not accepted:
            self._spool.discard()

    def _take(self, raw: bytes, *, dotted: bool) -> None:
        """The next octets as they came, never cut within a line end and a dot. ``dotted``: there are such in them."""
        piece = raw.replace(b"\r\n.", b"\r\n") if dotted else raw
        if self._size < 0 and piece:
            piece = piece[2:]
            self._size = 0
        self._size += len(piece)
        if self._fault is not None or not piece:
            return
        if self._size > self._limit:
            self._drop(Refusal.TOO_LONG)
            return
        self._check.feed(piece)
        if self._spool is not None:
            self._write(piece)
        elif self._memory.take(len(piece)):
            self._held += len(piece)
            self._keep(piece)
            if self._held > SPOOLED_OCTETS and self._header_may_have_ended(piece):
                self._move_to_spool()
        else:
            self._drop(Refusal.OVERLOADED)

    def _keep(self, piece: bytes) -> None:
        """Small pieces go into one buffer: as objects of their own they would hold many times what is counted."""
        if len(piece) >= _SMALL_OCTETS:
            self._pieces.append(piece)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += piece
        else:
            self._pieces.append(bytearray(piece) if self._pieces else piece)

    def _header_may_have_ended(self, piece: bytes) -> bool:
        """Of a header that was looked through without finding its end, only what is new is looked at."""
        if not self._seam:
            return True
        new = self._seam + piece
        self._seam = new[-3:]
        return _END_OF_HEADER in new

    def _move_to_spool(self) -> None:
        """From here on into a file: the header in hand, the rest behind it. Without an end of the header: not yet."""
        end = _header_length(self._pieces[0])
        if not end:
            self._pieces = [b"".join(self._pieces)]
            end = _header_length(self._pieces[0])
            if not end:
                self._seam = bytes(self._pieces[0][-3:])
                return
        first, *others = self._pieces
        try:
            self._spool = self._open(bytes(first[:end]))
        except OSError as error:
            self._drop(_trouble(error))
            return
        self._pieces = []
        self._memory.give_back(self._held - end)
        self._held = end
        self._write(first[end:], *others)

    def _write(self, *pieces: bytes | bytearray) -> None:
        assert self._spool is not None
        try:
            for piece in pieces:
                self._spool.write(piece)
        except OSError as error:
            self._drop(_trouble(error))

    def _drop(self, fault: Refusal) -> None:
        """Nothing of it is kept any more; the rest is read only to find its end."""
        self._fault = fault
        self.close()


def _line_with_dot(window: bytes) -> int:
    """Where the line end before the first line that begins with a dot ends; -1: there is none such.

    Dots are found far more quickly than pairs, and of an attachment's octets none is one.
    """
    dot = window.find(b".")
    while dot >= 0:
        found = _LINE_WITH_DOT.search(window, max(dot - 1, 0), dot + _STRETCH)
        if found is not None:
            return found.start()
        dot = window.find(b".", dot + _STRETCH - 1)
    return -1


def _header_length(start: bytes | bytearray) -> int:
    """Octets of the header, the empty line included; 0: its end has not come."""
    return 2 if start.startswith(b"\r\n") else start.find(_END_OF_HEADER) + 4 if b"\r\n\r\n" in start else 0


def _trouble(error: OSError) -> Refusal:
    """What a failing disk means to the client; what it means to us is said here."""
    log.error("smtp.spool_failed", reason=str(error))
    return Refusal.STORAGE_FULL if error.errno in _FULL else Refusal.UNAVAILABLE

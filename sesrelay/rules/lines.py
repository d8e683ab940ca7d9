"""What SMTP allows inside a message: lines that end in CRLF, of at most 1000 octets, without NUL (SMTP-10).

A bare CR or LF is refused because another server may take it for a line end and find a second message behind it.
Octets over 127 without ``BODY=8BITMIME`` are let through unchanged: today's clients send them so. All looking is
done by C loops, never octet by octet; for lines that are all of one length, as an attachment's are, by few of them.
"""

from __future__ import annotations

import io
from typing import Final

from sesrelay.model.refusal import Refusal

LONGEST_LINE: Final = 1000
"""Octets, CRLF included, the doubled dot not (RFC 5321 §4.5.3.1.6)."""

_MARGIN: Final = 1024
"""Octets at both ends of a piece where its lines need not be even: headers, the last lines of an attachment."""
_WORTH_A_LOOK: Final = 4 * _MARGIN
"""Octets from which on a piece is asked whether its lines are even."""


class LineCheck:
    """The same judgment over a message that arrives in pieces, cut anywhere."""

    __slots__ = ("_ends_in_cr", "_line_ends", "_nul", "_open", "_too_long")

    def __init__(self) -> None:
        # Notes which kinds of line end it has met, over pieces too, in one C loop.
        self._line_ends = io.IncrementalNewlineDecoder(None, translate=False)
        self._open = 0
        self._ends_in_cr = self._nul = self._too_long = False

    def feed(self, piece: bytes) -> None:
        """The next octets of the message, after dots were removed."""
        if len(piece) < _WORTH_A_LOOK:
            self._look(piece)
            return
        start = piece.find(b"\n", _MARGIN) + 1
        length = piece.find(b"\n", start) + 1 - start
        if start and 2 <= length <= LONGEST_LINE:
            end = start + (len(piece) - _MARGIN - start) // length * length
            if end > start and _even(piece, start, end, length):
                self._look(piece[:start])
                self._look(piece[end:])
                return
        self._look(piece)

    def _look(self, piece: bytes) -> None:
        if not piece:
            return
        self._line_ends.decode(piece.decode("latin-1"))
        self._ends_in_cr = piece[-1] == 13
        self._nul = self._nul or 0 in piece
        if not self._too_long:
            self._measure(piece)

    def _measure(self, piece: bytes) -> None:
        """Windows as long as a line may be: each must have a line end in it, behind the last of which the next begins.

        ``start`` is where the line that is open begins; negative when it began in an earlier piece.
        """
        start = -self._open
        length = len(piece)
        while length - start > LONGEST_LINE:
            line_feed = piece.rfind(b"\n", max(start, 0), start + LONGEST_LINE)
            if line_feed < 0:
                self._too_long = True
                return
            start = line_feed + 1
        last = piece.rfind(b"\n", max(start, 0))
        self._open = length - (start if last < 0 else last + 1)

    def fault(self) -> Refusal | None:
        """What is wrong with the octets so far, taken as a whole message; None: nothing."""
        if self._ends_in_cr or self._line_ends.newlines not in (None, "\r\n"):
            return Refusal.BARE_LINE_ENDING
        if self._nul:
            return Refusal.NUL_IN_MESSAGE
        return Refusal.LINE_TOO_LONG if self._too_long else None


def _even(piece: bytes, start: int, end: int, length: int) -> bool:
    """Whether ``piece[start:end]`` is good lines of this length: CRLF where they end, CR, LF and NUL nowhere else."""
    lines = (end - start) // length
    if piece[start + length - 1 : end : length] != b"\n" * lines:
        return False
    rest = bytearray(memoryview(piece)[start:end])
    del rest[length - 1 :: length]
    if rest[length - 2 :: length - 1] != b"\r" * lines:
        return False
    del rest[length - 2 :: length - 1]
    return 10 not in rest and 13 not in rest and 0 not in rest


def fault(content: bytes) -> Refusal | None:
    """What is wrong with the lines of a whole message; None: nothing."""
    check = LineCheck()
    check.feed(content)
    return check.fault()

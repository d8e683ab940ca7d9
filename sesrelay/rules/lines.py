"""What SMTP allows inside a message: lines that end in CRLF, of at most 1000 octets, without NUL (SMTP-10).

A bare CR or LF is refused because another server may take it for a line end and find a second message behind it.
Octets over 127 without ``BODY=8BITMIME`` are let through unchanged: today's clients send them so. All looking is
done by C loops (``count``, ``rfind``, a pattern that begins with a letter), never octet by octet.
"""

from __future__ import annotations

import re
from typing import Final

from sesrelay.model.refusal import Refusal

LONGEST_LINE: Final = 1000
"""Octets, CRLF included, the doubled dot not (RFC 5321 §4.5.3.1.6)."""

_LONE_CARRIAGE_RETURN: Final = re.compile(rb"\r[^\n]")


class LineCheck:
    """The same judgment over a message that arrives in pieces, cut anywhere."""

    __slots__ = ("_carriage_returns", "_ends_in_cr", "_line_feeds", "_lone", "_nul", "_open", "_too_long")

    def __init__(self) -> None:
        self._carriage_returns = self._line_feeds = 0
        self._open = 0
        self._ends_in_cr = self._lone = self._nul = self._too_long = False

    def feed(self, piece: bytes) -> None:
        """The next octets of the message, after dots were removed."""
        if not piece:
            return
        self._carriage_returns += piece.count(b"\r")
        self._line_feeds += piece.count(b"\n")
        if (self._ends_in_cr and piece[0] != 10) or _LONE_CARRIAGE_RETURN.search(piece):
            self._lone = True
        self._ends_in_cr = piece[-1] == 13
        self._nul = self._nul or b"\0" in piece
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
        # Where every CR has its LF behind it, as many LFs as CRs leave none over.
        if self._lone or self._ends_in_cr or self._carriage_returns != self._line_feeds:
            return Refusal.BARE_LINE_ENDING
        if self._nul:
            return Refusal.NUL_IN_MESSAGE
        return Refusal.LINE_TOO_LONG if self._too_long else None


def fault(content: bytes) -> Refusal | None:
    """What is wrong with the lines of a whole message; None: nothing."""
    check = LineCheck()
    check.feed(content)
    return check.fault()

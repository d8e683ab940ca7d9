"""A message's octets, in memory or in a mapped file: searched and decoded by C loops, a bounded window at a time.

A window bounds both the memory that is used and how long others wait for the interpreter.
"""

from __future__ import annotations

import binascii
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol, overload

from sesrelay.rules.attachments import NOT_BASE64, from_base64

WINDOW: Final = 262_144
_FIRST_WINDOW: Final = 4096
"""What is searched for is often near; a copy of a whole window each time would be most of the work."""
_GROWTH: Final = 8
_SHORT: Final = 6
"""Length below which a needle's search by ``bytes.find`` can be made many times as slow; by ``re`` it cannot."""

_LAST_FOUR: Final = len(b"AA==\r\n")


class Octets(Protocol):
    """What ``bytes`` and ``mmap`` have in common."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, place: int, /) -> int: ...

    @overload
    def __getitem__(self, place: slice, /) -> bytes: ...


def find(octets: Octets, needle: bytes, start: int, end: int) -> int:
    """Where the needle is first found in ``octets[start:end]``; -1: it is not."""
    pattern = re.compile(re.escape(needle)) if len(needle) < _SHORT else None
    overlap = len(needle) - 1
    size = _FIRST_WINDOW
    while start < end:
        window = octets[start : min(start + size + overlap, end)]
        if pattern is None:
            place = window.find(needle)
        else:
            match = pattern.search(window)
            place = match.start() if match else -1
        if place >= 0:
            return start + place
        start += size
        size = min(size * _GROWTH, WINDOW)
    return -1


def pieces(octets: Octets, start: int, end: int) -> Iterator[bytes]:
    """``octets[start:end]``, a window at a time."""
    for at in range(start, end, WINDOW):
        yield octets[at : min(at + WINDOW, end)]


def _base64(encoded: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines as they are, as nearly all are good; else only what belongs there, by fours."""
    rest = b""
    for piece in encoded:
        text = rest + piece
        end = text.rfind(b"\n") + 1
        if end and text.find(b"=", 0, end - _LAST_FOUR) < 0:
            with contextlib.suppress(binascii.Error):
                yield binascii.a2b_base64(text[:end])
                rest = text[end:]
                continue
        kept = text.translate(None, NOT_BASE64)
        end = len(kept) // 4 * 4
        rest = kept[end:]
        yield binascii.a2b_base64(kept[:end])
    yield from_base64(rest)


def _quoted_printable(encoded: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in encoded:
        lines = rest + piece
        whole = lines.rfind(b"\n") + 1
        rest = lines[whole:]
        yield binascii.a2b_qp(lines[:whole])
    yield binascii.a2b_qp(rest)


DECODERS: Final[Mapping[bytes, Callable[[Iterator[bytes]], Iterator[bytes]]]] = {
    b"base64": _base64,
    b"quoted-printable": _quoted_printable,
}
"""By transfer encoding: encoded pieces in, decoded pieces out; what is not here is not encoded."""

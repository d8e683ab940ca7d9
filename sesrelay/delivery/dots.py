"""A message in the form in which it crosses the wire: dots doubled, ended by a line with one dot (RFC 5321 §4.5.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

END: Final = b".\r\n"
CHUNK_OCTETS: Final = 262_144
"""Bigger messages go out in pieces of about this size, so that memory and the loop feel only one at a time."""


def wire_pieces(content: bytes) -> Iterator[tuple[bytes, bool]]:
    """The content with its dots doubled, in pieces; the last one is marked and ends with the final dot.

    The content has CRLF line ends only; a missing last one is added, since the dot needs a line of its own.
    """
    end = END if not content or content.endswith(b"\r\n") else b"\r\n" + END
    if len(content) <= CHUNK_OCTETS:
        yield _doubled(content) + end, True
        return
    start, total = 0, len(content)
    while start < total:
        # A piece ends behind a line end, so that each begins at a line's start and no "\r\n." is cut in two.
        found = content.find(b"\r\n", start + CHUNK_OCTETS - 2)
        stop = found + 2 if found >= 0 else total
        piece = _doubled(content[start:stop])
        start = stop
        yield (piece, False) if start < total else (piece + end, True)


def _doubled(piece: bytes) -> bytes:
    """A piece that begins at the start of a line."""
    piece = piece.replace(b"\r\n.", b"\r\n..")
    return b"." + piece if piece.startswith(b".") else piece

"""The wire form of a message: exactly one line with one dot in it, and the message comes back out of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.delivery import dots
from sesrelay.delivery.dots import wire_pieces

LINES = st.lists(st.sampled_from((b"", b".", b"..", b"text", b".text", b"a.b", b"x" * 30)), max_size=30)


def received(wire: bytes) -> bytes:
    """What a receiver makes of it (RFC 5321 §4.5.2), line by line."""
    lines = []
    for line in wire.split(b"\r\n"):
        if line == b".":
            return b"".join(each + b"\r\n" for each in lines)
        lines.append(line.removeprefix(b".") if line.startswith(b".") else line)
    raise AssertionError("no final dot")


@given(LINES, st.booleans(), st.integers(2, 40))
def test_the_message_comes_back(lines: list[bytes], ended: bool, chunk: int) -> None:
    content = b"\r\n".join(lines) + (b"\r\n" if ended and lines else b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dots, "CHUNK_OCTETS", chunk)
        pieces = list(wire_pieces(content))
    wire = b"".join(piece for piece, _ in pieces)
    complete = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    assert received(wire) == complete
    assert wire.endswith(b".\r\n")
    assert wire.index(b"\r\n.\r\n" if complete else b".\r\n") == len(wire) - (5 if complete else 3)
    assert [last for _, last in pieces] == [False] * (len(pieces) - 1) + [True]


def test_a_small_message_is_one_piece() -> None:
    assert list(wire_pieces(b"a: b\r\n\r\n.x\r\n")) == [(b"a: b\r\n\r\n..x\r\n.\r\n", True)]


def test_a_big_message_goes_in_pieces_of_bounded_size() -> None:
    content = (b"y" * 76 + b"\r\n") * 140_000
    pieces = [piece for piece, _ in wire_pieces(content)]
    assert b"".join(pieces) == content + b".\r\n"
    assert max(map(len, pieces)) < dots.CHUNK_OCTETS + 100


def test_one_endless_line_is_one_piece() -> None:
    content = b"z" * (dots.CHUNK_OCTETS * 2)
    assert [len(piece) for piece, _ in wire_pieces(content)] == [len(content) + 5]

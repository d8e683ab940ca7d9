from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.rules import octets
from sesrelay.rules.octets import DECODERS, WINDOW, find, pieces


@given(
    st.text("ab\n-", max_size=60).map(str.encode), st.text("ab\n-", min_size=1, max_size=8).map(str.encode), st.data()
)
def test_what_is_searched_for_is_found_where_bytes_finds_it(text: bytes, needle: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(0, len(text)))
    assert find(text, needle, start, end) == text.find(needle, start, end)


@pytest.mark.parametrize("needle", [b"\n--b", b"\n--a longer boundary"])
@pytest.mark.parametrize("at", [4095, 4096, 36_863, WINDOW - 3, WINDOW + 36_860, 3 * WINDOW])
def test_it_is_found_across_windows(needle: bytes, at: int) -> None:
    text = b"x" * at + needle + b"x" * 1000
    assert find(text, needle, 0, len(text)) == at
    assert find(text, needle, at + 1, len(text)) == -1
    assert find(text, needle, 0, at + len(needle) - 1) == -1


def test_pieces_are_the_whole() -> None:
    text = bytes(range(256)) * 2500
    cut = list(pieces(text, 10, len(text) - 10))
    assert b"".join(cut) == text[10:-10]
    assert max(map(len, cut)) == WINDOW


def cut(text: bytes, data: st.DataObject) -> Iterator[bytes]:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return iter([text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)])


@given(st.binary(max_size=300), st.sampled_from([b"\r\n", b"\n", b" ! \r\n", b""]), st.integers(1, 80), st.data())
def test_base64_is_decoded_wherever_lines_and_pieces_end(
    content: bytes, end: bytes, length: int, data: st.DataObject
) -> None:
    lines = re.findall(b".{1,%d}" % length, base64.b64encode(content))
    assert b"".join(DECODERS[b"base64"](cut(b"".join(line + end for line in lines), data))) == content


@given(st.binary(max_size=100), st.binary(max_size=100), st.data())
def test_nothing_hides_behind_padding(one: bytes, two: bytes, data: st.DataObject) -> None:
    whole = one[: len(one) // 3 * 3]
    text = base64.encodebytes(whole) + b"==\n=\n" + base64.encodebytes(two)
    assert b"".join(DECODERS[b"base64"](cut(text, data))) == whole + two


@given(st.binary(max_size=300), st.sampled_from([b"\r\n", b"\n"]), st.data())
def test_quoted_printable_is_decoded_wherever_pieces_end(content: bytes, end: bytes, data: st.DataObject) -> None:
    text = quopri.encodestring(content.replace(b"\r", b"").replace(b"\n", b"")).replace(b"\n", end)
    decoded = b"".join(DECODERS[b"quoted-printable"](cut(text, data)))
    assert decoded == quopri.decodestring(text)


@given(st.sampled_from(sorted(DECODERS)), st.binary(max_size=100), st.data())
def test_whatever_comes_is_decoded_somehow(name: bytes, text: bytes, data: st.DataObject) -> None:
    assert isinstance(b"".join(DECODERS[name](cut(text, data))), bytes)


def test_what_is_kept_for_the_next_piece_stays_small() -> None:
    endless = iter([b"QUFB" * (octets.WINDOW // 4)] * 4)
    assert [len(decoded) for decoded in DECODERS[b"base64"](endless)] == [WINDOW // 4 * 3] * 4 + [0]

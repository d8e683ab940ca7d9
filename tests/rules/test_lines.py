from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.refusal import Refusal
from sesrelay.rules.lines import LONGEST_LINE, LineCheck, fault

LONG = b"x" * (LONGEST_LINE - 2)


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"", None),
        (b"a\r\nb\r\n", None),
        (b"no line end", None),
        (b"\xff\xfe 8 bit\r\n", None),
        (b"bare\nLF\r\n", Refusal.BARE_LINE_ENDING),
        (b"bare\rCR\r\n", Refusal.BARE_LINE_ENDING),
        (b"\n", Refusal.BARE_LINE_ENDING),
        (b"ends in\r", Refusal.BARE_LINE_ENDING),
        (b"\r\r\n", Refusal.BARE_LINE_ENDING),
        (b"\r\n\n", Refusal.BARE_LINE_ENDING),
        (b"\n\r", Refusal.BARE_LINE_ENDING),
        (b"bare\n and NUL\0\r\n", Refusal.BARE_LINE_ENDING),
        (b"NUL\0\r\n", Refusal.NUL_IN_MESSAGE),
        (b"NUL\0" + LONG + b"\r\n", Refusal.NUL_IN_MESSAGE),
        (LONG + b"\r\n" + LONG + b"\r\n", None),
        (LONG + b"y\r\n", Refusal.LINE_TOO_LONG),
        (b"a\r\n" + LONG + b"y\r\nb\r\n", Refusal.LINE_TOO_LONG),
        (LONG + b"yyy", Refusal.LINE_TOO_LONG),
    ],
)
def test_what_lines_may_be(content: bytes, refusal: Refusal | None) -> None:
    assert fault(content) is refusal


def slowly(content: bytes) -> Refusal | None:
    if re.search(rb"\r(?!\n)|(?<!\r)\n", content):
        return Refusal.BARE_LINE_ENDING
    if b"\0" in content:
        return Refusal.NUL_IN_MESSAGE
    longest = max(len(line) for line in content.split(b"\n")[:-1] or [b""]) + 1
    return Refusal.LINE_TOO_LONG if max(longest, len(content.rpartition(b"\n")[2])) > LONGEST_LINE else None


pieces = st.lists(
    st.one_of(
        st.sampled_from([b"\r\n", b"\r", b"\n", b"\0", b"a"]),
        st.integers(990, 1002).map(lambda n: b"x" * n),
        st.integers(1, 3).map(lambda n: b"\r\n" * n),
    ),
    max_size=12,
)


@given(pieces)
def test_the_fast_way_says_what_the_plain_way_says(given_pieces: list[bytes]) -> None:
    content = b"".join(given_pieces)
    assert fault(content) is slowly(content)


@given(pieces, st.lists(st.integers(0, 4000), max_size=8))
def test_where_a_message_is_cut_makes_no_difference(given_pieces: list[bytes], cuts: list[int]) -> None:
    content = b"".join(given_pieces)
    check, last = LineCheck(), 0
    for cut in [*sorted(cuts), len(content)]:
        check.feed(content[last:cut])
        last = max(last, cut)
    assert check.fault() is fault(content)


damage = st.sampled_from([b"", b"\r", b"\n", b"\0", b"\r\n", b"\n\r", b"x", LONG + b"yyy"])


@given(st.integers(2, 1003), st.integers(0, 6000), damage, st.booleans(), st.lists(st.integers(0, 30_000), max_size=4))
def test_even_lines_are_judged_as_all_others(
    length: int, place: int, what: bytes, inserted: bool, cuts: list[int]
) -> None:
    content = b"A: b\r\n\r\n" + (b"x" * (length - 2) + b"\r\n") * (14_000 // length) + b"end\r\n"
    content = content[:place] + what + content[place + (0 if inserted else len(what)) :]
    assert fault(content) is slowly(content)
    check, last = LineCheck(), 0
    for cut in [*sorted(cuts), len(content)]:
        check.feed(content[last:cut])
        last = max(last, cut)
    assert check.fault() is slowly(content)

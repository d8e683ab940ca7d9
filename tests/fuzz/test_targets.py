"""The fuzzers' targets, fed for some seconds by Hypothesis, and once with everything that was ever found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, WORDS

SAMPLES = Path(__file__).parents[1] / "samples" / "fuzz"


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_is_right_for_good(sample: Path) -> None:
    TARGETS[sample.parent.name](sample.read_bytes())


@pytest.mark.parametrize("examples", [60, pytest.param(100_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", TARGETS)
def test_no_octets_break_a_promise(name: str, examples: int) -> None:
    word = st.integers(0, len(WORDS[name]) - 1).map(lambda number: WORDS[name][number])
    octets = st.lists(st.one_of(word, word, word, st.binary(max_size=6)), max_size=30).map(b"".join)

    @settings(max_examples=examples, derandomize=examples < 1000, database=None)
    @given(st.binary(min_size=2, max_size=2), octets)
    def feed(choice: bytes, octets: bytes) -> None:
        TARGETS[name](choice + octets if name in ("body", "replies") else choice[:1] + octets)
        TARGETS[name](octets)

    feed()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("choice", [b"\0\0", b"\xff\xff"])
def test_time_grows_as_the_octets_do(name: str, choice: bytes) -> None:
    for word in (*WORDS[name], b"x", b"250-\n", b"(", b'"', b"<", b"a.", b"a,", b"\\"):
        TARGETS[name](choice + word * (8_000 // len(word)))

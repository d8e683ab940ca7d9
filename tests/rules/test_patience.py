"""Waits after failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.rules.patience import Patience, faded, wait_seconds

PATIENCE = Patience(free_failures=3, first_seconds=1, longest_seconds=20)


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (2, 0), (2.4, 0), (2.6, 1), (3, 1), (4, 2), (5, 4), (6, 8), (7, 16), (8, 20), (900, 20)],
)
def test_some_failures_are_free_then_each_doubles_the_wait_up_to_the_longest(failures: float, seconds: float) -> None:
    assert wait_seconds(failures, PATIENCE) == seconds


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_more_failures_never_wait_less(one: float, other: float) -> None:
    few, many = sorted((one, other))
    assert wait_seconds(few, PATIENCE) <= wait_seconds(many, PATIENCE)


@pytest.mark.parametrize(("age", "left"), [(0, 8), (600, 4), (1200, 2), (-5, 8), (1e9, 0)])
def test_half_of_them_fade_in_each_half_life(age: float, left: float) -> None:
    assert faded(8, age, 600) == left

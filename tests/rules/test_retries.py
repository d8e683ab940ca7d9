from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.clock import HOUR, MINUTE
from sesrelay.rules.retries import DEFAULT, Schedule, next_attempt, wait

spreads = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(0, 5), (1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60), (1000, 60)]
)
def test_the_wait_doubles_up_to_the_longest(attempts: int, minutes: int) -> None:
    assert wait(attempts, 0.5) == minutes * MINUTE


@given(st.integers(1, 100), spreads)
def test_waits_are_spread_around_their_middle(attempts: int, spread: float) -> None:
    middle = wait(attempts, 0.5)
    assert 0.75 * middle <= wait(attempts, spread) <= 1.25 * middle


@given(st.integers(1, 100), st.integers(1, 100), spreads)
def test_more_attempts_never_wait_less(fewer: int, more: int, spread: float) -> None:
    fewer, more = sorted((fewer, more))
    assert wait(fewer, spread) <= wait(more, spread)


@given(st.integers(1, 100), st.integers(0, 15 * HOUR), spreads)
def test_the_last_attempt_is_made_when_the_mail_is_too_old_and_none_after_it(
    attempts: int, age: int, spread: float
) -> None:
    pause = next_attempt(attempts, age, spread)
    if age >= DEFAULT.max_age:
        assert pause is None
    else:
        assert pause is not None
        assert pause > 0
        assert age + pause <= DEFAULT.max_age


@given(spreads)
def test_a_message_is_tried_until_it_expires_in_a_bounded_number_of_attempts(spread: float) -> None:
    age, attempts = 0, 1
    while (pause := next_attempt(attempts, age, spread)) is not None:
        age += pause
        attempts += 1
    assert age == DEFAULT.max_age
    assert 12 <= attempts <= 25


def test_the_schedule_is_the_operators() -> None:
    assert wait(3, 0.5, Schedule(MINUTE, 3 * MINUTE, HOUR)) == 3 * MINUTE
    assert next_attempt(1, HOUR - 1, 0.5, Schedule(MINUTE, 3 * MINUTE, HOUR)) == 1

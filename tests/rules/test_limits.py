from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.account import LimitState
from sesrelay.model.clock import DAY, HOUR, SECOND, SKEW, Micros
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules.limits import RECIPIENT, bucket_size, count, count_quota, fresh, pace, refilled, take_tokens
from tests.core.fakes import facts

rates = st.one_of(
    st.integers(0, 2000).map(float), st.integers(0, 100_000).map(lambda n: n / 1000), st.just(1 / 3), st.just(14.3)
)


def refusal_of(function: Any, *arguments: Any) -> Refusal:
    with pytest.raises(Refused) as caught:
        function(*arguments)
    return caught.value.refusal


def test_ten_recipients_at_one_a_second_cost_ten_seconds_of_silence() -> None:
    state = take_tokens(fresh(1, 0), 1, 10, 0)
    assert refusal_of(take_tokens, state, 1, 1, 10 * SECOND - 1) is Refusal.RATE_EXCEEDED
    assert take_tokens(state, 1, 1, 10 * SECOND).tokens == 0


@pytest.mark.parametrize(("rate", "recipients"), [(5, 5), (0.1, 1), (1, 1), (14.3, 14), (0, 1)])
def test_a_full_bucket_lets_a_seconds_worth_through_at_once_and_at_least_one(rate: float, recipients: int) -> None:
    state = fresh(rate, 0)
    for _ in range(recipients):
        state = take_tokens(state, rate, 1, 0)
    assert refusal_of(take_tokens, state, rate, 1, 0) is Refusal.RATE_EXCEEDED


def test_a_longer_burst_is_a_setting() -> None:
    assert bucket_size(5, 10) == 50 * RECIPIENT
    assert bucket_size(5, 0) == RECIPIENT


def test_a_negative_rate_is_unlimited_and_counts_nothing() -> None:
    state = LimitState(-5, 0, 7)
    assert take_tokens(state, -1, 50, 0) == state


def test_a_clock_that_goes_backwards_earns_and_costs_nothing() -> None:
    state = LimitState(0, 100 * SECOND, 0)
    assert refilled(state, 5, 50 * SECOND) == state
    assert refilled(LimitState(5 * RECIPIENT, 100 * SECOND, 0), 5, 50 * SECOND).token_at == 100 * SECOND


@pytest.mark.parametrize(
    ("used", "quota", "recipients", "fits"),
    [
        (0, 200, 200, True), (0, 200, 201, False), (199, 200, 1, True), (199, 200, 2, False), (200, 200, 1, False),
        (500, 200, 0, True), (10**9, -1, 50, True), (0, 0, 1, False),
    ],
)  # fmt: skip
def test_a_message_is_taken_only_if_all_of_it_fits_the_quota(
    used: int, quota: int, recipients: int, fits: bool
) -> None:
    state = LimitState(0, 0, used)
    if fits:
        assert count_quota(state, quota, recipients).used_24_hours == used + recipients
    else:
        assert refusal_of(count_quota, state, quota, recipients) is Refusal.QUOTA_EXCEEDED


def test_the_quota_is_looked_at_before_the_rate() -> None:
    empty = LimitState(0, 0, 10)
    judged = {"quota_units": 1, "rate_units": 1}
    with pytest.raises(Refused) as caught:
        count(facts(quota=10, rate=1.0), empty, 0, **judged)
    assert caught.value.refusal is Refusal.QUOTA_EXCEEDED
    with pytest.raises(Refused) as caught:
        count(facts(quota=11, rate=1.0), empty, 0, **judged)
    assert caught.value.refusal is Refusal.RATE_EXCEEDED


@given(rates, st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 50)), max_size=60))
def test_no_window_of_time_lets_more_messages_begin_than_bucket_and_rate_allow(
    rate: float, arrivals: list[tuple[Micros, int]]
) -> None:
    state, now = fresh(rate, 0), 0
    taken: list[tuple[Micros, int]] = []
    for pause, recipients in arrivals:
        now += pause
        try:
            state = take_tokens(state, rate, recipients, now)
        except Refused:
            continue
        taken.append((now, recipients))
    exact, size = Fraction(rate).limit_denominator(1000), bucket_size(rate)
    for first in range(len(taken)):
        sent = 0
        for at, recipients in taken[first:]:
            # When a message begins, everything before it was paid for, and one recipient's worth is left.
            assert (sent + 1) * RECIPIENT <= size + exact * (at - taken[first][0])
            sent += recipients


@given(rates, st.integers(SKEW + 1, 10_000 * DAY), st.integers(-(10**9), 10**9), st.integers(0, 10**9))
def test_after_a_clock_that_was_far_ahead_earning_begins_anew(
    rate: float, ahead: Micros, tokens: int, pause: Micros
) -> None:
    now = 10_000 * DAY
    put_right = refilled(LimitState(tokens, now + ahead, 3), rate, now)
    assert put_right == LimitState(min(tokens, bucket_size(rate)), now, 3)
    assert refilled(put_right, rate, now + pause) == refilled(LimitState(tokens, now, 3), rate, now + pause)


@given(rates, st.lists(st.tuples(st.integers(-SKEW // 2, SKEW // 2), st.integers(1, 5)), max_size=40))
def test_small_steps_of_the_clock_earn_nothing_twice(rate: float, arrivals: list[tuple[Micros, int]]) -> None:
    state, latest = fresh(rate, DAY), DAY
    first, sent = DAY, 0
    for skew, recipients in arrivals:
        now = latest + skew
        latest = max(latest, now)
        try:
            state = take_tokens(state, rate, recipients, now)
        except Refused:
            continue
        exact = Fraction(rate).limit_denominator(1000)
        assert (sent + 1) * RECIPIENT <= bucket_size(rate) + exact * (latest - first)
        sent += recipients


@given(rates, st.lists(st.integers(0, 5 * SECOND), min_size=1, max_size=50))
def test_looking_often_earns_exactly_what_looking_once_earns(rate: float, pauses: list[Micros]) -> None:
    debt = LimitState(-(10**15), 0, 0)
    state, now = debt, 0
    for pause in pauses:
        now += pause
        state = refilled(state, rate, now)
    assert state == refilled(debt, rate, now)
    earned = Fraction(rate).limit_denominator(1000) * now
    assert 0 <= earned - (state.tokens - debt.tokens) < 2 * RECIPIENT
    assert 0 <= now - state.token_at < 1000


@given(rates, st.integers(-(10**9), 10**9), st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_bucket_never_overflows_and_time_in_it_never_goes_back(
    rate: float, tokens: int, at: Micros, now: Micros
) -> None:
    state = refilled(LimitState(tokens, at, 3), rate, now)
    assert state.tokens <= bucket_size(rate)
    assert state.token_at >= (at if at <= now + SKEW else now)
    assert state.tokens >= min(tokens, bucket_size(rate))
    assert state.used_24_hours == 3


def test_paced_mail_waits_until_it_is_earned() -> None:
    state = pace(fresh(2, 0), 2, 5, 0)
    assert state.due == (0, 0, SECOND // 2, SECOND, 3 * SECOND // 2)
    assert pace(state, 2, 1, SECOND).due == (2 * SECOND,)
    assert pace(state, 2, 1, 3 * SECOND).due == ()


def test_paced_mail_waits_for_an_hour_at_most() -> None:
    state = LimitState(-3599 * RECIPIENT, 0, 0)
    assert pace(state, 1, 1, 0).due == (HOUR,)
    assert refusal_of(pace, state, 1, 2, 0) is Refusal.RATE_EXCEEDED
    assert refusal_of(pace, fresh(0, 0), 0, 2, 0) is Refusal.RATE_EXCEEDED
    assert pace(fresh(0, 0), 0, 1, 0).due == ()
    assert pace(state, -1, 50, 0) == state


def test_pace_changes_nothing_about_the_quota() -> None:
    full = LimitState(RECIPIENT, 0, 10)
    with pytest.raises(Refused) as caught:
        count(facts(quota=10, rate=1.0, pace=True), full, 0, quota_units=1, rate_units=1)
    assert caught.value.refusal is Refusal.QUOTA_EXCEEDED
    assert count(facts(quota=12, rate=1.0, pace=True), full, 0, quota_units=2, rate_units=2).due == (0, SECOND)


@given(rates, st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 20)), max_size=15))
def test_in_no_window_of_time_is_more_due_than_bucket_and_rate_allow(
    rate: float, arrivals: list[tuple[Micros, int]]
) -> None:
    state, now = fresh(rate, 0), 0
    due: list[Micros] = []
    for pause, recipients in arrivals:
        now += pause
        try:
            state = pace(state, rate, recipients, now)
        except Refused:
            continue
        due += state.due or (now,) * recipients
        assert now <= due[-1] <= now + HOUR
    assert due == sorted(due)
    exact, size = Fraction(rate).limit_denominator(1000), bucket_size(rate)
    for first, begin in enumerate(due):
        for number, at in enumerate(due[first:], 1):
            # What one period earns too much, less than a thousandth of a recipient, stays in the bucket.
            assert number * RECIPIENT <= size + RECIPIENT // 1000 + exact * (at - begin)


@given(rates.filter(lambda rate: rate >= 0.001), st.integers(1, 50), st.integers(0, 10 * SECOND))
def test_no_paced_mail_waits_for_longer_than_it_must(rate: float, recipients: int, now: Micros) -> None:
    state = refilled(LimitState(0, 0, 0), rate, now)
    try:
        due = pace(state, rate, recipients, now).due or (now,) * recipients
    except Refused:
        exact = Fraction(rate).limit_denominator(1000)
        assert recipients * RECIPIENT > exact * HOUR
        return
    for number, at in enumerate(due, 1):
        if at > now:
            assert refilled(state, rate, at - 1, burst_seconds=10**6).tokens < number * RECIPIENT
            assert refilled(state, rate, at, burst_seconds=10**6).tokens >= number * RECIPIENT

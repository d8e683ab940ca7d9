from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.clock import DAY, HOUR
from sesrelay.model.limits import Allowance
from sesrelay.rules.growth import FASTEST, LARGEST, Conduct, step
from sesrelay.rules.limit_requests import MOST, PRODUCTION

NOW = 10_000 * DAY
GOOD = Conduct(used_24_hours=9_000, sent=20_000, hard_bounces=200, complaints=2, changed_at=0, by_hand=False)
BAD = replace(GOOD, hard_bounces=2_000)

allowances = st.builds(
    Allowance,
    st.booleans(),
    st.one_of(st.just(-1), st.integers(0, MOST)),
    st.one_of(st.just(-1.0), st.integers(1, 10**9).map(lambda n: n / 1000)),
)
conducts = st.builds(
    Conduct,
    st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 10**5),
    st.integers(0, NOW), st.booleans(),
)  # fmt: skip


@pytest.mark.parametrize(
    ("now", "changes", "after"),
    [
        (PRODUCTION, {}, Allowance(True, 15_000, 7.5)),
        (PRODUCTION, {"used_24_hours": 5_000}, Allowance(True, 15_000, 7.5)),
        (PRODUCTION, {"used_24_hours": 4_999}, None),
        (PRODUCTION, {"sent": 499, "hard_bounces": 0, "complaints": 0}, None),
        (PRODUCTION, {"hard_bounces": 1_000}, None),
        (PRODUCTION, {"complaints": 20}, None),
        (Allowance(False, 200, 1), {}, None),
        (Allowance(True, 900_000, 14), {"used_24_hours": 800_000}, Allowance(True, LARGEST, 21)),
        (Allowance(True, LARGEST, FASTEST), {"used_24_hours": LARGEST}, None),
        (Allowance(True, 2 * LARGEST, 900), {"used_24_hours": 2 * LARGEST}, None),
        (Allowance(True, -1, 5), {}, None),
        (Allowance(True, 0, 5), {}, None),
        (Allowance(True, 10_000, -1), {}, Allowance(True, 15_000, -1)),
        (Allowance(True, 90_000, 90), {"hard_bounces": 2_000}, Allowance(True, 60_000, 60)),
        (Allowance(True, 90_000, 90), {"complaints": 100}, Allowance(True, 60_000, 60)),
        (Allowance(True, 12_000, 6), {"hard_bounces": 2_000}, PRODUCTION),
        (Allowance(True, 300, 1), {"hard_bounces": 2_000}, None),
        (Allowance(True, -1, -1), {"hard_bounces": 2_000}, None),
    ],
)
def test_use_and_rates_decide(now: Allowance, changes: dict[str, Any], after: Allowance | None) -> None:
    assert step(now, replace(GOOD, **changes), NOW) == after


@pytest.mark.parametrize("conduct", [GOOD, BAD])
def test_there_is_a_step_a_day_and_what_a_hand_set_stands_for_a_week(conduct: Conduct) -> None:
    def steps(since: int, by_hand: bool) -> bool:
        now = Allowance(True, 18_000, 9)
        return step(now, replace(conduct, changed_at=NOW - since, by_hand=by_hand), NOW) is not None

    assert [steps(22 * HOUR, False), steps(23 * HOUR, False)] == [False, True]
    assert [steps(7 * DAY - 1, True), steps(7 * DAY, True)] == [False, True]


@given(allowances, conducts)
def test_steps_stay_within_their_bounds_and_go_one_way(now: Allowance, conduct: Conduct) -> None:
    after = step(now, conduct, NOW)
    if after is None:
        return
    assert after != now
    assert now.production
    assert after.production
    up = after.quota >= now.quota and after.rate >= now.rate
    down = after.quota <= now.quota and after.rate <= now.rate
    assert up != down
    if up:
        assert after.quota <= max(now.quota, LARGEST)
        assert after.rate <= max(now.rate, FASTEST)
    else:
        assert after.quota >= min(now.quota, PRODUCTION.quota)
        assert after.rate >= min(now.rate, PRODUCTION.rate)
    assert (after.quota == -1) == (now.quota == -1)
    assert (after.rate == -1) == (now.rate == -1)

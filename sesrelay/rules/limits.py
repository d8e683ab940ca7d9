"""How many recipients an account may write to, in 24 hours and a second; integers, exact (LIM-2 to LIM-5).

The rate is a token bucket that holds one second's worth, at least one recipient. A message passes while there is one
token left, however many recipients it has; what it takes too much is a debt to be earned back (LIM-3). Tokens are
millionths of a recipient: at one recipient a second a microsecond earns exactly one. For rates with a fraction time is
credited in whole periods of at most 1000 microseconds and the rest stays uncredited in ``token_at``: nothing is lost.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Final

from sesrelay.model.account import AccountFacts, LimitState
from sesrelay.model.clock import HOUR, Micros, not_back
from sesrelay.model.refusal import Refusal, Refused

RECIPIENT: Final = 1_000_000
"""One recipient in tokens."""
LONGEST_PACE: Final = HOUR
"""Mail that would have to wait for longer is refused: it expires 14 hours after it came, and may need retries."""
_FINEST: Final = 1000
"""Rates count to the thousandth of a recipient a second."""


@lru_cache(maxsize=1024)
def _earning(rate: float) -> tuple[int, Micros]:
    """(tokens, period): what a rate earns in each whole period of microseconds."""
    return Fraction(rate).limit_denominator(_FINEST).as_integer_ratio()


def bucket_size(rate: float, burst_seconds: float = 1.0) -> int:
    """Tokens of a full bucket: the rate's worth of ``burst_seconds``, at least one recipient."""
    return max(RECIPIENT, int(Fraction(rate).limit_denominator(_FINEST) * Fraction(burst_seconds) * RECIPIENT))


_size = lru_cache(maxsize=1024)(bucket_size)


def refilled(state: LimitState, rate: float, now: Micros, burst_seconds: float = 1.0) -> LimitState:
    """The bucket with what was earned until ``now``; a clock that went backwards earns and costs nothing.

    Was it far ahead before, earning begins anew from now: else nothing would be earned until it is that late.
    """
    earned, period = _earning(rate)
    now = not_back(now, state.token_at)
    since = min(state.token_at, now)
    periods = (now - since) // period
    size = _size(rate, burst_seconds)
    tokens = state.tokens + periods * earned
    if tokens >= size:
        return LimitState(size, now, state.used_24_hours)
    return LimitState(tokens, since + periods * period, state.used_24_hours)


def fresh(rate: float, now: Micros, burst_seconds: float = 1.0) -> LimitState:
    """The state of an account that never sent: a full bucket."""
    return LimitState(_size(rate, burst_seconds), now, 0)


def count_quota(state: LimitState, quota: int, recipients: int) -> LimitState:
    """Counts recipients in the 24 hours. Refused when they would not all fit; a negative quota is unlimited (LIM-2)."""
    used = state.used_24_hours + recipients
    if recipients and 0 <= quota < used:
        raise Refused(Refusal.QUOTA_EXCEEDED)
    return LimitState(state.tokens, state.token_at, used)


def take_tokens(state: LimitState, rate: float, recipients: int, now: Micros, burst_seconds: float = 1.0) -> LimitState:
    """Takes recipients out of the bucket. Refused when less than one is left; a negative rate is unlimited (LIM-3)."""
    if rate < 0:
        return state
    state = refilled(state, rate, now, burst_seconds)
    if state.tokens < RECIPIENT:
        raise Refused(Refusal.RATE_EXCEEDED)
    return LimitState(state.tokens - recipients * RECIPIENT, state.token_at, state.used_24_hours)


def pace(state: LimitState, rate: float, recipients: int, now: Micros, burst_seconds: float = 1.0) -> LimitState:
    """Takes recipients out of the bucket, each to be sent when it has been earned (BEY-2).

    Refused when the last would wait for too long. A negative rate is unlimited.
    """
    if rate < 0:
        return state
    state = refilled(state, rate, now, burst_seconds)
    left = state.tokens - recipients * RECIPIENT
    if left >= 0:
        return LimitState(left, state.token_at, state.used_24_hours)
    earned, period = _earning(rate)
    if not earned or _earned_at(state, recipients, earned, period, now) > now + LONGEST_PACE:
        raise Refused(Refusal.RATE_EXCEEDED)
    due = tuple(_earned_at(state, number, earned, period, now) for number in range(1, recipients + 1))
    return LimitState(left, state.token_at, state.used_24_hours, due)


def _earned_at(state: LimitState, recipients: int, earned: int, period: Micros, now: Micros) -> Micros:
    """When the bucket will have held so many recipients in all."""
    missing = recipients * RECIPIENT - state.tokens
    return now if missing <= 0 else state.token_at + -(-missing // earned) * period


def count(
    facts: AccountFacts,
    state: LimitState,
    now: Micros,
    *,
    quota_units: int,
    rate_units: int,
    burst_seconds: float = 1.0,
) -> LimitState:
    """The state after a message: first the quota, then the rate (SMTP-6). Raises Refused and then changes nothing."""
    state = count_quota(state, facts.quota, quota_units)
    if facts.pace:
        return pace(state, facts.rate, rate_units, now, burst_seconds)
    return take_tokens(state, facts.rate, rate_units, now, burst_seconds)

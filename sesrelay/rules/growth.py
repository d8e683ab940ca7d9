"""Whether an account's limits step up or down by how it sends (LIM-6): looked at once a day.

Who uses his limits, with few bounces and complaints, gets more; with many he gets less. The figures are of the last
week, and few recipients say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from sesrelay.model.clock import DAY, HOUR, Micros
from sesrelay.model.limits import Allowance
from sesrelay.rules.limit_requests import PRODUCTION, UNLIMITED

WINDOW: Final[Micros] = 7 * DAY
"""Over which bounces and complaints are counted."""
LARGEST: Final = 1_000_000
"""Nobody grows beyond it by himself; an operator may set more."""
FASTEST: Final = 500.0
ENOUGH: Final = 500
"""Recipients in the window before its rates mean anything."""
HIGH_USE: Final = Fraction(1, 2)
"""Of the quota, in the last 24 hours."""
GOOD_BOUNCES, BAD_BOUNCES = Fraction(5, 100), Fraction(10, 100)
GOOD_COMPLAINTS, BAD_COMPLAINTS = Fraction(1, 1000), Fraction(5, 1000)
"""Where SES begins to watch an account, and where it pauses one."""
UP: Final = Fraction(3, 2)
DOWN: Final = Fraction(2, 3)
_REST: Final[Micros] = 23 * HOUR
"""A step a day, although the hour of looking moves."""
_REST_AFTER_A_HAND: Final[Micros] = 7 * DAY
"""What an operator set, or took back, stands for a while."""


@dataclass(frozen=True, slots=True)
class Conduct:
    """How an account sent in a region."""

    used_24_hours: int
    sent: int
    """Recipients in the window; so are the others."""
    hard_bounces: int
    complaints: int
    changed_at: Micros
    """When its limits were changed last; 0: never."""
    by_hand: bool
    """The last change was somebody's, not a step."""


def step(now: Allowance, conduct: Conduct, at: Micros) -> Allowance | None:
    """What the account may send from now on; None: as it is."""
    rest = _REST_AFTER_A_HAND if conduct.by_hand else _REST
    if not now.production or conduct.sent < ENOUGH or (conduct.changed_at and at - conduct.changed_at < rest):
        return None
    if is_bad(conduct):
        after = _down(now)
    elif _is_good(conduct) and now.quota > 0 and conduct.used_24_hours >= HIGH_USE * now.quota:
        after = _up(now)
    else:
        return None
    return None if after == now else after


def is_bad(conduct: Conduct) -> bool:
    """Too much bounced, or was complained about."""
    return conduct.hard_bounces >= BAD_BOUNCES * conduct.sent or conduct.complaints >= BAD_COMPLAINTS * conduct.sent


def _is_good(conduct: Conduct) -> bool:
    return conduct.hard_bounces < GOOD_BOUNCES * conduct.sent and conduct.complaints < GOOD_COMPLAINTS * conduct.sent


def _up(now: Allowance) -> Allowance:
    """What is beyond the end of growth already, or unlimited, stays."""
    quota = max(now.quota, min(LARGEST, int(now.quota * UP)))
    rate = now.rate if now.rate == UNLIMITED else max(now.rate, min(FASTEST, round(now.rate * float(UP), 3)))
    return Allowance(True, quota, rate)


def _down(now: Allowance) -> Allowance:
    """Not below what production starts at; what is below already stays, and so does what has no limit."""
    quota = now.quota if now.quota == UNLIMITED else min(now.quota, max(PRODUCTION.quota, int(now.quota * DOWN)))
    slower = max(PRODUCTION.rate, round(now.rate * float(DOWN), 3))
    return Allowance(True, quota, now.rate if now.rate == UNLIMITED else min(now.rate, slower))

"""The life of an identity (ID-6 to ID-8): which answer of the DNS leads where, when it is asked, which mail is due.

A domain is asked about for 72 hours, then it has failed. A verified one is looked at again every day; when its record
is gone its owner is warned, and has 72 hours. A server that says nothing never takes anything away: only an answer
that the record is absent, given after the 72 hours, revokes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto
from typing import Final, NamedTuple

from sesrelay.model.clock import DAY, HOUR, MINUTE, Micros
from sesrelay.model.identity import DnsAnswer, IdentityMail, Life, LinkState, VerificationStatus

ASKING: Final[Micros] = 72 * HOUR
"""So long a domain's record is looked for, and so long a lost one may be put back."""
LINK_LIVES: Final[Micros] = 24 * HOUR
NEXT_LINK: Final[Micros] = MINUTE
"""Between two mails to the same address: nobody's mailbox is filled by asking again and again."""
RECHECK: Final[Micros] = DAY
FIRST_WAIT: Final[Micros] = MINUTE
LONGEST_WAIT: Final[Micros] = HOUR
TROUBLE_SHOWS: Final[Micros] = DAY
"""A verified domain whose servers say nothing for so long is shown as TemporaryFailure."""


class Phase(Enum):
    """The parts of a domain's life."""

    PENDING = auto()
    VERIFIED = auto()
    WARNED = auto()
    """Verified, but the record is gone and its owner knows."""
    FAILED = auto()
    REMOVED = auto()


class Arrow(NamedTuple):
    """Where an answer leads, and who must be told what."""

    to: Phase
    mail: IdentityMail | None = None


_FOUND, _ABSENT, _TROUBLE = DnsAnswer.FOUND, DnsAnswer.ABSENT, DnsAnswer.TROUBLE
_IN_TIME, _OVER = False, True

ARROWS: Final[Mapping[tuple[Phase, DnsAnswer, bool], Arrow]] = {
    (Phase.PENDING, _FOUND, _IN_TIME): Arrow(Phase.VERIFIED, IdentityMail.SUCCESS),
    # Nobody could look in time (we were down): what stands there counts.
    (Phase.PENDING, _FOUND, _OVER): Arrow(Phase.VERIFIED, IdentityMail.SUCCESS),
    (Phase.PENDING, _ABSENT, _IN_TIME): Arrow(Phase.PENDING),
    (Phase.PENDING, _ABSENT, _OVER): Arrow(Phase.FAILED, IdentityMail.FAILURE),
    (Phase.PENDING, _TROUBLE, _IN_TIME): Arrow(Phase.PENDING),
    # Nothing is taken away: it was never verified, and a retry costs nothing.
    (Phase.PENDING, _TROUBLE, _OVER): Arrow(Phase.FAILED, IdentityMail.FAILURE),
    (Phase.VERIFIED, _FOUND, _IN_TIME): Arrow(Phase.VERIFIED),
    (Phase.VERIFIED, _ABSENT, _IN_TIME): Arrow(Phase.WARNED, IdentityMail.REVOCATION_WARNING),
    (Phase.VERIFIED, _TROUBLE, _IN_TIME): Arrow(Phase.VERIFIED),
    (Phase.WARNED, _FOUND, _IN_TIME): Arrow(Phase.VERIFIED, IdentityMail.REVOCATION_CANCELLATION),
    (Phase.WARNED, _FOUND, _OVER): Arrow(Phase.VERIFIED, IdentityMail.REVOCATION_CANCELLATION),
    (Phase.WARNED, _ABSENT, _IN_TIME): Arrow(Phase.WARNED),
    (Phase.WARNED, _ABSENT, _OVER): Arrow(Phase.REMOVED, IdentityMail.REVOCATION),
    (Phase.WARNED, _TROUBLE, _IN_TIME): Arrow(Phase.WARNED),
    (Phase.WARNED, _TROUBLE, _OVER): Arrow(Phase.WARNED),
}
"""(phase, answer, whether its 72 hours are over). What is absent cannot happen: a failed domain is not asked about."""


class Step(NamedTuple):
    """What an answer does."""

    life: Life | None
    """None: the identity is to be removed."""
    mail: IdentityMail | None


def begin(now: Micros) -> Life:
    """A domain that is to be verified, or tried again: its 72 hours begin, and it is asked about at once."""
    return Life(VerificationStatus.PENDING, asked_at=now, next_check_at=now)


def begin_address(now: Micros) -> Life:
    """An address that is to be verified: the 24 hours of its link begin; the DNS has nothing to do with it."""
    return Life(VerificationStatus.PENDING, asked_at=now)


def vouched(now: Micros) -> Life:
    """Verified on an operator's word: nobody looks whether it stays so."""
    return Life(VerificationStatus.SUCCESS, asked_at=now, verified_at=now)


def phase(life: Life) -> Phase:
    """Which part of a domain's life it is in."""
    if life.status is VerificationStatus.FAILED:
        return Phase.FAILED
    if life.status is VerificationStatus.PENDING:
        return Phase.PENDING
    return Phase.WARNED if life.missing_since else Phase.VERIFIED


def deadline(life: Life) -> Micros:
    """When a domain's 72 hours end; 0: none are running."""
    match phase(life):
        case Phase.PENDING:
            return life.asked_at + ASKING
        case Phase.WARNED:
            return life.missing_since + ASKING
    return 0


def answered(life: Life, answer: DnsAnswer, now: Micros, spread: float) -> Step:
    """What an answer does to a domain. ``spread`` in [0, 1) keeps many from being asked about at once."""
    end = deadline(life)
    arrow = ARROWS.get((phase(life), answer, 0 < end <= now))
    if arrow is None:
        return Step(life, None)
    if arrow.to is Phase.REMOVED:
        return Step(None, arrow.mail)
    after = _entered(life, arrow.to, answer, now)
    return Step(replace(after, next_check_at=_next_check(after, now, spread)), arrow.mail)


def is_told_of_absence(life: Life, now: Micros) -> bool:
    """Whether a mail would go if the record were found absent now."""
    return answered(life, DnsAnswer.ABSENT, now, 0.5).mail is not None


def _entered(life: Life, to: Phase, answer: DnsAnswer, now: Micros) -> Life:
    trouble_since = (life.trouble_since or now) if answer is DnsAnswer.TROUBLE else 0
    if to is Phase.PENDING:
        return replace(life, trouble_since=trouble_since)
    if to is Phase.FAILED:
        return replace(life, status=VerificationStatus.FAILED, trouble_since=0)
    silent = trouble_since and now - trouble_since >= TROUBLE_SHOWS
    return replace(
        life,
        status=VerificationStatus.TEMPORARY_FAILURE if silent else VerificationStatus.SUCCESS,
        verified_at=life.verified_at or now,
        missing_since=(life.missing_since or now) if to is Phase.WARNED else 0,
        trouble_since=trouble_since,
    )


def _next_check(life: Life, now: Micros, spread: float) -> Micros:
    """The longer it has been so, the longer the wait; at the end of the 72 hours there is always a last question."""
    match phase(life):
        case Phase.FAILED:
            return 0
        case Phase.VERIFIED if not life.trouble_since:
            return now + _spread(RECHECK, spread)
        case Phase.PENDING:
            since = life.asked_at
        case _:
            since = max(life.missing_since, life.trouble_since)
    wait = _spread(min(max((now - since) // 4, FIRST_WAIT), LONGEST_WAIT), spread)
    end = deadline(life)
    return min(now + wait, end) if now < end else now + wait


def _spread(middle: Micros, spread: float) -> Micros:
    """Between 3/4 and 5/4 of it."""
    return round(middle * (0.75 + spread / 2))


def link_ends(life: Life) -> Micros:
    """Until when the last link that an address was sent is good; 0: it waits for none."""
    return life.asked_at + LINK_LIVES if life.status is VerificationStatus.PENDING else 0


def may_send_link(life: Life, now: Micros) -> bool:
    """Whether another mail with a link may go to an address that waits for one."""
    return not 0 <= now - life.asked_at < NEXT_LINK


def link_state(life: Life | None, created_at: Micros, asked_at: Micros, now: Micros) -> LinkState:
    """What a link that we made is good for, of an identity as it is now (None: there is none).

    A link from before the identity was removed and added again counts no longer; an older one of the same identity
    does as long as it lives: it was read in the same mailbox.
    """
    if life is None or asked_at < created_at:
        return LinkState.UNKNOWN
    if life.status is VerificationStatus.SUCCESS:
        return LinkState.USED
    return LinkState.OPEN if now < asked_at + LINK_LIVES else LinkState.EXPIRED

"""Whether a message may be accepted: every check of what depends on the account, in the order of SMTP-6.

Syntax and size come first and are judged where the octets are read (``lines``, ``headers``, ``mailboxes``).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sesrelay.model.account import AccountFacts, LimitState
from sesrelay.model.clock import Micros
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import limits, permission
from sesrelay.rules.mailboxes import Mailbox
from sesrelay.rules.policy import permissions_of
from sesrelay.rules.sandbox import forbidden_in_sandbox
from sesrelay.rules.verification import unverified

MOST_RECIPIENTS: Final = 50


class Candidate(NamedTuple):
    """A client's message, as far as the account decides about it."""

    access_key_id: str
    header_from: str
    """The address whose identity's settings count (ID-5)."""
    senders: tuple[Mailbox, ...]
    """From's mailboxes, Sender's, and the envelope sender: all must be covered (ID-1)."""
    recipients: tuple[str, ...]
    recipients_named: int
    simulator: frozenset[str]
    """The domains of the mailbox simulator."""
    quota_units: int
    """Recipients that count against the quota: all but the simulator's (LIM-4)."""
    authors: int = 1
    """How many of ``senders``, from the front, are From's."""
    client_address: str = ""
    at: Micros = 0
    """When it came."""


def judge(
    candidate: Candidate,
    facts: AccountFacts,
    state: LimitState,
    now: Micros,
    *,
    checked: AccountFacts | None = None,
    burst_seconds: float = 1.0,
) -> LimitState:
    """The account's limits after this message. Raises the first Refused; then nothing is used up.

    ``checked``: facts by which ``check`` said yes already; when they still stand only the limits are looked at.
    """
    if facts is not checked:
        check(candidate, facts)
    return limits.count(
        facts,
        state,
        now,
        quota_units=candidate.quota_units,
        rate_units=len(candidate.recipients),
        burst_seconds=burst_seconds,
    )


def check(candidate: Candidate, facts: AccountFacts) -> None:
    """Everything but the limits. Raises the first Refused; returning means yes."""
    check_permission(candidate, facts)
    check_suspension(facts)
    check_recipient_count(candidate)
    check_identities(candidate, facts)


def check_permission(candidate: Candidate, facts: AccountFacts) -> None:
    """The key may have been taken back, or the account closed, while the session was open (CRED-3, SMTP-14)."""
    if facts.closed:
        raise Refused(Refusal.NOT_SUBSCRIBED)
    holder = facts.active_keys.get(candidate.access_key_id)
    if holder is None:
        raise Refused(Refusal.NOT_AUTHORIZED)
    if not permissions_of(holder).may_always_send:
        permission.check(holder, facts, _request(candidate))


def _request(candidate: Candidate) -> permission.Request:
    authors = candidate.authors
    return permission.Request(
        authors=candidate.senders[:authors],
        others=candidate.senders[authors:],
        recipients=candidate.recipients,
        client_address=candidate.client_address,
        at=candidate.at,
    )


def check_suspension(facts: AccountFacts) -> None:
    """LIM-7."""
    if facts.suspended:
        raise Refused(Refusal.SUSPENDED)


def check_recipient_count(candidate: Candidate) -> None:
    """SMTP-8: the client may name more than are kept; the number that it named counts."""
    if not candidate.recipients:
        raise Refused(Refusal.NO_RECIPIENTS)
    if max(candidate.recipients_named, len(candidate.recipients)) > MOST_RECIPIENTS:
        raise Refused(Refusal.TOO_MANY_RECIPIENTS)


def check_identities(candidate: Candidate, facts: AccountFacts) -> None:
    """ID-1, and in the sandbox LIM-1: all that fail are named together, as they were spelled."""
    failed = unverified(candidate.senders, facts.verified)
    if not facts.production:
        failed += forbidden_in_sandbox(candidate.recipients, facts.verified, candidate.simulator)
    if failed:
        raise Refused(Refusal.NOT_VERIFIED, facts.region, *dict.fromkeys(failed))

"""What becomes of a recipient after an attempt: the reply, or our own trouble, turned into a verdict.

The reply's code decides whether to try again, its status names the bounce (DEL-5). 5xx is final only as an answer to
the transaction (MAIL and later): what a host says before that is about the connection, not about the recipient, and a
smart host that refuses our own password is our own trouble.
"""

from __future__ import annotations

import json
import re
from typing import Final

from sesrelay.model.clock import MINUTE, Micros
from sesrelay.model.message import AttemptResult, Bounce, BounceType, Origin, RecipientState, Verdict
from sesrelay.model.reply import Reply, Scope, Stage
from sesrelay.rules import retries
from sesrelay.rules.retries import Schedule

_ABOUT_THE_MAIL: Final = frozenset((Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.END_OF_DATA))
_DIAGNOSTIC: Final = re.compile(r"([245]\d\d)[ -](?:([245]\.\d{1,3}\.\d{1,3})\b)?")

# Status -> type and sub-type in SES's words; what is not here is Permanent/General when final, else Transient/General.
_BOUNCES: Final = {
    "5.1.1": (BounceType.PERMANENT, "NoEmail"),
    "5.2.2": (BounceType.TRANSIENT, "MailboxFull"),
    "5.2.3": (BounceType.TRANSIENT, "MessageTooLarge"),
    "5.3.4": (BounceType.TRANSIENT, "MessageTooLarge"),
    "5.6.1": (BounceType.TRANSIENT, "ContentRejected"),
    "5.7.0": (BounceType.TRANSIENT, "General"),
    "5.7.1": (BounceType.TRANSIENT, "General"),
}
_NO_STATUS: Final = "5.3.0"
"""What SES writes for a refusal without an enhanced status (ses-facts §4)."""


def verdict(result: AttemptResult, now: Micros, spread: float, schedule: Schedule = retries.DEFAULT) -> Verdict:
    """Everything that one attempt changes. ``spread`` in [0, 1) is chance, for the next attempt's time."""
    reply = result.reply
    if result.captured:
        return Verdict(RecipientState.CAPTURED, "", _story(result))
    if reply is not None and reply.positive and result.stage is Stage.END_OF_DATA:
        words = str(reply)
        return Verdict(RecipientState.DELIVERED, words, json.dumps(_delivery(result) | {"reply": words}))
    if is_final(result):
        return _bounced(result)
    return _again(result, now, spread, schedule)


def is_final(result: AttemptResult) -> bool:
    """Whether asking again would not change the answer."""
    if result.permanent:
        return True
    reply = result.reply
    if reply is None or not reply.permanent or result.scope is Scope.OURSELVES:
        return False
    return result.stage in _ABOUT_THE_MAIL and not is_full_mailbox(reply)


def is_full_mailbox(reply: Reply) -> bool:
    """5.2.2, or 552 that does not say otherwise: mailboxes are emptied (DEL-5)."""
    return reply.enhanced_status == "5.2.2" or (reply.code == 552 and not reply.enhanced_status)


def _bounced(result: AttemptResult) -> Verdict:
    words = _words(result)
    bounce = classify(words)
    return Verdict(
        RecipientState.BOUNCED, words, _story(result, bounce), bounce=bounce, tells_sender=_tells_sender(result)
    )


def _again(result: AttemptResult, now: Micros, spread: float, schedule: Schedule) -> Verdict:
    claim = result.claim
    wait = retries.next_attempt(claim.attempts, now - claim.accepted_at, spread, schedule)
    if wait is None:
        return _expired(result, schedule)
    due_at = now + wait
    in_doubt = claim.in_doubt or result.in_doubt
    return Verdict(
        RecipientState.QUEUED,
        _words(result),
        _story(result, next_attempt_at=due_at),
        counts_as_attempt=not result.not_tried,
        next_attempt_at=due_at,
        in_doubt=in_doubt,
    )


def _expired(result: AttemptResult, schedule: Schedule) -> Verdict:
    minutes = schedule.max_age // MINUTE
    words = f"554 4.4.7 Message expired: unable to deliver in {minutes} minutes.<{_words(result)}>"
    bounce = Bounce(BounceType.TRANSIENT, "General", "failed", "4.4.7", f"smtp; {words}", "expired")
    return Verdict(
        RecipientState.EXPIRED, words, _story(result, bounce), bounce=bounce, tells_sender=_tells_sender(result)
    )


def classify(words: str) -> Bounce:
    """The bounce that a final reply means, by its status; by its code where it has none."""
    match = _DIAGNOSTIC.match(words)
    status = (match and match[2]) or _NO_STATUS
    kind, sub_type = _BOUNCES.get(status, (BounceType.PERMANENT, "General"))
    return Bounce(kind, sub_type, "failed", status, f"smtp; {words}", f"status {status}")


def _words(result: AttemptResult) -> str:
    """What the next hop said, or what we say where it said nothing."""
    if result.reply is not None:
        return str(result.reply)
    return result.trouble or f"no answer at: {result.stage.value}"


def _tells_sender(result: AttemptResult) -> bool:
    """RFC 5321 §6.1: a bounce is never answered by a bounce."""
    return result.claim.origin is not Origin.RELAY and bool(result.claim.mail_from)


def _delivery(result: AttemptResult) -> dict[str, object]:
    """Of the message's story: which attempt, when, with whom. What is empty is left out."""
    facts: dict[str, object] = {"attempt": result.claim.attempts}
    if result.remote:
        facts["remote"] = result.remote
    if result.local_address:
        facts["local_address"] = result.local_address
    if result.tls:
        facts["tls"] = result.tls
    if result.started_at:
        facts["started_at"] = result.started_at
    if result.finished_at:
        facts["finished_at"] = result.finished_at
    return facts


def _story(result: AttemptResult, bounce: Bounce | None = None, next_attempt_at: Micros = 0) -> str:
    """The row of the message's history for what was no delivery: also where it stopped, and what follows from it."""
    facts: dict[str, object] = {
        "stage": result.stage.value,
        "scope": result.scope.value,
        "reply": "" if result.reply is None else str(result.reply),
        "trouble": result.trouble,
        "in_doubt": result.in_doubt,
        "not_tried": result.not_tried,
        "next_attempt_at": next_attempt_at,
    }
    if bounce is not None:
        facts |= {"bounce_type": bounce.type.value, "bounce_sub_type": bounce.sub_type, "rule": bounce.rule}
    return json.dumps(_delivery(result) | {name: value for name, value in facts.items() if value})

"""Writing down what became of claims, a batch at a time: a list of values is applied, nothing is decided."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sesrelay.model.clock import Micros
from sesrelay.model.message import BounceType, MessageId, Origin, RecipientState, Settlement
from sesrelay.store.accepting import storable
from sesrelay.store.effects import COUNTER_OF, HARD_BOUNCES, Effects
from sesrelay.store.hot import Hot, Row
from sesrelay.store.schema import STATE_CODES

Place = tuple[MessageId, int]
"""(message, recipient's number)."""

ATTEMPT = "attempt"
"""Kind of the history row that settling writes."""
BOUNCE_MAIL = "bounce-mail"
"""Kind of the outbox row for a mail to the envelope sender."""


def settle_many(hot: Hot, batch: Sequence[Settlement], claimed_by: int, effects: Effects) -> frozenset[Place]:
    """Applies the verdicts whose claim is still ours; which those were. Of two for one claim the first counts."""
    by_place: dict[Place, Settlement] = {}
    for settlement in batch:
        by_place.setdefault((settlement.claim.message_id, settlement.claim.number), settlement)
    rows = [_row(place, settlement) for place, settlement in sorted(by_place.items(), key=lambda item: item[0])]
    applied: list[Place] = []
    for message_id, number, sequence in hot.settle(claimed_by, effects.now, rows):
        place = (MessageId(message_id), number)
        settlement = by_place[place]
        applied.append(place)
        effects.history.append((place[0], number, sequence, effects.now, ATTEMPT, storable(settlement.verdict.history)))
        _add_effects(settlement, effects)
    return frozenset(applied)


def _row(place: Place, settlement: Settlement) -> Row:
    verdict = settlement.verdict
    bounce = verdict.bounce
    return (
        *place,
        STATE_CODES[verdict.state],
        0 if verdict.counts_as_attempt else -1,
        1 if verdict.held else 0,
        1 if verdict.in_doubt else 0,
        verdict.next_attempt_at,
        storable(verdict.smtp_response),
        bounce.type.value if bounce else "",
        bounce.sub_type if bounce else "",
        settlement.claim.sequence,
    )


def _add_effects(settlement: Settlement, effects: Effects) -> None:
    claim, verdict = settlement.claim, settlement.verdict
    if verdict.state is RecipientState.QUEUED:
        if not verdict.held:
            effects.wait_in_lane(claim.domain, claim.account_id, verdict.next_attempt_at)
    else:
        counters = effects.counters(claim.account_id, claim.region)
        counters[COUNTER_OF[verdict.state]] += 1
        hard = verdict.bounce is not None and verdict.bounce.type is BounceType.PERMANENT
        if hard and claim.origin is Origin.CLIENT:  # our notices are no mail of the account (ID-6, STAT-1)
            counters[HARD_BOUNCES] += 1
    if verdict.tells_sender:
        effects.outbox.append(_bounce_mail(settlement, effects.now))


def _bounce_mail(settlement: Settlement, now: Micros) -> Row:
    claim, verdict = settlement.claim, settlement.verdict
    bounce = verdict.bounce
    payload = {
        "number": claim.number,
        "address": claim.address,
        "mail_from": claim.mail_from,
        "header_from": claim.header_from,
        "accepted_at": claim.accepted_at,
        "state": verdict.state.value,
        "smtp_response": verdict.smtp_response,
        "action": bounce.action if bounce else "failed",
        "status": bounce.status if bounce else "",
        "diagnostic": bounce.diagnostic if bounce else "",
        "attempt": json.loads(verdict.history or "{}"),
    }
    return (BOUNCE_MAIL, claim.account_id, claim.region, claim.message_id, json.dumps(payload), now, now)

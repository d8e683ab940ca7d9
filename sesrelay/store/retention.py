"""What is let go when its time is over: in steps of few rows, each step a transaction of its own.

A step says how far it came, so that mail gets through between two of them. The books stay right: final states
are counted when they happen, and what is queued is never let go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, and_, case, delete, exists, func, or_, select, tuple_, update

from sesrelay.model.clock import DAY, HOUR, MINUTE, Micros
from sesrelay.model.message import BodyLocation, MessageId, RecipientState
from sesrelay.store.schema import STATE_CODES, bodies, history, idempotency, messages, recipients, sent_minutes
from sesrelay.store.sweep import SegmentUse
from sesrelay.store.transaction import Transaction

ROWS_AT_ONCE: Final = 500
MESSAGES_AT_ONCE: Final = 50
"""Each with up to 50 recipients and their stories."""
BODIES_AT_ONCE: Final = 32
"""Each of up to 256 KB."""
INVOCATIONS: Final[Micros] = HOUR
"""A client may repeat a sending under its invocation id for so long (BEY-5)."""

_QUEUED: Final = STATE_CODES[RecipientState.QUEUED]
_CAPTURED: Final = STATE_CODES[RecipientState.CAPTURED]


@dataclass(frozen=True, slots=True)
class Keep:
    """How long what is kept after a message is finished, counted from its acceptance."""

    bodies: Micros
    captured: Micros
    """Bodies of captured mail."""
    history: Micros
    """The message with its recipients and their stories."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did, and the key after which the next one goes on (None: it was the last)."""

    removed: int
    after: bytes | None


def prune_minutes(tx: Transaction) -> int:
    """Minutes that are out of every 24 hours that could still be asked for (LIM-2); how many, a full step at most."""
    row = sent_minutes.c
    before = (tx.now - DAY) // MINUTE - 1
    old = select(row.account_id, row.region, row.minute).where(row.minute < before).limit(ROWS_AT_ONCE)
    keys = [tuple(found) for found in tx.execute(old)]
    if keys:
        tx.change(delete(sent_minutes).where(tuple_(row.account_id, row.region, row.minute).in_(keys)))
    return len(keys)


def prune_invocations(tx: Transaction) -> int:
    """Invocation ids that nobody may repeat any more; how many, a full step at most."""
    row = idempotency.c
    old = select(row.access_key_id, row.invocation_id).where(row.created_at < tx.now - INVOCATIONS).limit(ROWS_AT_ONCE)
    keys = [tuple(found) for found in tx.execute(old)]
    if keys:
        tx.change(delete(idempotency).where(tuple_(row.access_key_id, row.invocation_id).in_(keys)))
    return len(keys)


def forget_messages(tx: Transaction, keep: Keep, after: bytes) -> Step:
    """Whole messages that are finished and whose story is over."""
    row = messages.c
    page = tx.execute(
        select(row.message_id).where(row.message_id > after).order_by(row.message_id).limit(MESSAGES_AT_ONCE)
    )
    aged, further = _aged([bytes(message_id) for (message_id,) in page], tx.now - keep.history)
    finished = and_(row.accepted_at < tx.now - keep.history, ~_any_of(_QUEUED))
    old = [one.message_id for one in tx.execute(select(row.message_id).where(row.message_id.in_(aged), finished))]
    if old:
        for table in (history, bodies, recipients, messages):
            tx.change(delete(table).where(table.c.message_id.in_(old)))
    return Step(len(old), further)


def _aged(page: Sequence[bytes], before: Micros) -> tuple[list[bytes], bytes | None]:
    """The beginning of a page of keys that is old enough to be looked at, and the key after which to go on.

    Keys begin with region and time: where the young begin, the walk goes on with the next region.
    """
    for place, key in enumerate(page):
        if MessageId(key).at >= before:
            return list(page[:place]), key[:2] + b"\xff" * (MessageId.LENGTH - 2)
    return list(page), page[-1] if len(page) == MESSAGES_AT_ONCE else None


def forget_bodies(tx: Transaction, keep: Keep, after: bytes) -> Step:
    """Bodies in the database that nobody needs any more."""
    row = messages.c
    held = select(bodies.c.message_id).where(bodies.c.message_id > after, bodies.c.chunk == 0)
    page = tx.execute(held.order_by(bodies.c.message_id).limit(MESSAGES_AT_ONCE))
    aged, further = _aged([bytes(message_id) for (message_id,) in page], tx.now - keep.bodies)
    done = select(row.message_id).where(row.message_id.in_(aged), ~_needed(tx.now, keep))
    old = [one.message_id for one in tx.execute(done)]
    if old:
        tx.change(delete(bodies).where(bodies.c.message_id.in_(old)))
    return Step(len(old), further)


def next_segment(tx: Transaction, after: str) -> str | None:
    """The segment with rows that comes behind this one by name."""
    row = messages.c
    found: str | None = tx.execute(select(func.min(row.segment)).where(row.segment > after, row.segment != ""))[0][0]
    return found


def segment_use(tx: Transaction, segment: str, keep: Keep) -> SegmentUse:
    """What of a segment is still needed; a segment with young mail is not looked at closely."""
    row = messages.c
    here = row.segment == segment
    newest = int(tx.execute(select(func.coalesce(func.max(row.accepted_at), 0)).where(here))[0][0])
    if newest >= tx.now - keep.bodies:
        return SegmentUse(segment, 1, 1, newest)
    needed = func.coalesce(func.sum(case((_needed(tx.now, keep), row.body_length), else_=0)), 0)
    written = func.coalesce(func.sum(row.body_length), 0)
    octets = tx.execute(select(written, needed).where(here))[0]
    return SegmentUse(segment, int(octets[0]), int(octets[1]), newest)


def leave_segment(tx: Transaction, segment: str, keep: Keep) -> int:
    """Some messages whose bodies nobody needs know the segment no longer; how many, a full step at most."""
    row = messages.c
    some = select(row.message_id).where(row.segment == segment, ~_needed(tx.now, keep)).limit(ROWS_AT_ONCE)
    return tx.change(update(messages).where(row.message_id.in_(some)).values(segment="", body_offset=0))


def bodies_in(tx: Transaction, segment: str) -> list[tuple[MessageId, BodyLocation]]:
    """Some messages whose bodies lie in a segment, a full step at most."""
    row = messages.c
    places = select(row.message_id, row.segment, row.body_offset, row.body_length, row.body_crc32)
    found = tx.execute(places.where(row.segment == segment).order_by(row.body_offset).limit(BODIES_AT_ONCE))
    return [(MessageId(message_id), BodyLocation(*place)) for message_id, *place in found]


def moved(tx: Transaction, bodies_now: Sequence[tuple[MessageId, BodyLocation]]) -> None:
    """These bodies lie elsewhere from now on."""
    for message_id, place in sorted(bodies_now):
        new = {"segment": place.segment, "body_offset": place.offset}
        tx.change(update(messages).where(messages.c.message_id == message_id).values(new))


def _any_of(state: int) -> ColumnElement[bool]:
    """Whether a message has a recipient in this state."""
    row = recipients.c
    return exists().where(row.message_id == messages.c.message_id, row.state == state)


def _needed(now: Micros, keep: Keep) -> ColumnElement[bool]:
    """Whether a message's body may still be asked for."""
    accepted_at = messages.c.accepted_at
    shown = and_(accepted_at >= now - keep.captured, _any_of(_CAPTURED))
    return or_(accepted_at >= now - keep.bodies, _any_of(_QUEUED), shown)


def count_queue(tx: Transaction) -> dict[str, int]:
    """Queued recipients by what they wait for; each count reads a partial index of its own."""
    row = recipients.c
    number = select(func.count()).select_from(recipients)
    counts = {
        "claimed": number.where(row.claimed_by.is_not(None)),
        "held": number.where(row.held == 1),
        "waiting": number.where(row.state == _QUEUED, row.claimed_by.is_(None), row.held == 0),
    }
    return {state: int(tx.execute(count)[0][0]) for state, count in counts.items()}

"""Whether what is stored agrees with itself: the books, each message's own count, lanes, claims and bodies.

The books (BEY-4): accepted = queued + captured + delivered + bounced + suppressed + rejected + expired + cancelled.
Accepted and the final states are counted when they happen, the queued are counted now; so a row that was lost or
changed behind the relay's back shows. Everything is read page by page, beside a relay that is at work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import and_, func, or_, select, text

from sesrelay.model.clock import MINUTE, Micros
from sesrelay.model.message import BodyLocation, MessageId, RecipientState
from sesrelay.store.schema import STATE_CODES, incarnations, lanes, messages, recipients, statistics
from sesrelay.store.transaction import Transaction

PAGE: Final = 2000
POSTPONED: Final[Micros] = 15 * MINUTE
"""A lane whose destination cannot take mail may come later than its mail, by no more than this."""

_FINAL: Final = tuple(state for state in RecipientState if state is not RecipientState.QUEUED)
_WAITING: Final = "recipients.state = 0 AND recipients.claimed_by IS NULL AND recipients.held = 0"


@dataclass(frozen=True, slots=True)
class Page:
    """What one page of messages says."""

    faults: list[str]
    unfinished: list[tuple[MessageId, BodyLocation]]
    """Bodies that are still needed."""
    last: MessageId | None
    """Where to go on; None: this was the last page."""


@dataclass(frozen=True, slots=True)
class Books:
    """One account's recipients, over all regions and all time."""

    account_id: str
    accepted: int
    queued: int
    final: dict[RecipientState, int]

    @property
    def balance(self) -> bool:
        """Whether they add up."""
        return self.accepted == self.queued + sum(self.final.values())

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state.value}" for state, count in self.final.items())
        return f"account {self.account_id}: {self.accepted} accepted, but {self.queued} queued, {states}"


def books(tx: Transaction) -> list[Books]:
    """Of every account that ever sent."""
    counted = tx.execute(
        select(
            statistics.c.account_id,
            func.sum(statistics.c.accepted),
            *(func.sum(statistics.c[state.value]) for state in _FINAL),
        )
        .group_by(statistics.c.account_id)
        .order_by(statistics.c.account_id)
    )
    queued = _queued(tx)
    found = [
        Books(row[0], int(row[1]), queued.pop(row[0], 0), dict(zip(_FINAL, map(int, row[2:]), strict=True)))
        for row in counted
    ]
    return found + [Books(account, 0, count, {}) for account, count in sorted(queued.items())]


def _queued(tx: Transaction) -> dict[str, int]:
    """Queued recipients by account, from the partial indexes: each queued one is in exactly one of them."""
    counts: dict[str, int] = {}
    row = recipients.c
    # As text, so that the planner sees that the partial index has them all.
    for condition in (_WAITING, "recipients.claimed_by IS NOT NULL", "recipients.held = 1"):
        counted = select(row.account_id, func.count()).where(text(condition)).group_by(row.account_id)
        for found in tx.execute(counted):
            counts[found[0]] = counts.get(found[0], 0) + found[1]
    return counts


def page_of_messages(tx: Transaction, after: MessageId | None) -> Page:
    """The next page of messages: each has as many recipients as it was accepted for."""
    m, r = messages.c, recipients.c
    statement = select(m.message_id, m.recipient_count, m.segment, m.body_offset, m.body_length, m.body_crc32)
    if after is not None:
        statement = statement.where(m.message_id > after)
    rows = tx.execute(statement.order_by(m.message_id).limit(PAGE))
    if not rows:
        return Page([], [], None)
    counted = (
        select(r.message_id, func.count(), func.count().filter(r.state == STATE_CODES[RecipientState.QUEUED]))
        .where(r.message_id.between(rows[0].message_id, rows[-1].message_id))
        .group_by(r.message_id)
    )
    found = {bytes(row[0]): (row[1], row[2]) for row in tx.execute(counted)}
    faults: list[str] = []
    unfinished: list[tuple[MessageId, BodyLocation]] = []
    for row in rows:
        message_id, promised = MessageId(row[0]), row[1]
        count, queued = found.get(bytes(message_id), (0, 0))
        if count != promised:
            faults.append(f"message {message_id}: accepted for {promised} recipients, {count} are stored")
        if queued:
            unfinished.append((message_id, BodyLocation(*row[2:])))
    return Page(faults, unfinished, MessageId(rows[-1].message_id) if len(rows) == PAGE else None)


def faults_of_recipients(tx: Transaction) -> list[str]:
    """Recipients that nobody would look at again, or that are two things at once; up to a page of each kind."""
    r = recipients.c
    message = select(messages.c.message_id).where(messages.c.message_id == r.message_id)
    claimer = select(incarnations.c.number).where(incarnations.c.number == r.claimed_by)
    lane = select(lanes.c.domain).where(
        lanes.c.domain == r.domain,
        lanes.c.account_id == r.account_id,
        or_(lanes.c.due_at <= r.due_at, lanes.c.due_at <= tx.now + POSTPONED),
    )
    in_hand = or_(r.claimed_by.is_not(None), r.held == 1)
    kinds = {
        "belongs to no message": ~message.exists(),
        "is claimed by nobody who ever lived": and_(r.claimed_by.is_not(None), ~claimer.exists()),
        "waits where nobody will look in time": and_(text(_WAITING), ~lane.exists()),
        "is claimed and held at once": and_(r.claimed_by.is_not(None), r.held == 1),
        "is finished, but claimed or held": and_(r.state != STATE_CODES[RecipientState.QUEUED], in_hand),
    }
    return [
        f"message {MessageId(row[0])}: recipient {row[1]} {words}"
        for words, condition in kinds.items()
        for row in tx.execute(select(r.message_id, r.number).where(condition).limit(PAGE))
    ]

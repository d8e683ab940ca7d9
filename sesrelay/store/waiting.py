"""Queued recipients as an operator sees and changes them: by pages of the partial indexes, never by a walk over all.

A queued recipient stands on one of three shelves: waiting in its lane, claimed by a worker, or held. Whoever changes
waiting ones passes over those that a worker is just taking.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import Select, case, insert, select, text, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from sesrelay.model.clock import MINUTE, Micros
from sesrelay.model.message import MessageId, RecipientState
from sesrelay.model.story import RecipientStory
from sesrelay.store.messages import recipient_stories
from sesrelay.store.schema import STATE_CODES, history, lanes, messages, recipients, statistics
from sesrelay.store.transaction import Transaction

PAGE: Final = 500
CANCELLED: Final = "cancelled"
RELEASED: Final = "released"
"""Kinds of the history rows."""
_QUARTER: Final = 15 * MINUTE


class Shelf(StrEnum):
    """Where a queued recipient can stand."""

    WAITING = "waiting"
    CLAIMED = "claimed"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which queued recipients are meant; None: all."""

    message_id: MessageId | None = None
    account_id: str | None = None
    domain: str | None = None


Cursor = tuple[Any, ...]
"""Where a page ended."""

# Literals, not parameters: only so the databases see that the partial indexes apply.
_ON_SHELF: Final = {
    Shelf.WAITING: text("recipients.state = 0 AND recipients.claimed_by IS NULL AND recipients.held = 0"),
    Shelf.CLAIMED: text("recipients.claimed_by IS NOT NULL"),
    Shelf.HELD: text("recipients.held = 1"),
}
_KEY: Final = ("message_id", "number")
_FIXABLE: Final = ("domain", "account_id", "message_id")
_ORDER: Final = {
    Shelf.WAITING: ("domain", "account_id", "due_at", *_KEY),
    Shelf.CLAIMED: ("claimed_by", *_KEY),
    Shelf.HELD: ("account_id", "domain", *_KEY),
}


def page(
    tx: Transaction, shelf: Shelf, selection: Selection, after: Cursor | None
) -> tuple[list[RecipientStory], Cursor | None]:
    """Up to 500 recipients of a shelf; and where the next page begins (None: there is none)."""
    rows = tx.execute(_page(shelf, selection, after))
    return recipient_stories(rows), _end(shelf, rows)


def _page(shelf: Shelf, selection: Selection, after: Cursor | None) -> Select[Any]:
    columns = recipients.c
    statement = select(recipients).where(_ON_SHELF[shelf])
    fixed = {name: value for name in _FIXABLE if (value := getattr(selection, name)) is not None}
    order = _ORDER[shelf]
    # What is fixed in front of the order is left out of it, so that a page begins where the last one ended in the
    # index. What is fixed behind must not look fixed, or the planner would sort everything anew for each page.
    front = list(takewhile(fixed.__contains__, order))
    for name, value in fixed.items():
        plain = name in front or name == "message_id"
        statement = statement.where((columns[name] if plain else columns[name].concat("")) == value)
    free = len(order) - len(front)
    terms = [columns[name] for name in order[-free:]]
    if after is not None:
        statement = statement.where(tuple_(*terms) > tuple_(*after[-free:]))
    return statement.order_by(*terms).limit(PAGE)


def _end(shelf: Shelf, rows: Sequence[Any]) -> Cursor | None:
    if len(rows) < PAGE:
        return None
    last = rows[-1]._mapping
    return tuple(last[name] for name in _ORDER[shelf])


def hasten(
    tx: Transaction, shelf: Shelf, selection: Selection, since: Micros, after: Cursor | None
) -> tuple[int, Cursor | None]:
    """Makes a page of waiting or held recipients due now, but for those tried since; how many, and where to go on."""
    rows = tx.execute(_page(shelf, selection, after).with_for_update(skip_locked=True))
    held = shelf is Shelf.HELD
    chosen = [row for row in rows if (held or row.due_at > tx.now) and row.changed_at <= since]
    if chosen:
        if held:
            # The workers that died of it are forgotten: it gets as many as new mail.
            _change(tx, chosen, due_at=tx.now, held=0, deaths=0, changed_at=tx.now, sequence=recipients.c.sequence + 1)
            _tell(tx, chosen, RELEASED)
        else:
            _change(tx, chosen, due_at=tx.now)
        for domain, account_id in sorted({(row.domain, row.account_id) for row in chosen}):
            _raise_lane(tx, domain, account_id)
    return len(chosen), _end(shelf, rows)


def _raise_lane(tx: Transaction, domain: str, account_id: str) -> None:
    """The lane exists and is due now; a claim that runs beside us and puts it off is waited for and overruled."""
    dialect = sqlite if tx.dialect == "sqlite" else postgresql
    statement = dialect.insert(lanes).values(domain=domain, account_id=account_id, due_at=tx.now)
    no_later = case((lanes.c.due_at < tx.now, lanes.c.due_at), else_=tx.now)
    tx.change(statement.on_conflict_do_update(index_elements=["domain", "account_id"], set_={"due_at": no_later}))


def cancel(tx: Transaction, shelf: Shelf, selection: Selection, after: Cursor | None) -> tuple[int, Cursor | None]:
    """Takes a page of recipients out of the queue for good: no attempt, no bounce; how many, and where to go on."""
    rows = tx.execute(_page(shelf, selection, after).with_for_update(skip_locked=True))
    if rows:
        values = {"state": STATE_CODES[RecipientState.CANCELLED], "held": 0, "changed_at": tx.now}
        _change(tx, rows, **values, sequence=recipients.c.sequence + 1)
        _tell(tx, rows, CANCELLED)
        _count_cancelled(tx, rows)
    return len(rows), _end(shelf, rows)


def _tell(tx: Transaction, rows: Sequence[Any], kind: str) -> None:
    """A line in the story of each: the operator did that."""
    line = {"at": tx.now, "kind": kind, "detail": json.dumps({"by": "operator"})}
    keys = [{"message_id": row.message_id, "number": row.number, "sequence": row.sequence + 1} for row in rows]
    tx.change(insert(history), [key | line for key in keys])


def _change(tx: Transaction, rows: Sequence[Any], **values: Any) -> None:
    keys = sorted((bytes(row.message_id), row.number) for row in rows)
    tx.change(update(recipients).where(tuple_(recipients.c.message_id, recipients.c.number).in_(keys)).values(**values))


def _count_cancelled(tx: Transaction, rows: Sequence[Any]) -> None:
    """Keeps the books (BEY-4): what was accepted is cancelled now."""
    ids = {bytes(row.message_id) for row in rows}
    found = tx.execute(select(messages.c.message_id, messages.c.region).where(messages.c.message_id.in_(sorted(ids))))
    regions = {bytes(row.message_id): row.region for row in found}
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row.account_id, regions[bytes(row.message_id)])
        counts[key] = counts.get(key, 0) + 1
    dialect = sqlite if tx.dialect == "sqlite" else postgresql
    for (account_id, region), count in sorted(counts.items()):
        statement = dialect.insert(statistics).values(
            account_id=account_id, region=region, quarter=tx.now // _QUARTER, cancelled=count
        )
        keys = ["account_id", "region", "quarter"]
        added = {"cancelled": statistics.c.cancelled + count}
        tx.change(statement.on_conflict_do_update(index_elements=keys, set_=added))

"""What somebody must be told: rows that stay until the transaction that made sure of it deletes them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, insert, select, update

from sesrelay.model.clock import MINUTE, Micros
from sesrelay.model.message import MessageId, OutboxRow
from sesrelay.store.schema import outbox
from sesrelay.store.transaction import Transaction

WORKING: Final[Micros] = MINUTE
"""A row that was taken is not given to anybody else for so long."""


NO_MESSAGE: Final = MessageId(b"")
"""``message_id`` of a row that is about no message."""


def add(tx: Transaction, kind: str, account_id: str, region: str, payload: str) -> None:
    """Somebody must be told something that no message is about, as soon as this transaction is committed."""
    tx.change(
        insert(outbox).values(
            kind=kind,
            account_id=account_id,
            region=region,
            message_id=NO_MESSAGE,
            payload=payload,
            created_at=tx.now,
            due_at=tx.now,
        )
    )


def take_due(tx: Transaction, kind: str, limit: int) -> list[OutboxRow]:
    """Rows of a kind that are due, the oldest first; ``attempts`` counts this time."""
    row = outbox.c
    due = (
        select(outbox)
        .where(row.kind == kind, row.due_at <= tx.now)
        .order_by(row.due_at, row.outbox_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = tx.execute(due)
    if found:
        ids = sorted(one.outbox_id for one in found)
        values = {"due_at": tx.now + WORKING, "attempts": row.attempts + 1}
        tx.change(update(outbox).where(row.outbox_id.in_(ids)).values(values))
    return [
        OutboxRow(
            outbox_id=one.outbox_id,
            kind=one.kind,
            account_id=one.account_id,
            region=one.region,
            message_id=MessageId(one.message_id),
            payload=one.payload,
            created_at=one.created_at,
            attempts=one.attempts + 1,
        )
        for one in found
    ]


def postpone(tx: Transaction, outbox_id: int, due_at: Micros) -> None:
    """It could not be told now: again at ``due_at``."""
    tx.change(update(outbox).where(outbox.c.outbox_id == outbox_id).values(due_at=due_at))


def remove(tx: Transaction, outbox_id: int) -> bool:
    """It has been told, or never can be; False when it was gone already."""
    return tx.change(delete(outbox).where(outbox.c.outbox_id == outbox_id)) == 1

"""What is let go when its time is over: in steps of at most ``ROWS_AT_ONCE`` rows, each a transaction of its own.

Every function removes one step and says how many rows that were; the caller comes again while it is a full step.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, func, select, tuple_

from sesrelay.model.clock import DAY, HOUR, MINUTE
from sesrelay.store.schema import idempotency, lanes, recipients, sent_minutes
from sesrelay.store.transaction import Transaction

ROWS_AT_ONCE: Final = 500
INVOCATIONS: Final = HOUR
"""A client may repeat a sending under its invocation id for so long (BEY-5)."""


def prune_minutes(tx: Transaction) -> int:
    """Minutes that are out of every 24 hours that could still be asked for (LIM-2)."""
    row = sent_minutes.c
    before = (tx.now - DAY) // MINUTE - 1
    old = select(row.account_id, row.region, row.minute).where(row.minute < before).limit(ROWS_AT_ONCE)
    keys = [tuple(found) for found in tx.execute(old)]
    if keys:
        tx.change(delete(sent_minutes).where(tuple_(row.account_id, row.region, row.minute).in_(keys)))
    return len(keys)


def prune_invocations(tx: Transaction) -> int:
    """Invocation ids that nobody may repeat any more."""
    row = idempotency.c
    old = select(row.access_key_id, row.invocation_id).where(row.created_at < tx.now - INVOCATIONS).limit(ROWS_AT_ONCE)
    keys = [tuple(found) for found in tx.execute(old)]
    if keys:
        tx.change(delete(idempotency).where(tuple_(row.access_key_id, row.invocation_id).in_(keys)))
    return len(keys)


def count_queue(tx: Transaction) -> dict[str, int]:
    """Queued recipients by what they wait for; only their own partial indexes are read."""
    row = recipients.c

    def number(*conditions: object) -> int:
        return int(tx.execute(select(func.count()).select_from(recipients).where(*conditions))[0][0])  # type: ignore[arg-type]

    return {
        "claimed": number(row.claimed_by.is_not(None)),
        "held": number(row.held == 1),
        "waiting": number(row.state == 0, row.claimed_by.is_(None), row.held == 0),
        "lanes": int(tx.execute(select(func.count()).select_from(lanes))[0][0]),
    }

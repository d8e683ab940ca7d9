"""Accounts and their standing in each region, as operators read and change them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, insert, select, update

from sesrelay.model.account import AccountStanding, LimitState
from sesrelay.model.clock import MINUTE
from sesrelay.store.schema import account_regions, accounts, sent_minutes
from sesrelay.store.transaction import Transaction

_DAY_MINUTES = 24 * 60


def lock_account(tx: Transaction, account_id: str) -> bool:
    """Whether there is such an account; until the transaction ends nobody else changes what hangs on it."""
    return bool(tx.execute(select(accounts.c.account_id).where(accounts.c.account_id == account_id).with_for_update()))


def has_account(tx: Transaction, account_id: str) -> bool:
    """Whether there is such an account, for those who only read."""
    return bool(tx.execute(select(accounts.c.account_id).where(accounts.c.account_id == account_id)))


def account_ids(tx: Transaction, after: str = "", limit: int = 500) -> list[str]:
    """A page of account ids, in order, behind ``after``."""
    statement = select(accounts.c.account_id).where(accounts.c.account_id > after)
    return [row.account_id for row in tx.execute(statement.order_by(accounts.c.account_id).limit(limit))]


def insert_account(tx: Transaction, account_id: str, email: str) -> None:
    """Adds an account that is not open in any region."""
    tx.change(insert(accounts).values(account_id=account_id, email=email, created_at=tx.now))


def insert_region(
    tx: Transaction, account_id: str, region: str, *, quota: int, rate: float, limits: LimitState
) -> None:
    """Opens a region for an account, in the sandbox."""
    tx.change(
        insert(account_regions).values(
            account_id=account_id,
            region=region,
            opened=1,
            quota=quota,
            rate=rate,
            tokens=limits.tokens,
            token_at=limits.token_at,
            used_24_hours=limits.used_24_hours,
            used_minute=tx.now // MINUTE,
            created_at=tx.now,
        )
    )


def standing(tx: Transaction, account_id: str, region: str) -> AccountStanding | None:
    """An account in one region; None when there is no such account or the region was never opened for it."""
    rows = standings(tx, account_id, region)
    return rows[0] if rows else None


def standings(tx: Transaction, account_id: str, region: str | None = None) -> list[AccountStanding]:
    """An account in every region that was opened for it, or in one."""
    together = accounts.join(account_regions, accounts.c.account_id == account_regions.c.account_id)
    wanted = [
        accounts.c.account_id, accounts.c.email, accounts.c.closed, accounts.c.created_at,
        account_regions.c.region, account_regions.c.opened, account_regions.c.suspended,
        account_regions.c.production, account_regions.c.pace, account_regions.c.quota, account_regions.c.rate,
    ]  # fmt: skip
    statement = select(*wanted).select_from(together).where(accounts.c.account_id == account_id)
    if region is not None:
        statement = statement.where(account_regions.c.region == region)
    rows = tx.execute(statement.order_by(account_regions.c.region))
    return [_standing(row, _used_24_hours(tx, account_id, row.region)) for row in rows]


def _standing(row: Row[Any], used: int) -> AccountStanding:
    return AccountStanding(
        account_id=row.account_id,
        email=row.email,
        closed=bool(row.closed),
        created_at=row.created_at,
        region=row.region,
        opened=bool(row.opened),
        suspended=bool(row.suspended),
        production=bool(row.production),
        pace=bool(row.pace),
        quota=row.quota,
        rate=row.rate,
        used_24_hours=used,
    )


def _used_24_hours(tx: Transaction, account_id: str, region: str) -> int:
    sent = sent_minutes.c
    # As acceptance counts: the minute that is half out still counts (LIM-2).
    window = sent.minute >= tx.now // MINUTE - _DAY_MINUTES
    rows = tx.execute(
        select(func.coalesce(func.sum(sent.recipients), 0)).where(
            sent.account_id == account_id, sent.region == region, window
        )
    )
    return int(rows[0][0])


def set_closed(tx: Transaction, account_id: str, closed: bool) -> None:
    """Closes an account in all regions, or opens it again."""
    tx.change(update(accounts).where(accounts.c.account_id == account_id).values(closed=int(closed)))
    tx.bump_facts(account_id)


def email(tx: Transaction, account_id: str) -> str:
    """Where notices about an account go."""
    return str(tx.execute(select(accounts.c.email).where(accounts.c.account_id == account_id))[0][0])


def set_email(tx: Transaction, account_id: str, address: str) -> None:
    """Where notices about an account go from now on."""
    tx.change(update(accounts).where(accounts.c.account_id == account_id).values(email=address))


def change_region(tx: Transaction, account_id: str, region: str, **values: float) -> None:
    """Sets columns of the account's standing in a region: opened, suspended, production, pace, quota, rate."""
    rows = account_regions.c
    tx.change(update(account_regions).where(rows.account_id == account_id, rows.region == region).values(**values))
    tx.bump_facts(account_id, region)

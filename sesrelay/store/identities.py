"""Identities of an account in a region: listed, added, taken away, and moved on in their lives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Row, delete, func, insert, select, update

from sesrelay.model.clock import MINUTE, Micros
from sesrelay.model.identity import VERIFIED, Identity, IdentityType, Life, VerificationStatus
from sesrelay.store.schema import accounts, identities
from sesrelay.store.transaction import Transaction

WORKING: Final[Micros] = 5 * MINUTE
"""A domain that somebody has begun to ask about is not given to anybody else for so long."""


def find(tx: Transaction, account_id: str, region: str, name: str, *, lock: bool = False) -> Identity | None:
    """The identity of exactly that name. ``lock``: until the transaction ends nobody else changes it."""
    statement = select(identities).where(_key(account_id, region, name))
    rows = tx.execute(statement.with_for_update() if lock else statement)
    return _identity(rows[0]) if rows else None


def page(tx: Transaction, account_id: str, region: str, after: str = "", limit: int = 500) -> list[Identity]:
    """Identities in the order of their names, behind ``after``."""
    rows = identities.c
    statement = select(identities).where(rows.account_id == account_id, rows.region == region, rows.name > after)
    return [_identity(row) for row in tx.execute(statement.order_by(rows.name).limit(limit))]


def count(tx: Transaction, account_id: str) -> int:
    """How many the account has, over all regions (ID-9)."""
    statement = select(func.count()).select_from(identities).where(identities.c.account_id == account_id)
    return int(tx.execute(statement)[0][0])


def add(tx: Transaction, identity: Identity) -> None:
    """Adds an identity; one that is verified may be sent from as of the commit."""
    tx.change(
        insert(identities).values(
            account_id=identity.account_id,
            region=identity.region,
            name=identity.name,
            type=identity.type.value,
            token=identity.token,
            created_at=identity.created_at,
            **_columns(identity.life),
        )
    )
    if identity.status in VERIFIED:
        tx.bump_facts(identity.account_id, identity.region)


def move_on(tx: Transaction, identity: Identity, life: Life) -> None:
    """From the life that it has to this one; what may be sent from changes with the commit."""
    key = _key(identity.account_id, identity.region, identity.name)
    tx.change(update(identities).where(key).values(**_columns(life)))
    if (identity.status in VERIFIED) != (life.status in VERIFIED):
        tx.bump_facts(identity.account_id, identity.region)


def remove(tx: Transaction, account_id: str, region: str, name: str) -> None:
    """Takes an identity away, with its settings."""
    tx.change(delete(identities).where(_key(account_id, region, name)))
    tx.bump_facts(account_id, region)


def take_due(tx: Transaction, limit: int) -> list[Identity]:
    """Domains that are to be asked about now, the longest due first; nobody else is given them for five minutes.

    Those of a closed account wait until it is opened again: nothing of it is taken away meanwhile.

    What is given has that later time as its ``next_check_at``: whoever writes the answer proves by it that nothing
    else happened to the identity meanwhile.
    """
    row = identities.c
    due = (
        select(identities)
        .join(accounts, accounts.c.account_id == row.account_id)
        .where(row.next_check_at > 0, row.next_check_at <= tx.now, accounts.c.closed == 0)
        .order_by(row.next_check_at)
        .limit(limit)
        .with_for_update(of=identities, skip_locked=True)
    )
    found = [_identity(one) for one in tx.execute(due)]
    for one in found:
        key = _key(one.account_id, one.region, one.name)
        tx.change(update(identities).where(key).values(next_check_at=tx.now + WORKING))
    return [replace(one, life=replace(one.life, next_check_at=tx.now + WORKING)) for one in found]


def _key(account_id: str, region: str, name: str) -> Any:
    rows = identities.c
    return (rows.account_id == account_id) & (rows.region == region) & (rows.name == name)


def _columns(life: Life) -> dict[str, Any]:
    return {
        "status": life.status.value,
        "asked_at": life.asked_at,
        "verified_at": life.verified_at,
        "missing_since": life.missing_since,
        "trouble_since": life.trouble_since,
        "next_check_at": life.next_check_at,
    }


def _identity(row: Row[Any]) -> Identity:
    life = Life(
        VerificationStatus(row.status),
        row.asked_at,
        row.verified_at,
        row.missing_since,
        row.trouble_since,
        row.next_check_at,
    )
    return Identity(row.account_id, row.region, row.name, IdentityType(row.type), row.token, row.created_at, life)

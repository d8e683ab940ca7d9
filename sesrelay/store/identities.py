"""Identities of an account in a region, as they are listed, added and taken away."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from sesrelay.model.identity import Identity, IdentityType, VerificationStatus
from sesrelay.store.schema import identities
from sesrelay.store.transaction import Transaction


def find(tx: Transaction, account_id: str, region: str, name: str) -> Identity | None:
    """The identity of exactly that name."""
    rows = tx.execute(select(identities).where(_key(account_id, region, name)))
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
            status=identity.status.value,
            token=identity.token,
            created_at=identity.created_at,
            verified_at=tx.now if identity.status is VerificationStatus.SUCCESS else 0,
        )
    )
    tx.bump_facts(identity.account_id, identity.region)


def mark_verified(tx: Transaction, account_id: str, region: str, name: str) -> None:
    """Status Success from now on."""
    values = {"status": VerificationStatus.SUCCESS.value, "verified_at": tx.now, "next_check_at": 0, "missing_since": 0}
    tx.change(update(identities).where(_key(account_id, region, name)).values(**values))
    tx.bump_facts(account_id, region)


def remove(tx: Transaction, account_id: str, region: str, name: str) -> None:
    """Takes an identity away, with its settings."""
    tx.change(delete(identities).where(_key(account_id, region, name)))
    tx.bump_facts(account_id, region)


def _key(account_id: str, region: str, name: str) -> Any:
    rows = identities.c
    return (rows.account_id == account_id) & (rows.region == region) & (rows.name == name)


def _identity(row: Row[Any]) -> Identity:
    return Identity(
        row.account_id,
        row.region,
        row.name,
        IdentityType(row.type),
        VerificationStatus(row.status),
        row.token,
        row.created_at,
    )

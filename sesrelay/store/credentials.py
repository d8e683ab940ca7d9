"""Access keys as they are kept: secrets only sealed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from sesrelay.model.account import KeyListing, KeyStatus
from sesrelay.model.clock import Micros
from sesrelay.store.hot import Hot
from sesrelay.store.schema import access_keys
from sesrelay.store.secrets import Sealed
from sesrelay.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An access key with its secret as the database has it; ``secrets.unseal(…, "access_keys", access_key_id, …)``."""

    access_key_id: str
    account_id: str
    user_name: str
    status: KeyStatus
    sealed: Sealed
    created_at: Micros


@dataclass(frozen=True, slots=True)
class FoundKey:
    """An access key, and what its account was at that moment."""

    key: StoredKey
    facts_version: int
    """Of the account's facts in the region that was asked for; 0: there are none."""


def find_key(hot: Hot, access_key_id: str, region: str) -> FoundKey | None:
    """The key with that id, whatever its status."""
    row = hot.find_key(access_key_id, region)
    if row is None:
        return None
    key_id, account_id, user_name, status, master_key_id, nonce, secret, created_at, version = row
    sealed = Sealed(master_key_id, bytes(nonce), bytes(secret))
    return FoundKey(StoredKey(key_id, account_id, user_name, KeyStatus(status), sealed, created_at), version or 0)


def key_exists(tx: Transaction, access_key_id: str) -> bool:
    """Whether an account has a key with that id."""
    return bool(tx.execute(select(access_keys.c.status).where(access_keys.c.access_key_id == access_key_id)))


def insert_key(tx: Transaction, key: StoredKey) -> None:
    """Adds a key."""
    tx.change(
        insert(access_keys).values(
            access_key_id=key.access_key_id,
            account_id=key.account_id,
            user_name=key.user_name,
            status=key.status.value,
            master_key_id=key.sealed.master_key_id,
            nonce=key.sealed.nonce,
            secret=key.sealed.secret,
            created_at=key.created_at,
        )
    )


def keys_of(tx: Transaction, account_id: str, user_name: str | None = None) -> list[KeyListing]:
    """The keys of a user, or of the whole account, by user and age."""
    keys = access_keys.c
    columns = (keys.access_key_id, keys.account_id, keys.user_name, keys.status, keys.created_at)
    statement = select(*columns).where(keys.account_id == account_id)
    if user_name is not None:
        statement = statement.where(keys.user_name == user_name)
    return [
        KeyListing(row.access_key_id, row.account_id, row.user_name, KeyStatus(row.status), row.created_at)
        for row in tx.execute(statement.order_by(keys.user_name, keys.created_at, keys.access_key_id))
    ]


def set_key_status(tx: Transaction, access_key_id: str, status: KeyStatus) -> None:
    """Switches a key on or off."""
    tx.change(update(access_keys).where(access_keys.c.access_key_id == access_key_id).values(status=status.value))


def delete_key(tx: Transaction, access_key_id: str) -> None:
    """Takes a key away for good."""
    tx.change(delete(access_keys).where(access_keys.c.access_key_id == access_key_id))

"""What acceptance must know of an account: loaded in one place, cached by each process, exact by its version.

A cached value may be old; whoever acts on it inside the accept batch compares ``version`` with the row that the batch
has locked, and loads again when it differs. So nothing has to be told to anybody.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from sesrelay.model.account import AccountFacts, KeyStatus, VerifiedIdentities
from sesrelay.model.identity import VERIFIED, IdentityType
from sesrelay.model.policy import KeyHolder
from sesrelay.store import policies
from sesrelay.store.errors import UnknownAccount
from sesrelay.store.schema import access_keys, account_regions, accounts, identities
from sesrelay.store.transaction import Transaction

Key = tuple[str, str]
"""(account id, region)."""


def load(tx: Transaction, account_id: str, region: str) -> AccountFacts:
    """The facts as this transaction sees them. UnknownAccount: also when the region is not opened for the account."""
    rows = tx.execute(
        select(account_regions, accounts.c.closed)
        .join_from(account_regions, accounts, accounts.c.account_id == account_regions.c.account_id)
        .where(account_regions.c.account_id == account_id, account_regions.c.region == region)
    )
    if not rows or not rows[0].opened:
        raise UnknownAccount(f"account {account_id} is not known in region {region}")
    row = rows[0]
    return AccountFacts(
        account_id=account_id,
        region=region,
        version=row.facts_version,
        closed=bool(row.closed),
        suspended=bool(row.suspended),
        production=bool(row.production),
        quota=row.quota,
        rate=row.rate,
        verified=VerifiedIdentities(
            addresses=frozenset(_verified(tx, account_id, region, IdentityType.EMAIL_ADDRESS)),
            domains=frozenset(_verified(tx, account_id, region, IdentityType.DOMAIN)),
        ),
        active_keys=_active_keys(tx, account_id),
        pace=bool(row.pace),
    )


def version(tx: Transaction, account_id: str, region: str) -> int:
    """Of the facts as they are now; 0 when there are none."""
    row = account_regions.c
    found = tx.execute(select(row.facts_version).where(row.account_id == account_id, row.region == region))
    return int(found[0][0]) if found else 0


def _verified(tx: Transaction, account_id: str, region: str, kind: IdentityType) -> Iterator[str]:
    row = identities.c
    return (
        name
        for (name,) in tx.execute(
            select(row.name).where(
                row.account_id == account_id,
                row.region == region,
                row.type == kind.value,
                row.status.in_([status.value for status in VERIFIED]),
            )
        )
    )


def _active_keys(tx: Transaction, account_id: str) -> dict[str, KeyHolder]:
    """Every key that is switched on, by its user: two keys of a user have the same holder."""
    row = access_keys.c
    found = tx.execute(
        select(row.access_key_id, row.user_name).where(
            row.account_id == account_id, row.status == KeyStatus.ACTIVE.value
        )
    )
    if not found:
        return {}
    documents = policies.of_users_with_keys(tx, account_id)
    names = {user_name for _, user_name in found}
    holders = {name: KeyHolder(name, tuple(documents.get(name, ()))) for name in names}
    return {access_key_id: holders[user_name] for access_key_id, user_name in found}

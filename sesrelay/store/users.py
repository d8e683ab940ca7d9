"""Users and groups of an account, and who is in which (CRED-2, CRED-4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, Table, delete, func, insert, select

from sesrelay.model.account import KeyStatus
from sesrelay.model.policy import GroupListing, UserListing
from sesrelay.store.schema import access_keys, group_members, group_policies, groups, user_policies, users
from sesrelay.store.transaction import Transaction

_Names = defaultdict[str, list[str]]


def find_user(tx: Transaction, account_id: str, user_name: str) -> str | None:
    """The user's name as it was spelled at creation; names differ by more than case (IAM)."""
    return _find(tx, users, "user_name", account_id, user_name)


def find_group(tx: Transaction, account_id: str, group_name: str) -> str | None:
    """The group's name as it was spelled at creation; as ``find_user``."""
    return _find(tx, groups, "group_name", account_id, group_name)


def insert_user(tx: Transaction, account_id: str, user_name: str) -> None:
    """Adds a user who may do nothing yet."""
    tx.change(insert(users).values(account_id=account_id, user_name=user_name, created_at=tx.now))


def insert_group(tx: Transaction, account_id: str, group_name: str) -> None:
    """Adds a group with nobody in it."""
    tx.change(insert(groups).values(account_id=account_id, group_name=group_name, created_at=tx.now))


def delete_user(tx: Transaction, account_id: str, user_name: str) -> None:
    """Takes a user away, with keys, policies and memberships."""
    for table in (access_keys, user_policies, group_members, users):
        tx.change(delete(table).where(table.c.account_id == account_id, table.c.user_name == user_name))


def delete_group(tx: Transaction, account_id: str, group_name: str) -> None:
    """Takes a group away, with policies and memberships."""
    for table in (group_policies, group_members, groups):
        tx.change(delete(table).where(table.c.account_id == account_id, table.c.group_name == group_name))


def add_member(tx: Transaction, account_id: str, group_name: str, user_name: str) -> None:
    """Puts a user into a group."""
    tx.change(insert(group_members).values(account_id=account_id, group_name=group_name, user_name=user_name))


def remove_member(tx: Transaction, account_id: str, group_name: str, user_name: str) -> None:
    """Takes a user out of a group."""
    member = group_members.c
    tx.change(
        delete(group_members).where(
            member.account_id == account_id, member.group_name == group_name, member.user_name == user_name
        )
    )


def groups_of(tx: Transaction, account_id: str, user_name: str) -> list[str]:
    """The groups that a user is in, by name."""
    return list(_beside(tx, account_id, group_members.c.user_name, [user_name], "group_name")[user_name])


def page_of_users(tx: Transaction, account_id: str, after: str = "", limit: int = 500) -> list[UserListing]:
    """Users in the order of their names, behind ``after``."""
    row = users.c
    statement = select(users).where(row.account_id == account_id, row.user_name > after)
    return _user_listings(tx, account_id, tx.execute(statement.order_by(row.user_name).limit(limit)))


def user(tx: Transaction, account_id: str, user_name: str) -> UserListing:
    """One user, whose name is spelled as ``find_user`` gives it."""
    row = users.c
    statement = select(users).where(row.account_id == account_id, row.user_name == user_name)
    return _user_listings(tx, account_id, tx.execute(statement))[0]


def page_of_groups(tx: Transaction, account_id: str, after: str = "", limit: int = 500) -> list[GroupListing]:
    """Groups in the order of their names, behind ``after``."""
    row = groups.c
    statement = select(row.group_name, row.created_at).where(row.account_id == account_id, row.group_name > after)
    return _group_listings(tx, account_id, tx.execute(statement.order_by(row.group_name).limit(limit)))


def group(tx: Transaction, account_id: str, group_name: str) -> GroupListing:
    """One group, whose name is spelled as ``find_group`` gives it."""
    row = groups.c
    statement = select(row.group_name, row.created_at).where(row.account_id == account_id, row.group_name == group_name)
    return _group_listings(tx, account_id, tx.execute(statement))[0]


def _user_listings(tx: Transaction, account_id: str, rows: Iterable[Any]) -> list[UserListing]:
    found = list(rows)
    names = [row.user_name for row in found]
    member_of = _beside(tx, account_id, group_members.c.user_name, names, "group_name")
    policies = _beside(tx, account_id, user_policies.c.user_name, names, "policy_name")
    keys = _beside(tx, account_id, access_keys.c.user_name, names, "status")
    return [
        UserListing(
            user_name=row.user_name,
            created_at=row.created_at,
            keys=len(keys[row.user_name]),
            active_keys=keys[row.user_name].count(KeyStatus.ACTIVE.value),
            has_password=bool(row.password_hash),
            groups=tuple(member_of[row.user_name]),
            policies=tuple(policies[row.user_name]),
        )
        for row in found
    ]


def _group_listings(tx: Transaction, account_id: str, rows: Iterable[Any]) -> list[GroupListing]:
    found = list(rows)
    names = [row.group_name for row in found]
    members = _beside(tx, account_id, group_members.c.group_name, names, "user_name")
    policies = _beside(tx, account_id, group_policies.c.group_name, names, "policy_name")
    return [
        GroupListing(row.group_name, row.created_at, tuple(members[row.group_name]), tuple(policies[row.group_name]))
        for row in found
    ]


def _find(tx: Transaction, table: Table, column: str, account_id: str, name: str) -> str | None:
    named = table.c[column]
    rows = tx.execute(select(named).where(table.c.account_id == account_id, func.lower(named) == name.lower()))
    return str(rows[0][0]) if rows else None


def _beside(tx: Transaction, account_id: str, key: Column[Any], names: list[str], value: str) -> _Names:
    """Of ``key``'s table: what stands in column ``value`` beside each of these names, sorted."""
    found: _Names = defaultdict(list)
    if names:
        table, other = key.table, key.table.c[value]
        statement = select(key, other).where(table.c.account_id == account_id, key.in_(names)).order_by(other)
        for name, beside in tx.execute(statement):
            found[name].append(beside)
    return found

"""Policy documents of users and groups: IAM's inline policies, kept as they were written (CRED-4)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, delete, insert, select

from sesrelay.model.account import KeyStatus
from sesrelay.model.policy import Owner, PolicyDocument
from sesrelay.store.schema import access_keys, group_members, group_policies, user_policies
from sesrelay.store.transaction import Transaction


def of(tx: Transaction, account_id: str, owner: Owner) -> list[PolicyDocument]:
    """The documents of a user (without those of groups) or of a group, by name."""
    table, owned = _owned(account_id, owner)
    statement = select(table.c.policy_name, table.c.document).where(owned).order_by(table.c.policy_name)
    group = owner.name if owner.is_group else ""
    return [PolicyDocument(name, document, group) for name, document in tx.execute(statement)]


def effective(tx: Transaction, account_id: str, user_name: str) -> list[PolicyDocument]:
    """Everything that says what a user may do: the user's own documents, then those of groups."""
    members, docs = group_members.c, group_policies.c
    through = tx.execute(
        select(docs.policy_name, docs.document, docs.group_name)
        .select_from(_membership())
        .where(members.account_id == account_id, members.user_name == user_name)
        .order_by(docs.group_name, docs.policy_name)
    )
    return of(tx, account_id, Owner(user_name)) + [PolicyDocument(*row) for row in through]


def of_users_with_keys(tx: Transaction, account_id: str) -> dict[str, list[PolicyDocument]]:
    """The same for every user of the account who has a key that is switched on, in two statements."""
    keys, own, members, docs = access_keys.c, user_policies.c, group_members.c, group_policies.c
    active = select(keys.user_name).where(keys.account_id == account_id, keys.status == KeyStatus.ACTIVE.value)
    found: dict[str, list[PolicyDocument]] = {}
    for user_name, name, text in tx.execute(
        select(own.user_name, own.policy_name, own.document)
        .where(own.account_id == account_id, own.user_name.in_(active))
        .order_by(own.user_name, own.policy_name)
    ):
        found.setdefault(user_name, []).append(PolicyDocument(name, text))
    for user_name, name, text, group in tx.execute(
        select(members.user_name, docs.policy_name, docs.document, docs.group_name)
        .select_from(_membership())
        .where(members.account_id == account_id, members.user_name.in_(active))
        .order_by(members.user_name, docs.group_name, docs.policy_name)
    ):
        found.setdefault(user_name, []).append(PolicyDocument(name, text, group))
    return found


def put(tx: Transaction, account_id: str, owner: Owner, name: str, document: str) -> None:
    """Gives a user or a group a document, in place of one of the same name."""
    remove(tx, account_id, owner, name)
    table, _ = _owned(account_id, owner)
    key = {"account_id": account_id, _column(owner): owner.name, "policy_name": name}
    tx.change(insert(table).values(**key, document=document))


def remove(tx: Transaction, account_id: str, owner: Owner, name: str) -> None:
    """Takes a document away."""
    table, owned = _owned(account_id, owner)
    tx.change(delete(table).where(owned, table.c.policy_name == name))


def _owned(account_id: str, owner: Owner) -> tuple[Table, Any]:
    table = group_policies if owner.is_group else user_policies
    return table, (table.c.account_id == account_id) & (table.c[_column(owner)] == owner.name)


def _column(owner: Owner) -> str:
    return "group_name" if owner.is_group else "user_name"


def _membership() -> Any:
    members, docs = group_members.c, group_policies.c
    same = (members.account_id == docs.account_id) & (members.group_name == docs.group_name)
    return group_members.join(group_policies, same)

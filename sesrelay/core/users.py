"""What an operator does with users and groups of an account: list, make, delete, put into a group (CRED-2, CRED-4).

Whatever changes what a user may do counts for every worker as of the commit.
"""

from __future__ import annotations

from typing import Final

from sesrelay.model.failure import Failed, Failure
from sesrelay.model.policy import GroupListing, UserListing
from sesrelay.rules import names
from sesrelay.store import accounts, users
from sesrelay.store.transaction import Transaction

GROUPS_OF_A_USER: Final = 10
"""As in IAM."""


def page(tx: Transaction, account_id: str, after: str | None) -> tuple[list[UserListing], str | None]:
    """Up to 500 users by name; and what to give as ``after`` next (None: no more)."""
    found = users.page_of_users(tx, account_id, after or "")
    return found, found[-1].user_name if found else None


def show(tx: Transaction, account_id: str, user_name: str) -> UserListing:
    """One user. Failed: there is none."""
    return users.user(tx, account_id, known(tx, account_id, user_name))


def create(tx: Transaction, account_id: str, user_name: str) -> UserListing:
    """A user without keys, who may do nothing yet. Failed: bad name, there is one."""
    names.check_user(user_name)
    _lock(tx, account_id)
    taken = users.find_user(tx, account_id, user_name)
    if taken:
        raise Failed(Failure.EXISTS, f"user {taken} exists already")
    users.insert_user(tx, account_id, user_name)
    return users.user(tx, account_id, user_name)


def delete(tx: Transaction, account_id: str, user_name: str) -> UserListing:
    """Takes a user away, with keys, policies and memberships; as it was. Failed: there is none."""
    _lock(tx, account_id)
    gone = show(tx, account_id, user_name)
    users.delete_user(tx, account_id, gone.user_name)
    tx.bump_facts(account_id)
    return gone


def known(tx: Transaction, account_id: str, user_name: str) -> str:
    """The user's name as it is kept. Failed: there is no such user."""
    found = users.find_user(tx, account_id, user_name)
    if found is None:
        raise Failed(Failure.UNKNOWN, f"account {account_id} has no user {user_name}")
    return found


def page_of_groups(tx: Transaction, account_id: str, after: str | None) -> tuple[list[GroupListing], str | None]:
    """Up to 500 groups by name; and what to give as ``after`` next (None: no more)."""
    found = users.page_of_groups(tx, account_id, after or "")
    return found, found[-1].group_name if found else None


def show_group(tx: Transaction, account_id: str, group_name: str) -> GroupListing:
    """One group. Failed: there is none."""
    return users.group(tx, account_id, known_group(tx, account_id, group_name))


def create_group(tx: Transaction, account_id: str, group_name: str) -> GroupListing:
    """A group with nobody in it. Failed: bad name, there is one."""
    names.check_group(group_name)
    _lock(tx, account_id)
    taken = users.find_group(tx, account_id, group_name)
    if taken:
        raise Failed(Failure.EXISTS, f"group {taken} exists already")
    users.insert_group(tx, account_id, group_name)
    return users.group(tx, account_id, group_name)


def delete_group(tx: Transaction, account_id: str, group_name: str) -> GroupListing:
    """Takes a group away with its policies; as it was. Failed: there is none, or somebody is in it.

    A group may forbid something: nobody shall get more rights by its end without being named (IAM refuses it, too).
    """
    _lock(tx, account_id)
    gone = show_group(tx, account_id, group_name)
    if gone.users:
        text = f"group {gone.group_name} still has {len(gone.users)} users: take them out first (group remove-user)"
        raise Failed(Failure.CONFLICT, text)
    users.delete_group(tx, account_id, gone.group_name)
    return gone


def add_to_group(tx: Transaction, account_id: str, group_name: str, user_name: str) -> GroupListing:
    """Puts a user into a group; twice changes nothing. Failed: no such group or user, in too many groups."""
    _lock(tx, account_id)
    group, user = show_group(tx, account_id, group_name), known(tx, account_id, user_name)
    if user in group.users:
        return group
    if len(users.groups_of(tx, account_id, user)) >= GROUPS_OF_A_USER:
        raise Failed(Failure.LIMIT, f"user {user} is in {GROUPS_OF_A_USER} groups already: no more are allowed")
    users.add_member(tx, account_id, group.group_name, user)
    tx.bump_facts(account_id)
    return users.group(tx, account_id, group.group_name)


def remove_from_group(tx: Transaction, account_id: str, group_name: str, user_name: str) -> GroupListing:
    """Takes a user out of a group. Failed: no such group or user, or the user is not in it."""
    _lock(tx, account_id)
    group, user = show_group(tx, account_id, group_name), known(tx, account_id, user_name)
    if user not in group.users:
        raise Failed(Failure.UNKNOWN, f"user {user} is not in group {group.group_name}")
    users.remove_member(tx, account_id, group.group_name, user)
    tx.bump_facts(account_id)
    return users.group(tx, account_id, group.group_name)


def known_group(tx: Transaction, account_id: str, group_name: str) -> str:
    """The group's name as it is kept. Failed: there is no such group."""
    found = users.find_group(tx, account_id, group_name)
    if found is None:
        raise Failed(Failure.UNKNOWN, f"account {account_id} has no group {group_name}")
    return found


def _lock(tx: Transaction, account_id: str) -> None:
    if not accounts.lock_account(tx, account_id):
        raise Failed(Failure.UNKNOWN, f"there is no account {account_id}")

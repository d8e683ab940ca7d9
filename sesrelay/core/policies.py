"""What an operator does with policies: show, set, remove, and ask beforehand what they would say (CRED-4, CRED-5).

A document that could not be obeyed to the letter is refused when it is set. A change counts for every worker as of
the commit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sesrelay.core import users
from sesrelay.model.failure import Failed, Failure
from sesrelay.model.policy import Owner, PolicyDocument
from sesrelay.rules import names, permission, policy_document
from sesrelay.rules.conditions import nothing_known
from sesrelay.rules.permission import Request
from sesrelay.rules.policy import SEND_RAW_EMAIL, Decision, Permissions, Verdict
from sesrelay.rules.policy_document import MalformedPolicy
from sesrelay.store import accounts, facts, policies
from sesrelay.store.errors import UnknownAccount
from sesrelay.store.transaction import Transaction

DOCUMENTS: Final = 10
"""Of a user, or of a group; IAM counts their characters instead."""
FIRST_NAME: Final = "Policy"
"""Of a document that is set without a name where there is none yet."""


class Set(NamedTuple):
    """What setting a document did."""

    owner: Owner
    name: str
    replaced: bool
    unknown_keys: tuple[str, ...]
    """Condition keys that no request ever has here."""


class Simulated(NamedTuple):
    """One of the decisions of a simulation."""

    resource: str
    """"" when it is not known."""
    decision: Decision


def show(tx: Transaction, account_id: str, owner: Owner, name: str | None) -> tuple[Owner, list[PolicyDocument]]:
    """The documents of a user or group, or the one of that name; a user's with those of groups. Failed: none such.

    The owner comes back as its name is kept.
    """
    owner = _known(tx, account_id, owner)
    if name is not None:
        return owner, [_named(policies.of(tx, account_id, owner), owner, name)]
    if owner.is_group:
        return owner, policies.of(tx, account_id, owner)
    return owner, policies.effective(tx, account_id, owner.name)


def put(tx: Transaction, account_id: str, owner: Owner, name: str | None, text: str) -> Set:
    """Sets a document. Without a name it takes the place of the only one; Failed when there are several.

    Failed: no such owner, bad name, malformed document, too many.
    """
    if name is not None:
        names.check_policy(name)
    read = check(text)
    _lock(tx, account_id)
    owner = _known(tx, account_id, owner)
    there = [document.name for document in policies.of(tx, account_id, owner)]
    chosen = name if name is not None else _only(there, owner) or FIRST_NAME
    if chosen not in there and len(there) >= DOCUMENTS:
        raise Failed(Failure.LIMIT, f"{owner} has {DOCUMENTS} policies already: remove one first")
    policies.put(tx, account_id, owner, chosen, text)
    tx.bump_facts(account_id)
    return Set(owner, chosen, chosen in there, read.unknown_keys)


def check(text: str) -> policy_document.Document:
    """The document, read. Failed with the place of its fault."""
    try:
        return policy_document.read(text)
    except MalformedPolicy as error:
        raise Failed(Failure.INVALID, f"malformed policy: {error}") from None


def remove(tx: Transaction, account_id: str, owner: Owner, name: str | None) -> tuple[Owner, PolicyDocument]:
    """Takes a document away; without a name the only one. Failed: none such, or several."""
    _lock(tx, account_id)
    owner = _known(tx, account_id, owner)
    there = policies.of(tx, account_id, owner)
    chosen = name if name is not None else _only([document.name for document in there], owner)
    if chosen is None:
        raise Failed(Failure.UNKNOWN, f"{owner} has no policy")
    gone = _named(there, owner, chosen)
    policies.remove(tx, account_id, owner, gone.name)
    tx.bump_facts(account_id)
    return owner, gone


def simulate(tx: Transaction, account_id: str, region: str, user_name: str, request: Request) -> list[Simulated]:
    """What the user's policies say to a request: one decision for each identity that it is about.

    Failed: no such user, the region is not opened for the account, no sender that could be one.
    """
    user = users.known(tx, account_id, user_name)
    try:
        known = facts.load(tx, account_id, region)
    except UnknownAccount as error:
        raise Failed(Failure.UNKNOWN, str(error)) from None
    permissions = Permissions(policies.effective(tx, account_id, user))
    return [Simulated(*each) for each in permission.decisions(permissions, known, request)]


def never_sends(tx: Transaction, account_id: str, user_name: str) -> bool:
    """Whether every mail of the user would be refused, whatever it is and wherever it comes from."""
    permissions = Permissions(policies.effective(tx, account_id, user_name))
    return permissions.decide(SEND_RAW_EMAIL, None, nothing_known).verdict is Verdict.NO


def _named(documents: list[PolicyDocument], owner: Owner, name: str) -> PolicyDocument:
    for document in documents:
        if document.name == name:
            return document
    raise Failed(Failure.UNKNOWN, f"{owner} has no policy {name}")


def _only(there: list[str], owner: Owner) -> str | None:
    """The name of the only document; None when there is none. Failed: there are several."""
    if len(there) > 1:
        raise Failed(Failure.INVALID, f"{owner} has several policies: say which one with --name ({', '.join(there)})")
    return there[0] if there else None


def _known(tx: Transaction, account_id: str, owner: Owner) -> Owner:
    """The owner as its name is kept. Failed: there is none such."""
    find = users.known_group if owner.is_group else users.known
    return owner._replace(name=find(tx, account_id, owner.name))


def _lock(tx: Transaction, account_id: str) -> None:
    if not accounts.lock_account(tx, account_id):
        raise Failed(Failure.UNKNOWN, f"there is no account {account_id}")

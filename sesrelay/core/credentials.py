"""Credentials: an IAM user, its access keys and the policy that lets it send (CRED-1 to CRED-3).

A secret is in the clear only in what ``create`` returns; from then on the database has it sealed. Whoever loses a
key or a user can send nothing as of the commit: every worker's facts of the account are bumped. A new key never
widens what its user's policies say.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from sesrelay.model.account import AccessKey, KeyListing, KeyStatus
from sesrelay.model.clock import SECOND, Micros
from sesrelay.model.failure import Failed, Failure
from sesrelay.model.policy import Owner
from sesrelay.rules import names
from sesrelay.store import accounts, credentials, policies, secrets, users
from sesrelay.store.keyring import Keyring
from sesrelay.store.transaction import Transaction

KEYS_OF_A_USER: Final = 2
_ACCESS_KEY_ID: Final = re.compile(r"AKIA[A-Z0-9]{16}")
_SECRET: Final = re.compile(r"[\x21-\x7e]{1,128}")
SMTP_POLICY: Final = "AmazonSesSendingAccess"
API_POLICY: Final = "AmazonSESFullAccess"


def _policy(action: str) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


GIVEN: Final = {SMTP_POLICY: _policy("ses:SendRawEmail"), API_POLICY: _policy("ses:*")}
"""The policies that come with a key, by name."""


def new_key(chance: Callable[[int], bytes]) -> tuple[str, str]:
    """A fresh access key id (``AKIA`` and 16 of A-Z2-7) and its secret (40 characters, 240 bits of chance)."""
    return "AKIA" + base64.b32encode(chance(10)).decode(), base64.b64encode(chance(30)).decode()


def create(
    tx: Transaction,
    account_id: str,
    user_name: str | None,
    key: tuple[str, str],
    *,
    keyring: Keyring,
    chance: Callable[[int], bytes],
    api: bool = False,
) -> AccessKey:
    """A key for a user, who is made when there is none; without a name ``ses-smtp-user.YYYYMMDD-HHMMSS``.

    ``key`` is (id, secret), fresh or brought along (BEY-1). ``api``: every SES action instead of SendRawEmail alone.
    Only a user who has no policy at all, own or by groups, is given one, unless ``api`` asks for it.
    Failed: unknown account, bad name or key, the id is taken, the user has two keys.
    """
    access_key_id, secret = key
    _check_key(access_key_id, secret)
    if not accounts.lock_account(tx, account_id):
        raise Failed(Failure.UNKNOWN, f"there is no account {account_id}")
    if credentials.key_exists(tx, access_key_id):
        raise Failed(Failure.EXISTS, f"access key {access_key_id} exists already")
    name = _user(tx, account_id, user_name)
    if len(credentials.keys_of(tx, account_id, name)) >= KEYS_OF_A_USER:
        raise Failed(Failure.LIMIT, f"user {name} has {KEYS_OF_A_USER} access keys already: delete one first")
    if api or not policies.effective(tx, account_id, name):
        policy = API_POLICY if api else SMTP_POLICY
        policies.put(tx, account_id, Owner(name), policy, GIVEN[policy])
    sealed = secrets.seal(keyring, "access_keys", access_key_id, secret.encode(), chance)
    stored = credentials.StoredKey(access_key_id, account_id, name, KeyStatus.ACTIVE, sealed, tx.now)
    credentials.insert_key(tx, stored)
    tx.bump_facts(account_id)
    return AccessKey(access_key_id, account_id, name, KeyStatus.ACTIVE, secret, tx.now)


def list_keys(tx: Transaction, account_id: str) -> list[KeyListing]:
    """All credentials of an account, without secrets."""
    return credentials.keys_of(tx, account_id)


def switch(tx: Transaction, account_id: str, name: str, status: KeyStatus) -> list[KeyListing]:
    """Switches a key, or all keys of a user, on or off; the keys it was done to."""
    accounts.lock_account(tx, account_id)
    keys = _named(tx, account_id, name)
    for key in keys:
        credentials.set_key_status(tx, key.access_key_id, status)
    tx.bump_facts(account_id)
    return _named(tx, account_id, name)


def delete(tx: Transaction, account_id: str, name: str) -> list[KeyListing]:
    """Takes a user away with all its keys, or one key (and its user, when nothing else is left); the keys that went.

    The guide ("Obtaining Your SMTP Credentials") revokes SMTP credentials by deleting their IAM user.
    """
    accounts.lock_account(tx, account_id)
    keys = _named(tx, account_id, name)
    by_id = bool(keys) and keys[0].access_key_id == name
    user_name = keys[0].user_name if keys else users.find_user(tx, account_id, name)
    assert user_name is not None
    for key in keys:
        credentials.delete_key(tx, key.access_key_id)
    if not by_id or _is_bare(tx, account_id, user_name):
        users.delete_user(tx, account_id, user_name)
    tx.bump_facts(account_id)
    return keys


def _is_bare(tx: Transaction, account_id: str, user_name: str) -> bool:
    """Whether nothing is left of a user but the name, and the policy that came with the first key."""
    if users.find_user(tx, account_id, user_name) is None:
        return True
    user = users.user(tx, account_id, user_name)
    documents = policies.of(tx, account_id, Owner(user_name))
    given = all(GIVEN.get(document.name) == document.text for document in documents)
    return given and not (user.keys or user.groups or user.has_password)


def _named(tx: Transaction, account_id: str, name: str) -> list[KeyListing]:
    """The key of that id, or the keys of the user of that name."""
    by_id = [key for key in credentials.keys_of(tx, account_id) if key.access_key_id == name]
    if by_id:
        return by_id
    user_name = users.find_user(tx, account_id, name)
    if user_name is None:
        raise Failed(Failure.UNKNOWN, f"account {account_id} has no user and no access key {name}")
    return credentials.keys_of(tx, account_id, user_name)


def _user(tx: Transaction, account_id: str, wanted: str | None) -> str:
    """The user's name, after making sure that there is one."""
    if wanted is not None:
        names.check_user(wanted)
    found = users.find_user(tx, account_id, wanted) if wanted else None
    name = found or wanted or _free_name(tx, account_id)
    if found is None:
        users.insert_user(tx, account_id, name)
    return name


def _free_name(tx: Transaction, account_id: str) -> str:
    """The guide's form; when that second has one already, the next second that has none."""
    at = tx.now
    while users.find_user(tx, account_id, smtp_user_name(at)):
        at += SECOND
    return smtp_user_name(at)


def smtp_user_name(at: Micros) -> str:
    """``ses-smtp-user.YYYYMMDD-HHMMSS``, in UTC."""
    return f"ses-smtp-user.{datetime.fromtimestamp(at // SECOND, UTC):%Y%m%d-%H%M%S}"


def _check_key(access_key_id: str, secret: str) -> None:
    if not _ACCESS_KEY_ID.fullmatch(access_key_id):
        raise Failed(Failure.INVALID, f"access key id {access_key_id!r}: AKIA and 16 of A-Z 0-9 are wanted")
    if not _SECRET.fullmatch(secret):
        raise Failed(Failure.INVALID, "the secret access key must be 1 to 128 visible ASCII characters on one line")

"""What an operator does with accounts: open and close, suspend and resume, pace, address; limits are ``limits``'s.

Each verb is a function of one transaction; a change counts for every worker as of its commit (facts_version).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sesrelay.core import limits
from sesrelay.model.account import AccountStanding
from sesrelay.model.failure import Failed, Failure
from sesrelay.rules.addresses import is_address
from sesrelay.rules.limit_requests import SANDBOX
from sesrelay.rules.limits import fresh
from sesrelay.store import accounts
from sesrelay.store.transaction import Transaction

_ACCOUNT_ID: Final = re.compile(r"[0-9]{12}")


def new_account_id(chance: Callable[[int], bytes]) -> str:
    """Twelve digits, the first not 0."""
    return str(10**11 + int.from_bytes(chance(16), "big") % (9 * 10**11))


def create(tx: Transaction, account_id: str, email: str, regions: tuple[str, ...]) -> None:
    """A new account, in the sandbox of each region. Failed: it exists, or id or e-mail address are none."""
    check_new(account_id, email)
    if accounts.lock_account(tx, account_id):
        raise Failed(Failure.EXISTS, f"account {account_id} exists already")
    accounts.insert_account(tx, account_id, email)
    for region in regions:
        _open_region(tx, account_id, region)


def check_new(account_id: str, email: str) -> None:
    """What can be said of a new account without a database. Failed: id or e-mail address are none."""
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise Failed(Failure.INVALID, f"account id {account_id!r}: 12 digits are wanted")
    _check_email(email)


def _check_email(email: str) -> None:
    if not is_address(email):
        raise Failed(Failure.INVALID, f"{email!r} is no e-mail address")


def open_again(tx: Transaction, account_id: str, region: str) -> None:
    """Opens a region for an account (SMTP-14), and the account itself when it was closed."""
    _known(tx, account_id)
    if accounts.standing(tx, account_id, region) is None:
        _open_region(tx, account_id, region)
    accounts.set_closed(tx, account_id, False)
    accounts.change_region(tx, account_id, region, opened=1)


def close(tx: Transaction, account_id: str) -> None:
    """Nobody logs in or sends for it any more, in any region; nothing of it is deleted."""
    _known(tx, account_id)
    accounts.set_closed(tx, account_id, True)


def suspend(tx: Transaction, account_id: str, region: str, suspended: bool) -> None:
    """Refuses sending in a region, or allows it again (LIM-7)."""
    show(tx, account_id, region)
    accounts.change_region(tx, account_id, region, suspended=int(suspended))


def set_pace(tx: Transaction, account_id: str, region: str, pace: bool) -> None:
    """Takes mail that comes too fast and sends it at the allowed rate, or refuses it (BEY-2)."""
    show(tx, account_id, region)
    accounts.change_region(tx, account_id, region, pace=int(pace))


def set_email(tx: Transaction, account_id: str, email: str, region: str) -> None:
    """Where notices about the account go (CRED-8). Failed: it is no address.

    The address of before is told, by a mail of that region.
    """
    _check_email(email)
    _known(tx, account_id)
    before = accounts.email(tx, account_id)
    if before != email:
        limits.tell_new_address(tx, account_id, region, before, email)
        accounts.set_email(tx, account_id, email)


def show(tx: Transaction, account_id: str, region: str | None) -> AccountStanding:
    """An account in one region, or in the first it has. Failed: no such account, or the region was never opened."""
    found = accounts.standings(tx, account_id, region)
    if not found:
        known(tx, account_id)
        text = f"account {account_id} has not opened region {region} (account open --region {region})"
        raise Failed(Failure.UNKNOWN, text)
    return found[0]


def page(tx: Transaction, after: str | None, region: str | None = None) -> tuple[list[AccountStanding], str | None]:
    """A page of all accounts, each in every region or in one; and what to give as ``after`` next (None: no more)."""
    ids = accounts.account_ids(tx, after or "", limit=100)
    listed = [standing for account_id in ids for standing in accounts.standings(tx, account_id, region)]
    return listed, ids[-1] if ids else None


def the_only_one(tx: Transaction) -> str:
    """The id of the only account there is. Failed: none or several."""
    match accounts.account_ids(tx, limit=2):
        case [only]:
            return only
        case []:
            raise Failed(Failure.UNKNOWN, "there is no account yet: sesrelay account create")
    raise Failed(Failure.INVALID, "there are several accounts: say which one with --account ID")


def known(tx: Transaction, account_id: str) -> str:
    """The id, if there is such an account; this only reads. Failed: there is none."""
    if not accounts.has_account(tx, account_id):
        raise Failed(Failure.UNKNOWN, f"there is no account {account_id}")
    return account_id


def _open_region(tx: Transaction, account_id: str, region: str) -> None:
    bucket = fresh(SANDBOX.rate, tx.now)
    accounts.insert_region(tx, account_id, region, quota=SANDBOX.quota, rate=SANDBOX.rate, limits=bucket)


def _known(tx: Transaction, account_id: str) -> None:
    """As ``known``, and until the transaction ends nobody else changes the account."""
    if not accounts.lock_account(tx, account_id):
        raise Failed(Failure.UNKNOWN, f"there is no account {account_id}")

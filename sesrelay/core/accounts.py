"""What an operator does with accounts: open and close, suspend and resume, sandbox and production, limits.

Each verb is a function of one transaction; a change counts for every worker as of its commit (facts_version).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sesrelay.model.account import AccountStanding
from sesrelay.model.failure import Failed, Failure
from sesrelay.rules.limits import fresh
from sesrelay.store import accounts
from sesrelay.store.transaction import Transaction

SANDBOX_QUOTA: Final = 200
SANDBOX_RATE: Final = 1.0
PRODUCTION_QUOTA: Final = 10_000
PRODUCTION_RATE: Final = 5.0
"""Where the guide starts ("Sending Limits"; LIM-1)."""
UNLIMITED: Final = -1
MOST: Final = 1_000_000_000
"""The largest quota, far beyond any use: sums of it fit into every column."""
_ACCOUNT_ID: Final = re.compile(r"[0-9]{12}")
_EMAIL: Final = re.compile(r"[\x21-\x3f\x41-\x7e]+@[A-Za-z0-9.-]+")


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
    if not _EMAIL.fullmatch(email) or len(email) > 255:
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


def set_production(tx: Transaction, account_id: str, region: str, production: bool) -> None:
    """Out of the sandbox, with at least the limits that production starts at; or back, with the sandbox's (LIM-1)."""
    now = show(tx, account_id, region)
    if now.production == production:
        return
    quota, rate = (now.quota, now.rate) if production else (SANDBOX_QUOTA, SANDBOX_RATE)
    if production:
        quota = quota if quota == UNLIMITED else max(quota, PRODUCTION_QUOTA)
        rate = rate if rate == UNLIMITED else max(rate, PRODUCTION_RATE)
    accounts.change_region(tx, account_id, region, production=int(production), quota=quota, rate=rate)


def set_limits(tx: Transaction, account_id: str, region: str, quota: int | None, rate: float | None) -> None:
    """Recipients in 24 hours and a second; -1: unlimited; None: as it is. Failed: outside."""
    if quota is not None and not UNLIMITED <= quota <= MOST:
        raise Failed(Failure.INVALID, f"quota {quota}: 0 to {MOST} recipients in 24 hours, or -1 for unlimited")
    if rate is not None and not (rate == UNLIMITED or 0.001 <= rate <= 1_000_000):
        raise Failed(Failure.INVALID, f"rate {rate:g}: 0.001 to 1000000 recipients a second, or -1 for unlimited")
    show(tx, account_id, region)
    wanted = {"quota": quota, "rate": rate}
    values = {name: value for name, value in wanted.items() if value is not None}
    if values:
        accounts.change_region(tx, account_id, region, **values)


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
    limits = fresh(SANDBOX_RATE, tx.now)
    accounts.insert_region(tx, account_id, region, quota=SANDBOX_QUOTA, rate=SANDBOX_RATE, limits=limits)


def _known(tx: Transaction, account_id: str) -> None:
    """As ``known``, and until the transaction ends nobody else changes the account."""
    if not accounts.lock_account(tx, account_id):
        raise Failed(Failure.UNKNOWN, f"there is no account {account_id}")

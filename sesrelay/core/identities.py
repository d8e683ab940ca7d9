"""What an operator does with identities: add, mark verified, list, remove (ID-1, ID-9).

Their life cycle by mail and DNS is not here yet: an identity that is added without being marked stays Pending.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final

from sesrelay.model.failure import Failed, Failure
from sesrelay.model.identity import Identity, IdentityType, VerificationStatus
from sesrelay.store import accounts, identities
from sesrelay.store.transaction import Transaction

LONGEST_NAME: Final = 255
LONGEST_LABEL: Final = 63
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.IGNORECASE)
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(\.{_ATOM})*")


def parse_name(text: str) -> tuple[str, IdentityType]:
    """The identity's name as it is kept (addresses as spelled, domains in lower case) and its type. Failed: neither."""
    local, at, domain = text.rpartition("@")
    if not text.isascii():
        raise Failed(Failure.INVALID, f"{text}: write it in ASCII, international domains in punycode (xn--…)")
    if len(text) > LONGEST_NAME:
        raise Failed(Failure.INVALID, f"{text[:40]}…: an identity has at most {LONGEST_NAME} characters")
    _check_domain(text, domain)
    if not at:
        return domain.lower(), IdentityType.DOMAIN
    if len(local) > 64 or not _LOCAL.fullmatch(local):
        raise Failed(Failure.INVALID, f"{text!r}: what stands before the @ is not the local part of an address")
    return text, IdentityType.EMAIL_ADDRESS


def _check_domain(text: str, domain: str) -> None:
    labels = domain.split(".")
    if any(len(label) > LONGEST_LABEL for label in labels):
        raise Failed(Failure.INVALID, f"{text}: a label of a domain has at most {LONGEST_LABEL} characters")
    if len(labels) < 2 or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        raise Failed(
            Failure.INVALID, f"{text!r} is neither an e-mail address nor a domain: Invalid domain name {domain}."
        )


def add(
    tx: Transaction,
    account_id: str,
    region: str,
    name: str,
    *,
    verified: bool,
    most: int,
    chance: Callable[[int], bytes],
) -> Identity:
    """Adds an identity, or marks one that is there as verified; adding twice changes nothing.

    ``most``: how many an account may have over all regions (ID-9). Failed: bad name, unknown account, too many.
    """
    kept, kind = parse_name(name)
    if not accounts.lock_account(tx, account_id):
        raise Failed(Failure.UNKNOWN, f"there is no account {account_id}")
    if identities.find(tx, account_id, region, kept) is not None:
        if verified:
            identities.mark_verified(tx, account_id, region, kept)
        return show(tx, account_id, region, kept)
    if accounts.standing(tx, account_id, region) is None:
        raise Failed(Failure.UNKNOWN, f"account {account_id} has not opened region {region}")
    if identities.count(tx, account_id) >= most:
        raise Failed(Failure.LIMIT, f"account {account_id} has {most} identities over all regions: no more are allowed")
    status = VerificationStatus.SUCCESS if verified else VerificationStatus.PENDING
    token = base64.b64encode(chance(32)).decode() if kind is IdentityType.DOMAIN else ""
    identities.add(tx, Identity(account_id, region, kept, kind, status, token, tx.now))
    return show(tx, account_id, region, kept)


def show(tx: Transaction, account_id: str, region: str, name: str) -> Identity:
    """One identity. Failed: there is none of that name (addresses are compared with case, domains without)."""
    kept, _ = parse_name(name)
    found = identities.find(tx, account_id, region, kept)
    if found is None:
        raise Failed(Failure.UNKNOWN, f"account {account_id} has no identity {kept} in {region}")
    return found


def page(tx: Transaction, account_id: str, region: str, after: str | None) -> tuple[list[Identity], str | None]:
    """Up to 500 identities by name; and what to give as ``after`` next (None: no more)."""
    found = identities.page(tx, account_id, region, after or "")
    return found, found[-1].name if found else None


def remove(tx: Transaction, account_id: str, region: str, name: str) -> Identity:
    """Takes an identity away: nothing may be sent from it as of the commit. Failed: there is none."""
    found = show(tx, account_id, region, name)
    identities.remove(tx, account_id, region, found.name)
    return found

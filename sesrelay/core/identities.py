"""What is done with identities: add, try again, list, remove, and move on by what DNS and owners say (ID-1, ID-6 to 9).

A step of an identity's life and the mail that tells of it are one transaction, so each mail goes once: whoever comes
second finds the step done.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from sesrelay.core import limits
from sesrelay.model.clock import Micros
from sesrelay.model.failure import Failed, Failure
from sesrelay.model.identity import (
    VERIFIED,
    AddressLink,
    DnsAnswer,
    Identity,
    IdentityMail,
    IdentityType,
    Life,
    LinkState,
    VerificationStatus,
)
from sesrelay.rules import identity_life as rule
from sesrelay.rules.addresses import LONGEST_LABEL, LONGEST_LOCAL_PART, LONGEST_NAME, is_host, is_local_part
from sesrelay.store import identities, outbox
from sesrelay.store.transaction import Transaction

IDENTITY_MAIL: Final = "identity-mail"
"""Kind of the outbox rows for mails of an identity's life."""


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
    if len(local) > LONGEST_LOCAL_PART:
        raise Failed(Failure.INVALID, f"{text}: at most {LONGEST_LOCAL_PART} characters may stand before the @")
    if not is_local_part(local):
        raise Failed(Failure.INVALID, f"{text!r}: what stands before the @ is not the local part of an address")
    return text, IdentityType.EMAIL_ADDRESS


def _check_domain(text: str, domain: str) -> None:
    if any(len(label) > LONGEST_LABEL for label in domain.split(".")):
        raise Failed(Failure.INVALID, f"{text}: a label of a domain has at most {LONGEST_LABEL} characters")
    if "." not in domain or not is_host(domain):
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
    """Adds an identity and begins to verify it; one that is there already is verified again, as far as it needs that.

    ``verified``: on the operator's word, without looking. ``most``: how many an account may have over all regions
    (ID-9). Failed: bad name, unknown or closed account, too many.
    """
    kept, kind = parse_name(name)
    limits.locked_open(tx, account_id, region)
    found = identities.find(tx, account_id, region, kept, lock=True)
    if found is not None:
        return _vouch(tx, found) if verified else _again(tx, found)
    if identities.count(tx, account_id) >= most:
        raise Failed(Failure.LIMIT, f"account {account_id} has {most} identities over all regions: no more are allowed")
    token = base64.b64encode(chance(32)).decode() if kind is IdentityType.DOMAIN else ""
    life = rule.vouched(tx.now) if verified else _beginning(kind, tx.now)
    added = Identity(account_id, region, kept, kind, token, tx.now, life)
    identities.add(tx, added)
    if not verified and kind is IdentityType.EMAIL_ADDRESS:
        _tell(tx, added, IdentityMail.CONFIRM_ADDRESS)
    return added


def _beginning(kind: IdentityType, now: Micros) -> Life:
    return rule.begin(now) if kind is IdentityType.DOMAIN else rule.begin_address(now)


def _vouch(tx: Transaction, found: Identity) -> Identity:
    """As of now nobody looks at it again."""
    if found.status is VerificationStatus.SUCCESS and not _is_watched(found.life):
        return found
    return _moved(tx, found, rule.vouched(tx.now))


def _again(tx: Transaction, found: Identity) -> Identity:
    """A new link, a new search for a domain that failed; a domain that is being watched is looked at now."""
    life = found.life
    if found.type is IdentityType.DOMAIN:
        if life.status is VerificationStatus.FAILED:
            return _moved(tx, found, rule.begin(tx.now))
        return _moved(tx, found, replace(life, next_check_at=tx.now)) if _is_watched(life) else found
    if life.status in VERIFIED or not rule.may_send_link(life, tx.now):
        return found
    again = _moved(tx, found, rule.begin_address(tx.now))
    _tell(tx, again, IdentityMail.CONFIRM_ADDRESS)
    return again


def _is_watched(life: Life) -> bool:
    """Not so: an operator's word stands for it."""
    return life.next_check_at > 0


def retry(tx: Transaction, account_id: str, region: str, name: str) -> Identity:
    """Verifies anew with the same token: a domain's 72 hours begin again, an address gets a new link (ID-7, ID-6).

    Failed: there is none such, its last link is less than a minute old, or the account is closed.
    """
    limits.locked_open(tx, account_id, region)
    found = _existing(tx, account_id, region, name, lock=True)
    if found.type is IdentityType.DOMAIN and found.status not in VERIFIED:
        return _moved(tx, found, rule.begin(tx.now))
    again = _again(tx, found)
    if again is found and found.status not in VERIFIED:
        raise Failed(Failure.CONFLICT, f"{found.name} was sent a link less than a minute ago: look for it, or wait")
    return again


def _moved(tx: Transaction, found: Identity, life: Life) -> Identity:
    identities.move_on(tx, found, life)
    return replace(found, life=life)


def _tell(tx: Transaction, about: Identity, mail: IdentityMail, mistakes: Sequence[str] = ()) -> None:
    payload = {
        "mail": mail.value,
        "identity": about.name,
        "token": about.token,
        "asked_at": about.life.asked_at,
        "until": rule.deadline(about.life),
        "mistakes": list(mistakes),
    }
    outbox.add(tx, IDENTITY_MAIL, about.account_id, about.region, json.dumps(payload))


def take_due(tx: Transaction, limit: int) -> list[Identity]:
    """Domains to be asked about now; ``store.identities.take_due``."""
    return identities.take_due(tx, limit)


def answered(tx: Transaction, asked: Identity, answer: DnsAnswer, spread: float, mistakes: Sequence[str]) -> bool:
    """Moves a domain on by what the DNS said; ``asked``: as ``take_due`` gave it.

    False: something else happened to it meanwhile, and the answer counts no longer. ``mistakes``: what was found
    instead of the record, for the mail.
    """
    found = identities.find(tx, asked.account_id, asked.region, asked.name, lock=True)
    if found != asked:
        return False
    step = rule.answered(found.life, answer, tx.now, spread)
    if step.life is None:
        identities.remove(tx, found.account_id, found.region, found.name)
    else:
        found = _moved(tx, found, step.life)
    if step.mail is not None:
        _tell(tx, found, step.mail, mistakes)
    return True


def look_at_link(tx: Transaction, link: AddressLink) -> LinkState:
    """What a link that we made is good for now; changes nothing."""
    return _link_state(tx, identities.find(tx, link.account_id, link.region, link.address), link)


def confirm(tx: Transaction, link: AddressLink) -> LinkState:
    """The owner of an address says yes: CONFIRMED when that verified it, else why not."""
    found = identities.find(tx, link.account_id, link.region, link.address, lock=True)
    state = _link_state(tx, found, link)
    if found is None or state is not LinkState.OPEN:
        return state
    life = replace(found.life, status=VerificationStatus.SUCCESS, verified_at=tx.now)
    identities.move_on(tx, found, life)
    return LinkState.CONFIRMED


def _link_state(tx: Transaction, found: Identity | None, link: AddressLink) -> LinkState:
    life, created_at = (found.life, found.created_at) if found else (None, 0)
    return rule.link_state(life, created_at, link.asked_at, tx.now)


def show(tx: Transaction, account_id: str, region: str, name: str) -> Identity:
    """One identity. Failed: there is none of that name (addresses are compared with case, domains without)."""
    return _existing(tx, account_id, region, name)


def _existing(tx: Transaction, account_id: str, region: str, name: str, *, lock: bool = False) -> Identity:
    kept, _ = parse_name(name)
    found = identities.find(tx, account_id, region, kept, lock=lock)
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

"""Which verified identity covers an address, and whose settings count (ID-1 to ID-5).

Addresses are compared as spelled, case and all; domains without case. A verified address covers its labelled forms
(``user+label@``), a verified labelled one only itself; a verified domain covers its addresses and all its subdomains.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sesrelay.model.account import VerifiedIdentities

LONGEST_DOMAIN: Final = 255
"""Octets of the longest name that can be verified (ID-9)."""


def covering_identity(address: str, verified: VerifiedIdentities) -> str | None:
    """The most specific verified identity that covers an address, whose settings count for it; None: not verified."""
    if address in verified.addresses:
        return address
    local, _, domain = address.rpartition("@")
    plus = local.find("+")
    if plus > 0:
        unlabelled = f"{local[:plus]}@{domain}"
        if unlabelled in verified.addresses:
            return unlabelled
    return _covering_domain(domain.lower().rstrip("."), verified.domains)


def _covering_domain(domain: str, verified: frozenset[str]) -> str | None:
    if len(domain) > LONGEST_DOMAIN:  # what is in front cannot make it a name: no need to try each of its labels
        domain = domain[-LONGEST_DOMAIN - 1 :].partition(".")[2]
    while domain:
        if domain in verified:
            return domain
        domain = domain.partition(".")[2]
    return None


def unverified(spellings: Iterable[tuple[str, str]], verified: VerifiedIdentities) -> list[str]:
    """Of (address, as it was spelled) those that nothing covers: each spelling once, in order."""
    failed: dict[str, None] = {}
    for address, spelled in spellings:
        if covering_identity(address, verified) is None:
            failed[spelled] = None
    return list(failed)

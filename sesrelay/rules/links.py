"""The text of a link in a mail that asks an address's owner to confirm: nobody can make one, or change it (ID-6).

Base64 for URLs of what the link says, a dot, base64 of an HMAC over it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Iterable
from typing import Final

from sesrelay.model.identity import AddressLink

LONGEST: Final = 1000
_MAC: Final = 20


def write(link: AddressLink, key: bytes) -> str:
    """The last part of the URL. ``key``: 32 octets for this purpose only."""
    said = _text(json.dumps([link.account_id, link.region, link.address, link.asked_at]).encode())
    return f"{said}.{_text(_mac(said, key))}"


def read(text: str, keys: Iterable[bytes]) -> AddressLink | None:
    """What a link says; None: not one that we made with any of these keys."""
    said, _, mac = text.partition(".")
    if len(text) > LONGEST or not text.isascii():
        return None
    try:
        given = _octets(mac)
        if not any(hmac.compare_digest(given, _mac(said, key)) for key in keys):
            return None
        return AddressLink(*json.loads(_octets(said)))
    except (binascii.Error, ValueError):
        return None


def _mac(said: str, key: bytes) -> bytes:
    return hmac.digest(key, said.encode(), "sha256")[:_MAC]


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

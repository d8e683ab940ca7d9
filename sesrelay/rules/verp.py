"""The return path of each copy that leaves: it names message and recipient, and nobody can forge it (DEL-10).

Base32 of message id (24 octets), recipient's number (2) and the first 8 octets of an HMAC over both: 55 characters,
good in any case of letters, because mail hosts change it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from sesrelay.model.message import MessageId

LENGTH: Final = 55
_MAC: Final = 8
_NAMED: Final = MessageId.LENGTH + 2
_OCTETS: Final = _NAMED + _MAC
_PADDING: Final = "="

_DIGITS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
_SHIFTS: Final = tuple(range(270, -1, -10))


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> hmac.HMAC:
    """The beginning of every code with that key; making it costs more than all the rest."""
    return hmac.new(key, digestmod="sha256")


def _mac(named: bytes, key: bytes) -> bytes:
    code = _keyed(key).copy()
    code.update(named)
    return code.digest()[:_MAC]


def local_part(message_id: MessageId, number: int, key: bytes) -> str:
    """The 55 characters in front of the ``@``. ``key``: 32 octets for this purpose only."""
    named = message_id + number.to_bytes(2, "big")
    # 272 bits and 8 of padding as 28 pairs of base32 digits, the last digit of which is always padding.
    bits = int.from_bytes(named + _mac(named, key), "big") << 8
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])[:LENGTH]


def address(message_id: MessageId, number: int, domain: str, key: bytes) -> str:
    """The envelope sender to the world for one recipient of a message."""
    return f"{local_part(message_id, number, key)}@{domain}"


def parse(local: str, keys: Iterable[bytes]) -> tuple[MessageId, int] | None:
    """The message and recipient that a local part names; None: not one that we made with any of these keys."""
    if len(local) != LENGTH or not local.isascii():
        return None
    try:
        octets = base64.b32decode(local.upper() + _PADDING)
    except binascii.Error:
        return None
    named, mac = octets[:_NAMED], octets[_NAMED:]
    if len(octets) != _OCTETS or not any(hmac.compare_digest(mac, _mac(named, key)) for key in keys):
        return None
    message_id = MessageId(named[: MessageId.LENGTH])
    return message_id, int.from_bytes(named[MessageId.LENGTH :], "big")

"""Secrets at rest: encrypted by a master key, and of use only in the row that they were written for.

AES-256-GCM with table and row id as associated data: a secret that is copied into another row does not open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sesrelay.store.errors import StoreError
from sesrelay.store.keyring import Keyring

NONCE_OCTETS: Final = 12


class SecretUnreadable(StoreError):  # noqa: N818 - what the reader finds
    """The secret does not open: its master key is not in the keyring, or it is damaged or in another's row."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as the database has it."""

    master_key_id: str
    nonce: bytes
    secret: bytes = field(repr=False)


def seal(keyring: Keyring, table: str, row_id: str, secret: bytes, chance: Callable[[int], bytes]) -> Sealed:
    """Encrypts a secret for one row by the newest key. ``chance(n)``: n octets that never come twice."""
    nonce = chance(NONCE_OCTETS)
    ciphertext = AESGCM(keyring.newest.key).encrypt(nonce, secret, _place(table, row_id))
    return Sealed(keyring.newest.key_id, nonce, ciphertext)


def unseal(keyring: Keyring, table: str, row_id: str, sealed: Sealed) -> bytes:
    """The secret of that row. SecretUnreadable."""
    key = keyring.find(sealed.master_key_id)
    if key is None:
        raise SecretUnreadable(f"{table} {row_id}: master key {sealed.master_key_id} is not in the keyring")
    try:
        return AESGCM(key.key).decrypt(sealed.nonce, sealed.secret, _place(table, row_id))
    except (InvalidTag, ValueError):
        raise SecretUnreadable(f"{table} {row_id}: the stored secret is damaged") from None


def _place(table: str, row_id: str) -> bytes:
    return f"{table}\0{row_id}".encode()

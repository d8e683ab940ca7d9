"""The keyring: the master keys that are not in the database, in a file that only the relay's user can read.

The newest key encrypts and derives; the older ones stay to decrypt what they encrypted. A value in the database
(``check_value``) tells a wrong keyring before anything is decrypted with it.
"""

# ruff: noqa: N818 - a name says what is the matter; that it is an error, the base class says

from __future__ import annotations

import base64
import hmac
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sesrelay.store.errors import StoreError, WrongKeyring

KEY_OCTETS: Final = 32
FORMAT: Final = 1
LARGEST_OCTETS: Final = 1024 * 1024


class KeyringError(StoreError):
    """The keyring cannot be used; the text says why and what to do, on one line."""


class KeyringMissing(KeyringError):
    """There is no such file."""


class KeyringTooOpen(KeyringError):
    """Others than its owner may read or change the file."""


class KeyringDamaged(KeyringError):
    """The file is not a keyring."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """One master key; ``key_id`` stands in the database beside everything that it encrypted."""

    key_id: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Master keys, oldest first."""

    keys: tuple[MasterKey, ...]

    @property
    def newest(self) -> MasterKey:
        """The key that encrypts."""
        return self.keys[-1]

    def find(self, key_id: str) -> MasterKey | None:
        """The key with that id."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def rotated(self, chance: Callable[[int], bytes]) -> Keyring:
        """With a new key, which encrypts from now on."""
        return Keyring((*self.keys, _new_key(chance)))

    def derive(self, purpose: str, epoch: int) -> bytes:
        """The key (32 octets) for one purpose (``verp``, ``cookie``, ``token``) in one epoch, of the newest key."""
        return _derive(self.newest, purpose, epoch)

    def derived(self, purpose: str, epoch: int) -> tuple[bytes, ...]:
        """As ``derive``, of every key, newest first: for checking what was made before the last rotation."""
        return tuple(_derive(key, purpose, epoch) for key in reversed(self.keys))


def new_keyring(chance: Callable[[int], bytes]) -> Keyring:
    """A keyring with one key. ``chance(n)`` gives n octets fit for keys."""
    return Keyring((_new_key(chance),))


def _new_key(chance: Callable[[int], bytes]) -> MasterKey:
    return MasterKey(chance(4).hex(), chance(KEY_OCTETS))


def _derive(key: MasterKey, purpose: str, epoch: int) -> bytes:
    info = f"sesrelay {purpose} {epoch}".encode()
    return HKDF(SHA256(), KEY_OCTETS, salt=None, info=info).derive(key.key)


def load(path: Path) -> Keyring:
    """Reads a keyring file. KeyringMissing, KeyringTooOpen, KeyringDamaged; KeyringError for the system's refusals."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KeyringMissing(f"keyring {path} is missing: without it no stored secret can be read") from None
    except OSError as error:
        raise KeyringError(f"keyring {path}: {error.strerror}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise KeyringDamaged(f"keyring {path} is not a file")
        if stat.S_IMODE(mode) & 0o077:
            raise KeyringTooOpen(f"keyring {path} has mode {stat.S_IMODE(mode):04o}: chmod 600 it")
        return _parse(os.read(descriptor, LARGEST_OCTETS))
    except (ValueError, KeyError, TypeError):
        raise KeyringDamaged(f"keyring {path} is damaged: restore it from its backup") from None
    finally:
        os.close(descriptor)


def _parse(text: bytes) -> Keyring:
    document = json.loads(text)
    keys = tuple(MasterKey(key["id"], base64.b64decode(key["key"], validate=True)) for key in document["keys"])
    ids = {key.key_id for key in keys}
    whole = all(isinstance(key.key_id, str) and key.key_id and len(key.key) == KEY_OCTETS for key in keys)
    if document["format"] != FORMAT or not keys or len(ids) != len(keys) or not whole:
        raise ValueError("not a keyring of this format")
    return Keyring(keys)


def create(path: Path, keyring: Keyring) -> None:
    """Writes a new keyring file (0600), durably. FileExistsError: there is one, which is left alone; OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_text(keyring))
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise
    _sync_folder(path)


def replace(path: Path, keyring: Keyring) -> None:
    """Puts a rotated keyring in the place of the old file: at any moment one of the two is there, whole. OSError."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    create(new, keyring)
    new.rename(path)
    _sync_folder(path)


def _text(keyring: Keyring) -> bytes:
    keys = [{"id": key.key_id, "key": base64.b64encode(key.key).decode()} for key in keyring.keys]
    return json.dumps({"format": FORMAT, "keys": keys}, indent=2).encode() + b"\n"


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_value(keyring: Keyring) -> str:
    """What the database keeps to know its keyring by: says nothing about the keys."""
    return _check_value(keyring.newest)


def _check_value(key: MasterKey) -> str:
    return f"{key.key_id}:{_derive(key, 'check', 0).hex()}"


def verify(keyring: Keyring, value: str) -> None:
    """WrongKeyring unless ``value`` was made by a key of this keyring."""
    key = keyring.find(value.partition(":")[0])
    if key is None or not hmac.compare_digest(_check_value(key), value):
        raise WrongKeyring("the keyring is not the one that this database was made with: nothing was opened")

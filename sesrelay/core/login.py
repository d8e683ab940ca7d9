"""Letting a client in: whose access key it is, whether the password belongs to it, whether it is of any use here.

An unknown key costs the same work as a known one, an inactive key and a wrong password the same as a right one: the
answer and its time tell nothing about which it was (SMTP-4). Trouble of our own never says that a password is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from sesrelay.model.account import AccountFacts, KeyStatus, Login
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import permission
from sesrelay.rules.credentials import password_matches
from sesrelay.store import secrets
from sesrelay.store.credentials import FoundKey, StoredKey
from sesrelay.store.errors import UnknownAccount
from sesrelay.store.keyring import Keyring

log = structlog.get_logger()
_TABLE: Final = "access_keys"
_KEY_ID: Final = re.compile(r"AKIA[A-Z0-9]{16}")
_NOBODY: Final = "AKIA2222222222222222"
"""A key id that no key has: what stands in for a key that does not exist."""


class LoginStore(Protocol):
    """What logging in needs of the store."""

    async def find_key(self, access_key_id: str, region: str) -> FoundKey | None: ...

    async def facts(self, account_id: str, region: str, *, version: int) -> AccountFacts: ...


class LoginDesk:
    """Where credentials are looked at; ``login`` is all of it."""

    def __init__(self, store: LoginStore, keyring: Keyring | None, chance: Callable[[int], bytes]) -> None:
        """``keyring`` None: the master key is missing; every login gets LOGIN_UNAVAILABLE."""
        self._store = store
        self._keyring = keyring
        self._nobody = None if keyring is None else _nobody(keyring, chance)

    async def login(self, access_key_id: str, password: bytes, region: str, client_address: str = "") -> Login:
        """For whom the session speaks. ``password``: octets as the client sent them, base64 decoded by the front.

        Raises Refused: BAD_CREDENTIALS, NOT_SUBSCRIBED, MAY_NOT_SEND, LOGIN_UNAVAILABLE.
        """
        try:
            login, version = await self._login(access_key_id, password, region)
            await self._check_permission(login, region, client_address, version)
            return login
        except Refused:
            raise
        except Exception as trouble:
            log.exception("login unavailable", access_key_id=_sayable(access_key_id))
            raise Refused(Refusal.LOGIN_UNAVAILABLE) from trouble

    async def _login(self, access_key_id: str, password: bytes, region: str) -> tuple[Login, int]:
        """Whose the key is, and the version of the facts that its account had then."""
        if self._keyring is None or self._nobody is None:
            raise Refused(Refusal.LOGIN_UNAVAILABLE)
        wanted = access_key_id if access_key_id.isascii() and access_key_id.isalnum() else ""
        found = await self._store.find_key(wanted, region)
        key = self._nobody if found is None else found.key
        secret = secrets.unseal(self._keyring, _TABLE, key.access_key_id, key.sealed).decode()
        matches = password_matches(secret, region, password)
        if found is None or not matches or key.status is not KeyStatus.ACTIVE:
            raise Refused(Refusal.BAD_CREDENTIALS)
        return Login(key.account_id, key.user_name, key.access_key_id), found.facts_version

    async def _check_permission(self, login: Login, region: str, client_address: str, version: int) -> None:
        """SMTP-14, CRED-5: only who has the right password learns why it is of no use."""
        try:
            facts = await self._store.facts(login.account_id, region, version=version)
        except UnknownAccount:
            raise Refused(Refusal.NOT_SUBSCRIBED) from None
        if facts.closed:
            raise Refused(Refusal.NOT_SUBSCRIBED)
        holder = facts.active_keys.get(login.access_key_id)
        if holder is None:  # taken back while we looked
            raise Refused(Refusal.BAD_CREDENTIALS)
        if not permission.may_log_in(holder, facts, client_address):
            raise Refused(Refusal.MAY_NOT_SEND)


def _sayable(access_key_id: str) -> str:
    """For a log. What is no key id may be a password: people take one for the other."""
    return access_key_id if _KEY_ID.fullmatch(access_key_id) else "(no access key id)"


def _nobody(keyring: Keyring, chance: Callable[[int], bytes]) -> StoredKey:
    """A key that nobody has, sealed as every other: opening it costs what opening a real one costs."""
    sealed = secrets.seal(keyring, _TABLE, _NOBODY, chance(20).hex().encode(), chance)
    return StoredKey(_NOBODY, "", "", KeyStatus.INACTIVE, sealed, 0)

"""An account in a region: what the rules have to know of it before they can say yes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from sesrelay.model.clock import Micros
from sesrelay.model.policy import KeyHolder


class KeyStatus(StrEnum):
    """Of an access key, in IAM's words."""

    ACTIVE = "Active"
    INACTIVE = "Inactive"


@dataclass(frozen=True, slots=True)
class Login:
    """For whom a session speaks: the outcome of a successful AUTH."""

    account_id: str
    user_name: str
    access_key_id: str


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A credential as it is stored; the secret is in the clear only inside this process (CRED-2)."""

    access_key_id: str
    account_id: str
    user_name: str
    status: KeyStatus
    secret: str = field(repr=False)
    created_at: Micros = 0


@dataclass(frozen=True, slots=True)
class KeyListing:
    """A credential as lists show it: without its secret."""

    access_key_id: str
    account_id: str
    user_name: str
    status: KeyStatus
    created_at: Micros


@dataclass(frozen=True, slots=True)
class AccountStanding:
    """An account in one region, as its operator sees it."""

    account_id: str
    email: str
    closed: bool
    created_at: Micros
    region: str
    opened: bool
    suspended: bool
    production: bool
    quota: int
    """Recipients in 24 hours; -1: unlimited."""
    rate: float
    """Recipients a second; -1: unlimited."""
    used_24_hours: int
    pace: bool = False
    """Mail that comes too fast is taken, and sent at ``rate`` (BEY-2)."""


@dataclass(frozen=True, slots=True)
class VerifiedIdentities:
    """Identities that are verified in one region. Addresses as spelled (ID-2); domains in lower case."""

    addresses: frozenset[str]
    domains: frozenset[str]


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What acceptance needs to know, as of ``version`` (facts_version of the row that accept locks)."""

    account_id: str
    region: str
    version: int
    closed: bool
    suspended: bool
    production: bool
    """False: the account is in the sandbox (LIM-1)."""
    quota: int
    """Recipients in 24 hours; -1: unlimited."""
    rate: float
    """Recipients a second."""
    verified: VerifiedIdentities
    active_keys: Mapping[str, KeyHolder]
    """Access keys that are switched on, and what their users' policies are."""
    pace: bool = False
    """Mail that comes too fast is taken, and sent at ``rate`` (BEY-2)."""


class LimitState(NamedTuple):
    """The running count of an (account, region); the only part of it that acceptance changes (LIM-5)."""

    tokens: int
    """Millionths of a recipient left in the bucket; negative: a debt to be earned back (LIM-3)."""
    token_at: Micros
    """When ``tokens`` was right. Moves backwards only after a clock that was far ahead."""
    used_24_hours: int
    """Recipients counted in the rolling window of minutes (LIM-2)."""
    due: tuple[Micros, ...] = ()
    """Of the message that was just judged: when each recipient may be sent (BEY-2); none: all at once."""

"""IAM policies as they are kept: documents of users and groups, and who holds an access key (CRED-4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sesrelay.model.clock import Micros


class PolicyDocument(NamedTuple):
    """A policy as it was set: the JSON text is kept as somebody wrote it."""

    name: str
    text: str
    group: str = ""
    """The group that it comes through; "": it is the user's own."""


class Owner(NamedTuple):
    """Whose a policy is: a user's, or a group's."""

    name: str
    is_group: bool = False

    def __str__(self) -> str:
        return f"{'group' if self.is_group else 'user'} {self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class KeyHolder:
    """The user behind an access key, with every policy that says what the user may do.

    Compared by identity, so that what the rules make of it can be remembered at no cost.
    """

    user_name: str
    """"" for the account's root user, who may do everything (CRED-7)."""
    documents: tuple[PolicyDocument, ...] = ()


@dataclass(frozen=True, slots=True)
class UserListing:
    """A user as lists show it."""

    user_name: str
    created_at: Micros
    keys: int
    active_keys: int
    has_password: bool
    """For the console."""
    groups: tuple[str, ...]
    policies: tuple[str, ...]
    """Names of the user's own policies."""


@dataclass(frozen=True, slots=True)
class GroupListing:
    """A group as lists show it."""

    group_name: str
    created_at: Micros
    users: tuple[str, ...]
    policies: tuple[str, ...]

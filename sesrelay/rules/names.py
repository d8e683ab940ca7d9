"""Names of users, groups and policies, in the characters that IAM allows."""

from __future__ import annotations

import re
from typing import Final

from sesrelay.model.failure import Failed, Failure

LONGEST_USER_NAME: Final = 64
LONGEST_NAME: Final = 128
_NAME: Final = re.compile(r"[A-Za-z0-9_+=,.@-]+")


def check_user(name: str) -> None:
    """Failed unless it may be a user's name (CRED-3)."""
    _check("user", name, LONGEST_USER_NAME)


def check_group(name: str) -> None:
    """Failed unless it may be a group's name."""
    _check("group", name, LONGEST_NAME)


def check_policy(name: str) -> None:
    """Failed unless it may be a policy's name."""
    _check("policy", name, LONGEST_NAME)


def _check(kind: str, name: str, longest: int) -> None:
    if len(name) > longest or not _NAME.fullmatch(name):
        shown = name if len(name) <= longest else f"{name[:longest]}…"
        text = f"{kind} name {shown!r}: 1 to {longest} of A-Z a-z 0-9 _ + = , . @ - are wanted"
        raise Failed(Failure.INVALID, text)

"""Why an administrative verb could not be done, by kind, with one line of text for people."""

from __future__ import annotations

from enum import StrEnum


class Failure(StrEnum):
    """The kinds; a front maps them to its own words (IAM: NoSuchEntity, EntityAlreadyExists, LimitExceeded …)."""

    UNKNOWN = "unknown"
    EXISTS = "exists"
    LIMIT = "limit"
    INVALID = "invalid"
    CONFLICT = "conflict"


class Failed(Exception):  # noqa: N818 - named as Refused is
    """The verb changed nothing; ``str`` says why, for the person who asked."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure

"""What can go wrong with the store, by name, each with one line of text for people."""

# ruff: noqa: N818 - a name says what is the matter; that it is an error, the base class says

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class StoreError(Exception):
    """The store cannot do what was asked; ``str`` is one line for people."""


class DatabaseAway(StoreError):
    """The database cannot be reached, or answers with trouble that is not ours to understand. Ask again later."""


class DatabaseUnusable(DatabaseAway):
    """Nothing is in the database's place, or something else: it does not come back without somebody's help."""


class CommitUnknown(DatabaseAway):
    """The answer to a commit was lost, and nobody could say in time whether it happened."""

    def __init__(self, result: Any, proof: Callable[[Any], bool]) -> None:
        """``result``: of the transaction, if it happened; ``proof``: asks a later connection whether it did."""
        super().__init__("the answer to a commit was lost")
        self.result = result
        self.proof = proof


class StorageFull(StoreError):
    """No room is left where the store writes."""


class SchemaTooNew(StoreError):
    """The database was made by a newer program."""


class SchemaTooOld(StoreError):
    """The database waits for ``sesrelay migrate``."""


class SchemaUnknown(StoreError):
    """There are tables of ours, and nothing that says of which version."""


class SqliteTooOld(StoreError):
    """This SQLite can corrupt a write-ahead log that two processes use."""


class WrongKeyring(StoreError):
    """The secrets in the database were encrypted under a master key that the keyring does not have."""


class RegionInUse(StoreError):
    """The configuration has lost a region in which mail still waits."""


class NotDurable(StoreError):
    """The database is set up so that it may forget what it has committed."""


class UnknownAccount(StoreError, LookupError):
    """No such account, or it has not opened that region."""

"""One transaction as the rare verbs see it: Core statements in, rows out, and one moment that is "now"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Executable, update

from sesrelay.model.clock import Micros
from sesrelay.store.schema import account_regions

Dialect = Literal["sqlite", "postgresql"]
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class Transaction:
    """What a function given to ``Store.read`` or ``Store.write`` works with; it neither commits nor rolls back."""

    def __init__(self, connection: Connection, dialect: Dialect, now: Micros) -> None:
        self.connection = connection
        self.dialect = dialect
        self.now = now

    def execute(self, statement: Executable, parameters: Parameters = None) -> list[Any]:
        """Runs a Core statement; its rows (named tuples of SQLAlchemy), or none when it gives none."""
        result = self.connection.execute(statement, parameters)
        return list(result.all()) if result.returns_rows else []

    def change(self, statement: Executable, parameters: Parameters = None) -> int:
        """Runs a Core INSERT, UPDATE or DELETE; how many rows it touched."""
        return int(self.connection.execute(statement, parameters).rowcount)

    def bump_facts(self, account_id: str, region: str | None = None) -> None:
        """Everybody's cached facts of the account are out of date from the commit on. None: in all regions."""
        rows = account_regions.c
        changed = update(account_regions).where(rows.account_id == account_id)
        if region is not None:
            changed = changed.where(rows.region == region)
        self.connection.execute(changed.values(facts_version=rows.facts_version + 1))

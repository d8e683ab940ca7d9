"""The hot statements as PostgreSQL wants them: many rows are arrays side by side, so one plan serves every batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import psycopg

from sesrelay.store.hot import Hot, Row, Rows


@lru_cache(maxsize=512)
def _unnest(types: tuple[str, ...]) -> str:
    # Octets travel as they are; as text they would be written in hexadecimal, twice as long.
    arrays = [f"{'%b' if kind == 'bytea' else '?'}::{kind}[]" for kind in types]
    return f"SELECT * FROM unnest({', '.join(arrays)})"


@lru_cache(maxsize=2048)
def _formatted(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


class PostgresHot(Hot):
    """On a psycopg connection in autocommit mode."""

    least = "least"
    greatest = "greatest"
    lock = "FOR UPDATE OF a"
    skip_locked = "FOR UPDATE SKIP LOCKED"

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__()
        self._cursor = connection.cursor()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        self.statements += 1
        cursor = self._cursor.execute(_formatted(sql), parameters, prepare=True)
        return cursor.fetchall() if cursor.description else []

    def _rows(self, types: tuple[str, ...], count: int) -> str:  # noqa: ARG002 - arrays have any length
        return _unnest(types)

    def _flat(self, rows: Rows) -> list[Any]:
        return [list(column) for column in zip(*rows, strict=True)]

    def _skip_locked_of(self, table: str) -> str:
        return f" FOR UPDATE OF {table} SKIP LOCKED"

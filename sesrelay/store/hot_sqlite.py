"""The hot statements as SQLite wants them: many rows are ``VALUES``, the write lock is the transaction's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from sesrelay.store.hot import Hot, Row, Rows

if TYPE_CHECKING:
    from pysqlite3 import dbapi2 as sqlite


@lru_cache(maxsize=2048)
def _values(width: int, count: int) -> str:
    return "VALUES " + ", ".join(["(" + ", ".join("?" * width) + ")"] * count)


class SqliteHot(Hot):
    """On a pysqlite3 connection in autocommit mode."""

    least = "min"
    greatest = "max"
    lock = ""
    skip_locked = ""

    def __init__(self, connection: sqlite.Connection) -> None:
        super().__init__()
        self._cursor = connection.cursor()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        self.statements += 1
        return self._cursor.execute(sql, parameters).fetchall()  # type: ignore[no-any-return]

    def _rows(self, types: tuple[str, ...], count: int) -> str:
        return _values(len(types), count)

    def _flat(self, rows: Rows) -> list[Any]:
        return list(chain.from_iterable(rows))

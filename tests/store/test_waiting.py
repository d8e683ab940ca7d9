"""An operator's look into the queue costs what it shows, never what there is."""

from __future__ import annotations

from itertools import product

import pytest
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import create_engine
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from sesrelay.model.message import MessageId
from sesrelay.store.schema import metadata
from sesrelay.store.waiting import _ORDER, Selection, Shelf, _page

NARROWED = [
    Selection(),
    Selection(domain="a.example"),
    Selection(account_id="1"),
    Selection(domain="a.example", account_id="1"),
]


@pytest.mark.parametrize(("shelf", "selection", "first"), list(product(Shelf, NARROWED, (True, False))))
def test_a_page_walks_its_index_from_where_the_last_one_ended(shelf: Shelf, selection: Selection, first: bool) -> None:
    plan = planned(shelf, selection, first=first)
    assert f"USING INDEX recipients_{shelf.value}" in plan
    assert "TEMP B-TREE" not in plan
    assert first or ">(?" in plan.replace("( ?", "(?")


@pytest.mark.parametrize("shelf", Shelf)
def test_one_message_is_found_by_its_key(shelf: Shelf) -> None:
    selection = Selection(message_id=MessageId.make(0, 0, bytes(16)))
    assert "USING PRIMARY KEY (message_id=?)" in planned(shelf, selection, first=True)


def planned(shelf: Shelf, selection: Selection, *, first: bool) -> str:
    """SQLite's plan for a page."""
    after = None if first else tuple("x" if name in ("domain", "account_id") else 1 for name in _ORDER[shelf])
    statement = _page(shelf, selection, after).compile(dialect=SQLiteDialect(paramstyle="qmark"))
    connection = sqlite.connect(":memory:")
    engine = create_engine("sqlite+pysqlite://", module=sqlite, creator=lambda: connection)
    metadata.create_all(engine)
    values = [statement.params[name] for name in statement.positiontup or ()]
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    engine.dispose()
    connection.close()
    return " / ".join(row[3] for row in rows)

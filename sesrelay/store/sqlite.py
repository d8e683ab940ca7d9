"""The embedded database: a WAL that is synced at each commit, and one writer at a time over all processes.

Every write and every checkpoint holds an flock on the data folder's ``write.lock``: SQLite 3.7.0 to 3.51.2 can corrupt
a WAL that two connections write and checkpoint at the same instant (sqlite.org/wal.html, "WAL-reset bug"), and those
who wait for the lock come to it in turn, which SQLite's busy handler does not see to. Checkpoints run after the answers
have gone out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

import structlog
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from sesrelay.model import folder
from sesrelay.model.message import MessageId
from sesrelay.store.errors import DatabaseAway, DatabaseUnusable, SqliteTooOld, StorageFull, StoreError
from sesrelay.store.hot_sqlite import SqliteHot
from sesrelay.store.session import Session
from sesrelay.store.transaction import Dialect

LOCK_NAME: Final = "write.lock"
NEXT_NAME: Final = "write.next"
OLDEST_SAFE: Final = (3, 51, 3)
CHECKPOINT_PAGES: Final = 4000
"""Of 4 KB: a checkpoint copies each page once, however often it was written since the last."""
_CHECKED_EVERY_STATEMENTS: Final = 200
_STATEMENTS_KEPT: Final = 512

# Of whatever is no exact int, float or str the driver asks first how it wants to be stored, at five times the cost of
# storing it. An answer ready at hand is cheap when it is given in C.
sqlite.register_adapter(bytes, bytes)
sqlite.register_adapter(MessageId, bytes)
sqlite.register_adapter(type(None), {}.get)

log = structlog.get_logger()


class WriteLock:
    """The data folder's one pen, passed around between processes and between the threads of this one.

    A flock that is let go belongs to whoever asks for it first, and the one who is woken comes after the one who never
    slept: on a busy machine somebody who writes without pause kept others from it for seconds at a time. So whoever
    waits for the pen holds a second lock meanwhile, and nobody can ask for the pen before him.
    """

    def __init__(self, data_dir: Path) -> None:
        self._thread = threading.Lock()
        self._descriptor = _open_lock(data_dir / LOCK_NAME)
        try:
            self._next = _open_lock(data_dir / NEXT_NAME)
            _give_to_owner_of(self._descriptor, self._next)
        except BaseException:
            os.close(self._descriptor)
            raise

    def acquire(self) -> None:
        """Waits for its turn."""
        self._thread.acquire()
        try:
            fcntl.flock(self._next, fcntl.LOCK_EX)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            finally:
                fcntl.flock(self._next, fcntl.LOCK_UN)
        except BaseException:
            self._thread.release()
            raise

    def release(self) -> None:
        """Lets the next one write."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._thread.release()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """With the pen in hand."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def close(self) -> None:
        """After the last session."""
        os.close(self._descriptor)
        os.close(self._next)


def _open_lock(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _give_to_owner_of(known: int, other: int) -> None:
    """In a data folder of before root may be the first who makes the second lock: the relay's own user needs it."""
    owner, found = os.fstat(known), os.fstat(other)
    if found.st_uid == os.geteuid() == 0 != owner.st_uid:
        os.fchown(other, owner.st_uid, owner.st_gid)


def check_version(found: tuple[int, ...] = sqlite.sqlite_version_info) -> None:
    """SqliteTooOld for a library that can damage what it was given."""
    if found < OLDEST_SAFE:
        raise SqliteTooOld(
            f"SQLite {'.'.join(map(str, found))} can corrupt the database that several processes write: "
            f"{'.'.join(map(str, OLDEST_SAFE))} or newer is needed (pip install -U pysqlite3)"
        )


class SqliteSession(Session):
    """A connection to the file in the data folder. ``writes`` False: for reading only; ``make``: it may be new."""

    dialect: ClassVar[Dialect] = "sqlite"
    answer_can_be_lost: ClassVar[bool] = False

    def __init__(self, data_dir: Path, lock: WriteLock, *, writes: bool, make: bool) -> None:
        self._lock = lock
        self._writing = False
        self._checked_at = 0
        # Opening may recover the WAL of a dead process, which is a kind of writing.
        with lock.held():
            if make:
                _make(data_dir / folder.DATABASE)
            self._connection = sqlite.connect(
                f"{(data_dir / folder.DATABASE).absolute().as_uri()}?mode=rw",  # rw: never makes an empty one
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=_STATEMENTS_KEPT,
                timeout=10,
            )
            for pragma in _pragmas(writes=writes):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
        super().__init__(SqliteHot(self._connection), _core(self._connection))

    def await_turn(self) -> None:
        if not self._writing:
            self._lock.acquire()
            self._writing = True

    def end_turn(self) -> None:
        self._let_go()

    def begin(self) -> None:
        self.await_turn()
        self.hot.run("BEGIN IMMEDIATE")

    def begin_reading(self) -> None:
        self.hot.run("BEGIN")

    def commit(self) -> None:
        self.hot.run("COMMIT")
        self._let_go()

    def rollback(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite.Error:
            self.broken = True
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._writing:
            self._writing = False
            self._lock.release()

    def trouble(self, error: Exception) -> StoreError | None:
        cause = _original(error)
        if not isinstance(cause, sqlite.Error):
            return None
        code = _code(cause)
        if code == sqlite.SQLITE_FULL:
            return StorageFull(f"the database cannot grow: {cause}")
        if code in _OURS or not code:  # without a code it comes from the driver, about a parameter
            return None
        # After a failed write or sync only a new connection knows what is on the disk.
        self.broken = True
        kind = DatabaseUnusable if code in _NO_DATABASE else DatabaseAway
        return kind(f"the database gives trouble: {cause}")

    def worth_repeating(self, error: Exception) -> bool:
        return _code(_original(error)) in (sqlite.SQLITE_BUSY, sqlite.SQLITE_LOCKED)

    def tidy(self) -> None:
        if self.hot.statements - self._checked_at < _CHECKED_EVERY_STATEMENTS:
            return
        self._checked_at = self.hot.statements
        try:
            _, pages, done = self._connection.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
            if pages - done > CHECKPOINT_PAGES:
                with self._lock.held():
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite.Error as error:
            self.broken = True
            log.warning("checkpoint failed", error=str(error))

    def close(self) -> None:
        self._let_go()
        # Whoever closes the last connection writes a checkpoint.
        try:
            with self._lock.held():
                self._connection.close()
        except sqlite.Error as error:
            log.warning("closing the database failed", error=str(error))


def check_there(data_dir: Path) -> None:
    """DatabaseUnusable when there is no file to open. OSError."""
    if not (data_dir / folder.DATABASE).is_file():
        raise DatabaseUnusable(folder.no_database(data_dir))


def _make(file: Path) -> None:
    """Envelopes and subjects are nobody else's; SQLite gives its other files the mode of this one.

    One that is there is not touched: closing a descriptor of it would take this process's locks off (fcntl(2)).
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o600))


def connect(data_dir: Path, lock: WriteLock, *, writes: bool = True, make: bool = False) -> SqliteSession:
    """A new connection; with ``make`` to a new database, where there is none. DatabaseAway, DatabaseUnusable."""
    try:
        return SqliteSession(data_dir, lock, writes=writes, make=make)
    except sqlite.Error as error:
        check_there(data_dir)
        file = data_dir / folder.DATABASE
        if _code(error) in _NO_DATABASE:
            raise DatabaseUnusable(f"{file} cannot be used: {error}; put its backup there") from error
        if not (os.access(file, os.R_OK | os.W_OK) and os.access(data_dir, os.W_OK)):
            raise DatabaseUnusable(f"{file} cannot be used: this user may not write it, or not its folder") from error
        raise DatabaseAway(f"{file} cannot be opened: {error}") from error


_OURS: Final = {
    sqlite.SQLITE_ERROR,
    sqlite.SQLITE_CONSTRAINT,
    sqlite.SQLITE_MISMATCH,
    sqlite.SQLITE_TOOBIG,
    sqlite.SQLITE_RANGE,
    sqlite.SQLITE_MISUSE,
}
"""Result codes that speak of what was asked, not of the disk."""
_NO_DATABASE: Final = {sqlite.SQLITE_NOTADB, sqlite.SQLITE_CORRUPT}


def _code(error: BaseException) -> int:
    """The primary result code; 0 when SQLite gave none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _original(error: Exception) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _pragmas(*, writes: bool) -> Iterator[str]:
    yield "auto_vacuum = INCREMENTAL"  # only before the first table; later it says nothing
    yield "journal_mode = WAL"
    yield "synchronous = FULL"  # NORMAL may forget accepted mail
    yield "wal_autocheckpoint = 0"
    yield f"journal_size_limit = {16 * CHECKPOINT_PAGES * 1024}"
    yield "cache_size = -32768"
    yield "foreign_keys = OFF"
    if not writes:
        yield "query_only = ON"


def _core(connection: sqlite.Connection) -> Connection:
    """SQLAlchemy's view of it. Made outside of a transaction, because getting acquainted ends one."""
    engine = create_engine(
        "sqlite+pysqlite://",
        module=sqlite,
        creator=lambda: connection,
        poolclass=StaticPool,
        pool_reset_on_return=None,
        hide_parameters=True,  # they may be secrets, and errors are logged
    )
    return engine.connect()

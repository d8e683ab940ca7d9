"""Which database it is, how to connect to it, and whether it is one that this program may work with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import func, insert, inspect, literal, select, text

from sesrelay.model.clock import Micros
from sesrelay.model.message import RecipientState
from sesrelay.store import keyring as keyrings
from sesrelay.store.errors import RegionInUse, SchemaTooNew, SchemaTooOld, SchemaUnknown
from sesrelay.store.keyring import Keyring
from sesrelay.store.migrations import REVISIONS
from sesrelay.store.schema import account_regions, metadata, outbox, statistics, store_state
from sesrelay.store.session import Session

KEYRING_CHECK: Final = "keyring-check"
"""Key in store_state of the value that tells a wrong keyring."""

_FINAL: Final = tuple(state for state in RecipientState if state is not RecipientState.QUEUED)


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Where the store is, and who opens it."""

    database: str
    """``sqlite``, or ``postgresql://user:password@host/name``."""
    data_dir: Path
    node: str
    incarnation: str
    """This process's life, never used again."""
    keyring: Keyring | None
    """None: secrets are not looked at."""
    regions: tuple[str, ...] | None = None
    """Those that are served; None: whoever opens the store serves none."""

    @property
    def embedded(self) -> bool:
        """Whether everything lies in the data folder."""
        return self.database == "sqlite"


class Database:
    """Makes connections; closes what they share."""

    def __init__(self, options: StoreOptions, *, make: bool = False) -> None:
        """``make``: an embedded one may be new. OSError when the data folder cannot be used; StoreError."""
        self._close: Callable[[], None] = lambda: None
        if options.embedded:
            from sesrelay.store.sqlite import WriteLock, check_there, check_version, connect

            check_version()
            if not make:
                check_there(options.data_dir)
            lock = WriteLock(options.data_dir)
            self.connect: Callable[[], Session] = lambda: connect(options.data_dir, lock, make=make)
            self.connect_reading: Callable[[], Session] = lambda: connect(options.data_dir, lock, writes=False)
            self._close = lock.close
        else:
            from sesrelay.store import postgres

            self.connect = lambda: postgres.connect(options.database)
            self.connect_reading = lambda: postgres.connect(options.database, writes=False)

    def close(self) -> None:
        """After the last connection."""
        self._close()


def check_schema(session: Session, now: Micros) -> None:
    """SchemaTooNew or SchemaTooOld unless the database has exactly our tables. Inside a transaction."""
    revision = check_not_newer(session, now)
    if revision is None:
        raise SchemaTooOld("the database is empty: sesrelay init or sesrelay migrate makes its tables")
    if revision != REVISIONS[-1]:
        raise SchemaTooOld(f"the database has schema {revision}, this sesrelay needs {REVISIONS[-1]}: sesrelay migrate")


def check_not_newer(session: Session, now: Micros) -> str | None:
    """The revision of the database's schema, None when it is empty. SchemaTooNew, SchemaUnknown."""
    revision = _revision(session, now)
    if revision is not None and revision not in REVISIONS:
        raise SchemaTooNew(f"the database was made by a newer sesrelay (its schema is {revision}): nothing was touched")
    return revision


def _revision(session: Session, now: Micros) -> str | None:
    tx = session.transaction(now)
    tables = set(inspect(tx.connection).get_table_names())
    if "alembic_version" in tables and (rows := tx.execute(text("SELECT version_num FROM alembic_version"))):
        return str(rows[0][0])
    if tables & metadata.tables.keys():
        raise SchemaUnknown("the database has tables but no version: nothing was touched; put its backup in its place")
    return None


def check_keyring(session: Session, now: Micros, keyring: Keyring) -> None:
    """WrongKeyring unless it is the one that the database was made with. Inside a transaction."""
    value = select(store_state.c.value).where(store_state.c.key == KEYRING_CHECK)
    found = session.transaction(now).execute(value)
    if found:
        keyrings.verify(keyring, found[0][0])


def regions_in_use(session: Session, now: Micros, regions: Sequence[str]) -> Iterator[RegionInUse]:
    """The regions that are served no longer and in which mail waits. Inside a transaction.

    The books tell how much; they are opened only for regions that some account has and the configuration has not.
    """
    tx = session.transaction(now)
    region = account_regions.c.region
    gone = [row.region for row in tx.execute(select(region).where(region.not_in(regions)).distinct().order_by(region))]
    final = sum((statistics.c[state.value] for state in _FINAL), start=literal(0))
    for name in gone:
        accounts = select(account_regions.c.account_id).where(region == name)
        counted = select(func.coalesce(func.sum(statistics.c.accepted - final), 0)).where(
            statistics.c.account_id.in_(accounts), statistics.c.region == name
        )
        queued = int(tx.execute(counted)[0][0])
        untold = int(tx.execute(select(func.count()).select_from(outbox).where(outbox.c.region == name))[0][0])
        if queued or untold:
            yield RegionInUse(
                f"region {name} is configured no longer, but mail to {queued} recipients waits in it and "
                f"{untold} notices to senders: put it back until they are gone (sesrelay queue list shows them)"
            )


def adopt_keyring(session: Session, now: Micros, keyring: Keyring) -> None:
    """The database's first keyring leaves its check value; later ones are checked. Inside a writing transaction."""
    tx = session.transaction(now)
    if tx.execute(select(store_state.c.key).where(store_state.c.key == KEYRING_CHECK)):
        check_keyring(session, now, keyring)
    else:
        tx.change(insert(store_state).values(key=KEYRING_CHECK, value=keyrings.check_value(keyring)))

"""Making the tables of a new database, and bringing an older one up to this program's."""

from __future__ import annotations

from sesrelay.model.clock import Clock
from sesrelay.store import migrations
from sesrelay.store.database import Database, StoreOptions, adopt_keyring, check_not_newer


def migrate(options: StoreOptions, clock: Clock) -> list[str]:
    """Applies the migrations that are missing; their revisions. Safe to run beside others. StoreError, OSError."""
    database = Database(options, make=True)
    try:
        session = database.connect()
        try:
            session.begin()
            now = clock.now()
            check_not_newer(session, now)
            applied = migrations.upgrade(session.transaction(now).connection)
            if options.keyring is not None:
                adopt_keyring(session, now, options.keyring)
            session.commit()
            return applied
        except Exception as error:
            trouble = session.trouble(error)
            if trouble is not None:
                raise trouble from error
            raise
        finally:
            session.rollback()
            session.close()
    finally:
        database.close()

"""Every reason against working with a database, found without changing anything in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sesrelay.model.clock import Clock, Micros
from sesrelay.store.database import Database, StoreOptions, check_keyring, check_schema, regions_in_use
from sesrelay.store.errors import StoreError
from sesrelay.store.session import Session


def look(options: StoreOptions, clock: Clock) -> list[StoreError]:
    """All of them. Nothing is made or migrated; it may be done beside a running relay. OSError."""
    try:
        with (
            contextlib.closing(Database(options)) as database,
            contextlib.closing(database.connect_reading()) as session,
        ):
            found = list(faults(session, options, clock.now()))
            session.rollback()
            return found
    except StoreError as fault:
        return [fault]


def faults(session: Session, options: StoreOptions, now: Micros) -> Iterator[StoreError]:
    """As ``look``, one by one, on a connection; begins a transaction. Without our tables nothing else is looked at."""
    try:
        session.begin_reading()
        yield from _faults(session, options, now)
    except StoreError as fault:
        yield fault
    except Exception as error:
        trouble = session.trouble(error)
        if trouble is None:
            raise
        trouble.__cause__ = error
        yield trouble


def _faults(session: Session, options: StoreOptions, now: Micros) -> Iterator[StoreError]:
    check_schema(session, now)
    if options.keyring is not None:
        try:
            check_keyring(session, now, options.keyring)
        except StoreError as fault:
            yield fault
    if options.regions is not None:
        yield from regions_in_use(session, now, options.regions)

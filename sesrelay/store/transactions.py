"""Transactions of one connection, each run until it is known what became of it.

One that another stood in the way of, or whose connection had died, is run again. One whose commit was sent and never
answered is asked after on a new connection, so that nothing is said to be written that is not, nor the reverse.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog

from sesrelay.model.clock import Clock, Micros
from sesrelay.store.errors import CommitUnknown, DatabaseAway
from sesrelay.store.session import Session

T = TypeVar("T")
Proof = Callable[[Session], bool]
"""Whether a commit happened whose answer was lost, as a new connection sees it."""

log = structlog.get_logger()


class Transactions:
    """Belongs to one thread; connects when there is something to do."""

    def __init__(self, connect: Callable[[], Session], clock: Clock) -> None:
        self._connect = connect
        self._clock = clock
        self._pause = threading.Event()
        self.session: Session | None = None
        """The connection, while there is one."""

    def run(self, job: Callable[[Session, Micros], T], proof: Proof | None) -> T:
        """Runs ``job`` in a transaction, again when another one stood in its way or the connection had died.

        ``proof`` None: the database is asked by the transaction's own number, which costs a statement. StoreError for
        our surroundings; what ``job`` raises passes through.
        """
        for tries_left in (2, 1, 0):
            session = self._connected()
            committing = False
            happened = proof
            try:
                session.begin()
                result = job(session, self._clock.now())
                happened = proof or partial(_was_committed, number=session.number())
                committing = True
                session.commit()
                return result
            except Exception as error:
                session.rollback()
                trouble = session.trouble(error)
                again = session.broken or session.worth_repeating(error)
                if session.broken:
                    self.close()
                if committing and session.broken and session.answer_can_be_lost:
                    assert happened is not None
                    known = self._happened(session, happened)
                    if known:
                        return result
                    if known is None:
                        raise CommitUnknown(result, happened) from error
                    raise DatabaseAway("the connection was lost before the commit") from error
                if again and tries_left:
                    continue
                if trouble is not None:
                    raise trouble from error
                raise
            except BaseException:
                session.rollback()
                raise
        raise AssertionError("unreachable")

    def _connected(self) -> Session:
        if self.session is None:
            self.session = self._connect()
        return self.session

    def close(self) -> None:
        """Gives the connection up; the next transaction makes another."""
        if self.session is not None:
            self.session.close()
            self.session = None

    def _happened(self, lost: Session, proof: Proof) -> bool | None:
        """Whether a commit without an answer was one, within 10 seconds; None when nobody can tell."""
        deadline = self._clock.monotonic() + 10
        for _ in range(50):
            try:
                # Two transactions: the second sees everything that was committed before the first one's answer.
                if not self._read(lambda session: session.still_working(lost)):
                    return self._read(proof)
            except Exception as error:  # noqa: BLE001 - any trouble only means: not yet
                log.warning("asking after a lost commit", error=str(error))
                self.close()
            if self._clock.monotonic() > deadline:
                break
            self._pause.wait(0.2)
        return None

    def _read(self, question: Proof) -> bool:
        session = self._connected()
        session.begin_reading()
        try:
            return question(session)
        finally:
            session.rollback()


def _was_committed(session: Session, number: int | None) -> bool:
    return session.was_committed(number)

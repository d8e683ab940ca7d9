"""A connection to the database as the engine sees it: transactions, statements, and what an error means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from sqlalchemy import Connection

from sesrelay.model.clock import Micros
from sesrelay.store.errors import StoreError
from sesrelay.store.hot import Hot
from sesrelay.store.transaction import Dialect, Transaction


class Session(ABC):
    """One connection, used by one thread at a time. After ``broken`` nothing but ``close`` makes sense."""

    dialect: ClassVar[Dialect]
    answer_can_be_lost: ClassVar[bool]
    """True: a commit that failed may have happened (there is a network in between)."""

    def __init__(self, hot: Hot, core: Connection) -> None:
        """``core``: SQLAlchemy's view of the same connection, which leaves transactions alone."""
        self.hot = hot
        self.broken = False
        self._core = core

    def await_turn(self) -> None:  # noqa: B027 - not every database has one
        """Takes the write lock, where there is one, ahead of ``begin``."""

    def end_turn(self) -> None:  # noqa: B027
        """Gives it back when no transaction came of it."""

    @abstractmethod
    def begin(self) -> None:
        """Begins a transaction that may write; takes the write lock where there is one."""

    @abstractmethod
    def begin_reading(self) -> None:
        """Begins a transaction that sees one moment of the database and writes nothing."""

    @abstractmethod
    def commit(self) -> None:
        """Makes it durable."""

    @abstractmethod
    def rollback(self) -> None:
        """Leaves everything as it was. Never raises: a connection that cannot even do this is ``broken``."""

    @abstractmethod
    def trouble(self, error: Exception) -> StoreError | None:
        """What an error says of our surroundings; None: it is about what was asked. May set ``broken``."""

    @abstractmethod
    def worth_repeating(self, error: Exception) -> bool:
        """True: the transaction lost against another one and would do better a second time."""

    def still_working(self, lost: Session) -> bool:  # noqa: ARG002 - without a network none is ever lost
        """Whether the server is still at work for a connection that we have lost."""
        return False

    def number(self) -> int | None:
        """Of the transaction that was begun, for ``was_committed``; None: it has written nothing, or needs none."""
        return None

    def was_committed(self, number: int | None) -> bool:  # noqa: ARG002 - without a network nobody has to ask
        """Whether the transaction of that number was; also one that had nothing to write."""
        return True

    @abstractmethod
    def tidy(self) -> None:
        """Between transactions, when nobody waits for an answer: housekeeping of the connection's own. Never raises."""

    def transaction(self, now: Micros) -> Transaction:
        """The transaction that was begun, for functions with Core statements."""
        return Transaction(self._core, self.dialect, now)

    @abstractmethod
    def close(self) -> None:
        """Gives the connection up. Never raises."""

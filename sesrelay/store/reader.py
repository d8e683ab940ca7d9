"""Reading beside the writer: a few threads with a connection each, one moment of the database for each function."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sesrelay.model.clock import Clock
from sesrelay.store.errors import DatabaseAway
from sesrelay.store.hot import Hot
from sesrelay.store.session import Session
from sesrelay.store.transaction import Transaction

T = TypeVar("T")

THREADS: Final = 2


class Reader:
    """Runs functions that only read."""

    def __init__(self, connect: Callable[[], Session], clock: Clock, *, at_once: bool) -> None:
        """``at_once``: the database is in this process, so one row by its key is read sooner than a thread wakes."""
        self._connect = connect
        self._at_once = at_once
        self._here: Session | None = None
        self._clock = clock
        self._free: queue.LifoQueue[Session] = queue.LifoQueue()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store-reader")

    def open(self) -> None:
        """On embedded storage all connections are made before anybody needs them: on a full disk none can be."""
        if self._at_once:
            self._here = self._connect()
            for _ in range(THREADS):
                self._free.put(self._connect())

    async def run(self, function: Callable[[Transaction], T]) -> T:
        """The function's result, in a read-only transaction. StoreError; what the function raises."""
        return await self._submit(lambda session: function(session.transaction(self._clock.now())))

    async def run_hot(self, function: Callable[[Hot], T]) -> T:
        """As ``run``, for the hot statements."""
        return await self._submit(lambda session: function(session.hot))

    async def point(self, function: Callable[[Hot], T]) -> T:
        """As ``run_hot``, for one statement that finds one row by its key."""
        if not self._at_once:
            return await self.run_hot(function)
        if self._here is None:
            self._here = self._connect()
        try:
            return function(self._here.hot)
        except Exception as error:
            trouble = self._here.trouble(error)
            if self._here.broken:
                self._here.close()
                self._here = None
            if trouble is not None:
                raise trouble from error
            raise

    async def _submit(self, work: Callable[[Session], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)
        except RuntimeError as error:
            if "after shutdown" in str(error):
                raise DatabaseAway("the store is closed") from error
            raise

    def _read(self, work: Callable[[Session], T]) -> T:
        """In a thread; once more when the connection had died since it was used last."""
        try:
            session = self._free.get_nowait()
        except queue.Empty:
            session = self._connect()
        else:
            try:
                return self._try(session, work)
            except DatabaseAway:
                if not session.broken:
                    raise
            session = self._connect()
        return self._try(session, work)

    def _try(self, session: Session, work: Callable[[Session], T]) -> T:
        try:
            session.begin_reading()
            return work(session)
        except Exception as error:
            trouble = session.trouble(error)
            if trouble is not None:
                raise trouble from error
            raise
        finally:
            session.rollback()
            if session.broken:
                session.close()
            else:
                self._free.put(session)

    def close(self) -> None:
        """Waits for what is running, then gives the connections up."""
        self._threads.shutdown()
        if self._here is not None:
            self._here.close()
            self._here = None
        while not self._free.empty():
            self._free.get_nowait().close()

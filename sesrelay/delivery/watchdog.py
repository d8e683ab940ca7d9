"""Time limits by the injected clock: one task looks at everybody's deadline once a second.

A timer for each wait would cost more than the wait: limits are minutes, and nearly all of them are never reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from sesrelay.model.clock import Clock

T = TypeVar("T")


class Limited(Protocol):
    """Something that may take only so long."""

    deadline: float
    """On the monotonic clock."""

    def expire(self) -> None:
        """The deadline has passed; sets a new one or ends."""


class _Limit:
    """A task with a deadline."""

    def __init__(self, deadline: float, task: asyncio.Task[Any]) -> None:
        self.deadline = deadline
        self.expired = False
        self._task = task

    def expire(self) -> None:
        self.expired = True
        self._task.cancel()


class Watchdog:
    """Calls ``expire`` on whoever is past its deadline."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watched: set[Limited] = set()

    def watch(self, item: Limited) -> None:
        """From now on."""
        self._watched.add(item)

    def forget(self, item: Limited) -> None:
        """It ended by itself."""
        self._watched.discard(item)

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            await self._clock.sleep(1.0)
            now = self._clock.monotonic()
            for item in [item for item in self._watched if item.deadline <= now]:
                item.expire()

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """The work's result; TimeoutError when it takes longer, to about a second."""
        task = asyncio.ensure_future(work)
        limit = _Limit(self._clock.monotonic() + seconds, task)
        self.watch(limit)
        try:
            return await task
        except asyncio.CancelledError:
            task.cancel()
            if limit.expired:
                raise TimeoutError(f"timed out: silent for {seconds:.0f} s") from None
            raise
        finally:
            self.forget(limit)

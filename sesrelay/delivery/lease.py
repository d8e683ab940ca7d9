"""Whether our claims are still ours: a worker that could not renew its lease for 20 s sends no further final dot.

The lease runs 30 s in the database; the ten between are for the messages whose dot is already out and for clocks that
tick differently. Measured on the monotonic clock, so that a process that was paused notices when it wakes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from sesrelay.model.clock import Clock

RENEW_SECONDS: Final = 5.0
TRUSTED_SECONDS: Final = 20.0

log = structlog.get_logger()


class Lease:
    """The worker's incarnation lease as seen from inside."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._renewed_at = clock.monotonic()
        self.lost = False
        """Declared dead by others: our claims are somebody else's, for ever."""

    def held(self) -> bool:
        """May we still act on our claims?"""
        return not self.lost and self._clock.monotonic() - self._renewed_at < TRUSTED_SECONDS

    async def renew(self, renew: Callable[[], Awaitable[bool]]) -> None:
        """Renews once; ``renew`` says whether we are still alive to the others. What it raises is only logged."""
        asked_at = self._clock.monotonic()
        try:
            alive = await renew()
        except Exception as fault:  # noqa: BLE001 - whatever it is, it means: not renewed
            log.warning("lease-not-renewed", trouble=str(fault))
            return
        if alive:
            self._renewed_at = asked_at  # the moment of asking: the answer may have been long on its way
        else:
            self.lost = True
            log.error("lease-lost", meaning="this worker was declared dead; it must be replaced")

    async def keep(self, renew: Callable[[], Awaitable[bool]]) -> None:
        """Renews for ever; returns when the lease is lost."""
        while not self.lost:
            await self.renew(renew)
            await self._clock.sleep(RENEW_SECONDS)

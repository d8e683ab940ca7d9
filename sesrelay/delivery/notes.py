"""What delivery has to tell the store: results and claims given back, in groups, never dropped.

While one group is being written the next one forms. What the store refuses is kept and told again, one by one, so
that a single note that cannot be written holds up nobody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import structlog

from sesrelay.model.clock import Clock, Micros
from sesrelay.model.message import AttemptResult, Claim

GROUP: Final = 500
"""A transaction of the store should touch no more rows."""
RETRY_SECONDS: Final = 1.0

Settle = Callable[[Sequence[AttemptResult]], Awaitable[None]]
GiveBack = Callable[[Sequence[Claim], Micros], Awaitable[None]]
PostponeLanes = Callable[[Collection[tuple[str, str]], Micros], Awaitable[None]]

log = structlog.get_logger()


class Notes:
    """Collects, groups and writes. ``run`` does the writing."""

    def __init__(self, settle: Settle, give_back: GiveBack, postpone_lanes: PostponeLanes, clock: Clock) -> None:
        self._settle = settle
        self._give_back = give_back
        self._postpone_lanes = postpone_lanes
        self._clock = clock
        self._results: list[AttemptResult] = []
        self._returns: dict[tuple[Micros, bool], list[Claim]] = {}
        self._troubled: list[AttemptResult] = []
        self._work = asyncio.Event()
        self._writing = False

    @property
    def pending(self) -> bool:
        """Something is not written yet."""
        return bool(self._results or self._returns or self._troubled or self._writing)

    def add(self, results: Sequence[AttemptResult]) -> None:
        """What became of claims."""
        self._results.extend(results)
        self._work.set()

    def give_back(self, claims: Sequence[Claim], due_at: Micros, *, postpone_lanes: bool = False) -> None:
        """Claims that were not sent: due again at that time, their attempt not counted.

        ``postpone_lanes``: whoever else waits there would fare no better before that time.
        """
        if claims:
            self._returns.setdefault((due_at, postpone_lanes), []).extend(claims)
            self._work.set()

    async def run(self) -> None:
        """Writes until cancelled; cancel it only when nothing is pending."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._results or self._returns or self._troubled:
                self._writing = True
                try:
                    await self._write_group()
                finally:
                    self._writing = False

    async def _write_group(self) -> None:
        results, self._results = self._results[:GROUP], self._results[GROUP:]
        if results:
            try:
                await self._settle(results)
            except Exception as fault:
                log.exception("settle-failed", message_id=str(results[0].claim.message_id), trouble=str(fault))
                self._troubled.extend(results)
        returns, self._returns = self._returns, {}
        for (due_at, postpone_lanes), claims in returns.items():
            try:
                await self._give_back(claims, due_at)
                if postpone_lanes:
                    await self._postpone_lanes({(claim.domain, claim.account_id) for claim in claims}, due_at)
            except Exception as fault:
                log.exception("give-back-failed", message_id=str(claims[0].message_id), trouble=str(fault))
                self._returns.setdefault((due_at, postpone_lanes), []).extend(claims)
                await self._clock.sleep(RETRY_SECONDS)
        if self._troubled and not self._results:
            await self._retry_one_by_one()

    async def _retry_one_by_one(self) -> None:
        troubled, self._troubled = self._troubled, []
        await self._clock.sleep(RETRY_SECONDS)
        for result in troubled:
            try:
                await self._settle([result])
            except Exception as fault:  # noqa: BLE001 - it was logged with its traceback the first time
                log.warning("settle-failed-again", message_id=str(result.claim.message_id), trouble=str(fault))
                self._troubled.append(result)

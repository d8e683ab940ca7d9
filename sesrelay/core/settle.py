"""Taking note of what became of mail: results turned into verdicts, verdicts written in one transaction.

What a verdict does (state, history, the bounce to the sender) is in the verdict; the store applies it while the claim
is still ours. A note is never dropped: while the database is away it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from sesrelay.killpoints import reached
from sesrelay.model.clock import Clock, Micros
from sesrelay.model.message import AttemptResult, Claim, MessageId, Settlement
from sesrelay.model.reply import Scope, Stage
from sesrelay.rules.outcomes import verdict
from sesrelay.rules.retries import Schedule

log = structlog.get_logger()
_GOLDEN: Final = 0.6180339887498949
"""Steps of the golden ratio from one number of chance: the results of a batch spread evenly, at the price of one."""


HELD_AT_ONCE: Final = 100


class SettleStore(Protocol):
    """What settling needs of the store."""

    async def settle(self, settlements: Sequence[Settlement]) -> frozenset[tuple[MessageId, int]]: ...

    async def claim_held(self, accepted_before: Micros, limit: int) -> list[Claim]: ...


class Settling:
    """The way out of the queue: ``settle`` is all of it."""

    def __init__(
        self,
        store: SettleStore,
        clock: Clock,
        chance: Callable[[int], bytes],
        schedule: Schedule,
        settled: Callable[[Settlement], None],
    ) -> None:
        """``settled`` hears of everything that was written, for counting."""
        self._store = store
        self._settled = settled
        self._clock = clock
        self._chance = chance
        self._schedule = schedule

    async def settle(self, results: Sequence[AttemptResult]) -> None:
        """Writes what became of these claims; returns when it is durable."""
        now = self._clock.now()
        start = int.from_bytes(self._chance(4), "big") / 2**32
        settlements = [
            Settlement(result.claim, verdict(result, now, (start + place * _GOLDEN) % 1.0, self._schedule))
            for place, result in enumerate(results)
        ]
        reached("before-settle")
        applied = await self._store.settle(settlements)
        for settlement in settlements:
            claim = settlement.claim
            if (claim.message_id, claim.number) in applied:
                self._settled(settlement)
            else:
                log.warning(
                    "result of a claim that was no longer ours",
                    message_id=str(claim.message_id),
                    recipient=claim.number,
                    state=settlement.verdict.state.value,
                )

    async def expire_held(self) -> int:
        """Gives up held mail that is too old for another attempt, and so tells its senders; how many recipients."""
        expired = 0
        while claims := await self._store.claim_held(self._clock.now() - self._schedule.max_age, HELD_AT_ONCE):
            await self.settle([_held_too_long(claim) for claim in claims])
            expired += len(claims)
        return expired


def _held_too_long(claim: Claim) -> AttemptResult:
    trouble = "held: processing it failed again and again"
    return AttemptResult(claim, Stage.CONNECT, Scope.OURSELVES, None, trouble, not_tried=True)

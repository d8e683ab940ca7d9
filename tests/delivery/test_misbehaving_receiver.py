"""A receiver that misbehaves at random: everything arrives, nothing twice but where a doubt was recorded."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from sesrelay.model.clock import SECOND
from sesrelay.model.message import AttemptResult
from tests.clock import FakeClock
from tests.delivery.kit import MESSAGE, Queue, claim, delivered, put_together, smart_host
from tests.delivery.test_worker import drained
from tests.standins.receiver import Behaviour, Receiver

MESSAGES = 150


class TryingQueue(Queue):
    """What was not delivered waits a little and is due again."""

    async def settle(self, results: Sequence[AttemptResult]) -> None:
        await super().settle(results)
        again = [result.claim for result in results if not delivered(result)]
        self.waiting.extend((self.clock.now() + SECOND, claim) for claim in again)


async def alive() -> bool:
    return True


def misbehaving(chance: random.Random) -> Behaviour:
    def sometimes(share: float, bad: str, good: str) -> str:
        return bad if chance.random() < share else good

    return Behaviour(
        extensions=("PIPELINING", "8BITMIME") if chance.random() < 0.5 else (),
        greeting=lambda _: sometimes(0.1, "421 4.3.2 busy", "220 receiver.test"),
        mail=lambda _: sometimes(0.05, "cut", sometimes(0.05, "421 4.3.2 going", "250 Ok")),
        rcpt=lambda _: sometimes(0.1, "451 4.7.1 greylisted", "250 Ok"),
        data=lambda _: sometimes(0.05, "451 4.3.0 later", sometimes(0.03, "cut", "354 go")),
        end=lambda _: sometimes(0.1, "cut", sometimes(0.05, "452 4.3.1 full", "250 Ok")),
    )


@pytest.mark.parametrize("seed", range(4))
def test_everything_arrives_and_copies_have_a_recorded_doubt(
    runner: asyncio.Runner, clock: FakeClock, seed: int
) -> None:
    async def story() -> None:
        queue = TryingQueue(clock)
        claims = [claim(f"r{number}@example.org") for number in range(MESSAGES)]
        async with Receiver(misbehaving(random.Random(seed))) as receiver:
            made = put_together(clock, queue, smart_host(receiver.port), slots=8)
            made.start()
            keeping = asyncio.ensure_future(made._lease.keep(alive))
            for each in claims[::2]:
                made.take((each,), MESSAGE)
            queue.waiting.extend((0, each) for each in claims[1::2])
            async with asyncio.timeout(60):
                while sum(map(delivered, queue.results)) < MESSAGES:
                    await asyncio.sleep(0.001)
                    clock.move(0.1)
            keeping.cancel()
            await drained(made, clock)
            arrived = Counter(recipient for each in receiver.received for recipient in each.recipients)
            accepted = Counter(result.claim.address for result in queue.results if delivered(result))
            doubts = Counter(result.claim.address for result in queue.results if result.in_doubt)
            assert accepted == Counter(each.address for each in claims)
            assert arrived == accepted + doubts
            assert sum(doubts.values()) > 0

    runner.run(story())

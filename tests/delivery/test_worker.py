"""The worker with real sockets: everything that comes in leaves as a result or is given back."""

from __future__ import annotations

import asyncio

from sesrelay.delivery.worker import DeliveryWorker
from tests.clock import FakeClock
from tests.delivery.kit import MESSAGE, Queue, claim, delivered, put_together, smart_host
from tests.standins.receiver import Receiver


def test_a_handed_over_message_arrives_octet_by_octet(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        async with Receiver() as receiver:
            queue = Queue(clock)
            worker = put_together(clock, queue, smart_host(receiver.port))
            worker.start()
            worker.take((claim(),), MESSAGE)
            (result,) = await queue.settled()
            assert delivered(result)
            (received,) = receiver.received
            assert received.content == MESSAGE
            assert received.mail_from == "verp-0@bounces.example.net"
            assert received.recipients == ("b@example.org",)
            await drained(worker, clock)

    runner.run(story())


async def drained(worker: DeliveryWorker, clock: FakeClock) -> None:
    task = asyncio.ensure_future(worker.drain())
    for _ in range(1000):
        await asyncio.sleep(0.001)
        clock.move(0.02)
        if task.done():
            break
    await task

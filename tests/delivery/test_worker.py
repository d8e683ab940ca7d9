"""The worker with real sockets: everything that comes in leaves as a result or is given back."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from sesrelay.delivery import dialing, dispatch, worker
from sesrelay.delivery.slots import WorkerShareOfSlots
from sesrelay.delivery.worker import DeliveryWorker
from sesrelay.model.clock import HOUR, SECOND
from sesrelay.model.message import Claim, MessageId, Origin
from sesrelay.model.reply import Scope, Stage
from tests.clock import START, FakeClock
from tests.delivery.kit import MESSAGE, Names, Queue, TestRoute, claim, delivered, put_together, smart_host
from tests.standins.receiver import Behaviour, Receiver


async def drained(worker: DeliveryWorker, clock: FakeClock) -> None:
    task = asyncio.ensure_future(worker.drain())
    for _ in range(2000):
        await asyncio.sleep(0.001)
        clock.move(0.02)
        if task.done():
            break
    await task


@asynccontextmanager
async def running(
    clock: FakeClock, queue: Queue, route: TestRoute | Callable[[str], TestRoute], **options: object
) -> AsyncIterator[DeliveryWorker]:
    made = put_together(clock, queue, route, **options)  # type: ignore[arg-type]
    made.start()
    yield made
    await drained(made, clock)


def same_message(*addresses: str) -> tuple[Claim, ...]:
    message_id = MessageId.make(0, START, b"m" * 16)
    return tuple(claim(address, number=number, message_id=message_id) for number, address in enumerate(addresses))


def test_a_handed_over_message_arrives_octet_by_octet(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with Receiver() as receiver, running(clock, queue, smart_host(receiver.port)) as made:
            made.take((claim(),), MESSAGE)
            (result,) = await queue.settled()
            assert delivered(result)
            assert result.remote == f"127.0.0.1 [127.0.0.1]:{receiver.port}"
            assert result.local_address == "127.0.0.1"
            (received,) = receiver.received
            assert received.content == MESSAGE
            assert received.mail_from == "verp-0@bounces.example.net"
            assert received.recipients == ("b@example.org",)

    runner.run(story())


def test_a_claim_from_a_lane_is_read_from_the_store(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock, waiting=[(0, claim()), (0, claim("c@example.net"))], content=b"Subject: old\r\n\r\n")
        async with Receiver() as receiver, running(clock, queue, smart_host(receiver.port)):
            assert all(map(delivered, await queue.settled(2)))
            assert {each.content for each in receiver.received} == {queue.content}

    runner.run(story())


def test_one_connection_serves_many(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with Receiver() as receiver, running(clock, queue, smart_host(receiver.port), slots=1) as made:
            for _ in range(20):
                made.take((claim(),), MESSAGE)
            assert all(map(delivered, await queue.settled(20)))
            assert receiver.connections == 1

    runner.run(story())


def test_a_connection_is_left_after_its_share_of_messages(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        limits = worker.DeliveryLimits(connection_messages=3)
        async with (
            Receiver() as receiver,
            running(clock, queue, smart_host(receiver.port), slots=1, limits=limits) as made,
        ):
            for _ in range(7):
                made.take((claim(),), MESSAGE)
            await queue.settled(7)
            assert receiver.connections == 3

    runner.run(story())


def test_no_more_connections_than_slots(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        behaviour = Behaviour(pause_seconds=0.002)
        async with Receiver(behaviour) as receiver, running(clock, queue, smart_host(receiver.port), slots=4) as made:
            for _ in range(30):
                made.take((claim(),), MESSAGE)
            await queue.settled(30)
            assert receiver.most_open == 4

    runner.run(story())


def test_capture_and_the_simulator_touch_no_network(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)

        def route(domain: str) -> TestRoute:
            return TestRoute(kind="capture") if domain == "example.org" else smart_host(1)

        async with running(clock, queue, route) as made:
            domains = ("example.org", "simulator.amazonses.com", "elsewhere.test")
            assert [made.captures(domain) for domain in domains] == [True, True, False]
            made.take((claim(), claim("success@simulator.amazonses.com")), MESSAGE)
            assert [result.captured for result in await queue.settled(2)] == [True, True]

    runner.run(story())


def test_without_verp_recipients_share_a_transaction_and_keep_their_own_outcomes(
    runner: asyncio.Runner, clock: FakeClock
) -> None:
    async def story() -> None:
        queue = Queue(clock)
        behaviour = Behaviour(rcpt=lambda address: "550 5.1.1 no" if address.startswith("bad") else "250 Ok")
        async with (
            Receiver(behaviour) as receiver,
            running(clock, queue, smart_host(receiver.port, verp=False)) as made,
        ):
            made.take(same_message("b@example.org", "bad@example.org", "c@example.net"), MESSAGE)
            results = {result.claim.address: result for result in await queue.settled(3)}
            (received,) = receiver.received
            assert received.recipients == ("b@example.org", "c@example.net")
            assert received.mail_from == "a@example.com"
            assert delivered(results["b@example.org"])
            assert delivered(results["c@example.net"])
            bad = results["bad@example.org"]
            assert (bad.stage, bad.scope, str(bad.reply)) == (Stage.RCPT, Scope.RECIPIENT, "550 5.1.1 no")

    runner.run(story())


def test_too_many_recipients_go_in_another_transaction_at_once(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        rcpts: list[str] = []

        def rcpt(address: str) -> str:
            rcpts.append(address)
            return "452 4.5.3 too many" if len(rcpts) in (3, 4) else "250 Ok"

        async with (
            Receiver(Behaviour(rcpt=rcpt)) as receiver,
            running(clock, queue, smart_host(receiver.port, verp=False)) as made,
        ):
            made.take(same_message(*(f"{name}@example.org" for name in "abcd")), MESSAGE)
            assert all(map(delivered, await queue.settled(4)))
            assert [len(each.recipients) for each in receiver.received] == [2, 2]

    runner.run(story())


def test_with_verp_each_recipient_has_a_transaction(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with Receiver() as receiver, running(clock, queue, smart_host(receiver.port)) as made:
            made.take(same_message("b@example.org", "c@example.org"), MESSAGE)
            await queue.settled(2)
            senders = {each.recipients: each.mail_from for each in receiver.received}
            assert senders == {
                ("b@example.org",): "verp-0@bounces.example.net",
                ("c@example.org",): "verp-1@bounces.example.net",
            }

    runner.run(story())


def test_the_relays_own_mail_has_no_sender(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with Receiver() as receiver, running(clock, queue, smart_host(receiver.port)) as made:
            made.take((claim(origin=Origin.RELAY, mail_from=""),), MESSAGE)
            await queue.settled()
            assert receiver.received[0].mail_from == ""

    runner.run(story())


def test_a_signature_stands_in_front_of_the_message(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with (
            Receiver() as receiver,
            running(
                clock, queue, smart_host(receiver.port), sign=lambda _claim, _content: b"DKIM-Signature: x\r\n"
            ) as made,
        ):
            made.take((claim(),), MESSAGE)
            await queue.settled()
            assert receiver.received[0].content == b"DKIM-Signature: x\r\n" + MESSAGE

    runner.run(story())


def test_a_loop_is_found_by_its_hops(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with running(clock, queue, smart_host(1)) as made:
            made.take((claim(hops=51),), MESSAGE)
            (result,) = await queue.settled()
            assert result.permanent
            assert result.trouble.startswith("554 5.4.6 ")

    runner.run(story())


def test_a_dead_host_is_found_dead_by_one_connection_and_the_others_wait_untried(
    runner: asyncio.Runner, clock: FakeClock
) -> None:
    async def story() -> None:
        async with Receiver() as receiver:
            port = receiver.port
        queue = Queue(clock)
        async with running(clock, queue, smart_host(port)) as made:
            for _ in range(5):
                made.take((claim(),), MESSAGE)
            (result,) = await queue.settled()
            assert (result.stage, result.scope) == (Stage.CONNECT, Scope.DESTINATION)
            await queue.until(lambda: len(queue.returned) == 4)
            assert {due_at for _, due_at in queue.returned} == {START + 5 * SECOND}
            await clock.settle()
            assert queue.postponed == [(("example.org", "111122223333"), START + 5 * SECOND)]
            assert not made.admits("111122223333", "example.org", 2000)
            await clock.advance(4)
            assert len(queue.results) == 1

    runner.run(story())


def test_mail_that_waited_too_long_for_a_dead_host_learns_why(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        async with Receiver() as receiver:
            port = receiver.port
        queue = Queue(clock)
        async with running(clock, queue, smart_host(port)) as made:
            made.take((claim(),), MESSAGE)
            made.take((claim("old@example.org", accepted_at=START - 15 * HOUR),), MESSAGE)
            old = (await queue.settled(2))[1]
            assert old.claim.address == "old@example.org"
            assert "refused" in old.trouble
            assert not old.not_tried
            assert queue.returned == []

    runner.run(story())


def test_a_host_that_comes_back_gets_what_waited(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        receiver = Receiver()
        await receiver.start()
        await receiver.stop()
        queue = Queue(clock)
        async with running(clock, queue, smart_host(receiver.port)) as made:
            for _ in range(3):
                made.take((claim(),), MESSAGE)
            await queue.until(lambda: len(queue.returned) == 2)
            await receiver.start()
            await clock.advance(6)
            await queue.settled(3)
            assert [delivered(result) for result in queue.results] == [False, True, True]
            await receiver.stop()

    runner.run(story())


def test_a_domain_that_does_not_exist_is_a_final_no_for_all_its_mail(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with running(clock, queue, TestRoute(kind="mx"), names=Names()) as made:
            for _ in range(3):
                made.take((claim("b@gone.test"),), MESSAGE)
            results = await queue.settled(3)
            assert all(result.permanent and "5.4.4" in result.trouble for result in results)

    runner.run(story())


def test_mx_mail_goes_to_the_exchanger(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        names = Names({"example.org": [(10, "mx.example.org")]}, {"mx.example.org": ["127.0.0.1"]})
        async with (
            Receiver() as receiver,
            running(clock, queue, TestRoute(kind="mx"), names=names, port=receiver.port) as made,
        ):
            made.take((claim(),), MESSAGE)
            (result,) = await queue.settled()
            assert delivered(result)
            assert result.remote.startswith("mx.example.org [127.0.0.1]:")

    runner.run(story())


def test_an_answer_lost_after_the_dot_is_in_doubt(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with Receiver(Behaviour(end="cut")) as receiver, running(clock, queue, smart_host(receiver.port)) as made:
            made.take((claim(),), MESSAGE)
            (result,) = await queue.settled()
            assert result.in_doubt
            assert result.stage is Stage.END_OF_DATA
            assert result.reply is None
            assert len(receiver.received) == 1

    runner.run(story())


def test_a_kept_connection_that_the_server_closed_costs_no_attempt(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with (
            Receiver(Behaviour(most_messages=2)) as receiver,
            running(clock, queue, smart_host(receiver.port), slots=1) as made,
        ):
            for _ in range(6):
                made.take((claim(),), MESSAGE)
            assert all(map(delivered, await queue.settled(6)))
            assert receiver.connections == 3

    runner.run(story())


def test_sessions_that_break_again_and_again_pause_the_destination(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with (
            Receiver(Behaviour(mail="cut")) as receiver,
            running(clock, queue, smart_host(receiver.port), slots=1) as made,
        ):
            for _ in range(20):
                made.take((claim(),), MESSAGE)
            await queue.until(lambda: len(queue.results) + len(queue.returned) == 20)
            assert len(queue.results) == 5
            assert all(result.scope is Scope.SESSION and not result.in_doubt for result in queue.results)

    runner.run(story())


def test_one_silent_destination_holds_up_nobody_else(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with Receiver(Behaviour(silent_at=frozenset({"greeting"}))) as silent, Receiver() as lively:

            def route(domain: str) -> TestRoute:
                return smart_host(silent.port if domain == "silent.test" else lively.port)

            async with running(clock, queue, route) as made:
                for _ in range(100):
                    made.take((claim("b@silent.test"),), MESSAGE)
                for _ in range(10):
                    made.take((claim(),), MESSAGE)
                assert all(map(delivered, await queue.settled(10)))

    runner.run(story())


def test_admission_is_counted_for_each_destination_and_account(
    runner: asyncio.Runner, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        monkeypatch.setattr(worker, "WAITING_PER_ACCOUNT", 3)
        queue = Queue(clock)
        async with (
            Receiver(Behaviour(silent_at=frozenset({"greeting"}))) as silent,
            running(clock, queue, lambda domain: TestRoute(kind="mx"), port=silent.port) as made,
        ):
            for _ in range(3):
                assert made.admits("111122223333", "[127.0.0.1]", 2000)
                made.take((claim("b@[127.0.0.1]"),), MESSAGE)
            assert not made.admits("111122223333", "[127.0.0.1]", 2000)
            assert made.admits("999999999999", "[127.0.0.1]", 2000)
            assert made.admits("111122223333", "elsewhere.test", 2000)
            monkeypatch.setattr(worker, "WAITING_IN_ALL", 3)
            assert made.admits("999999999999", "[127.0.0.1]", 2000)

    runner.run(story())


def test_lane_claims_beyond_the_room_go_back_for_a_moment(
    runner: asyncio.Runner, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        monkeypatch.setattr(worker, "WAITING_PER_ACCOUNT", 3)
        queue = Queue(clock, waiting=[(0, claim()) for _ in range(5)])
        async with (
            Receiver(Behaviour(silent_at=frozenset({"greeting"}))) as silent,
            running(clock, queue, smart_host(silent.port)),
        ):
            await queue.until(lambda: len(queue.returned) == 2)
            assert all(START < due_at <= START + 60 * SECOND for _, due_at in queue.returned)

    runner.run(story())


def test_drain_finishes_what_is_under_way_and_gives_the_rest_back(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with Receiver(Behaviour(pause_seconds=0.02)) as receiver:
            made = put_together(clock, queue, smart_host(receiver.port), slots=1)
            made.start()
            for _ in range(5):
                made.take((claim(),), MESSAGE)
            await receiver.wait(lambda: any(line.startswith("MAIL") for line in receiver.dialogue))
            await drained(made, clock)
            assert [delivered(result) for result in queue.results] == [True]
            assert len(queue.returned) == 4
            assert not made.admits("111122223333", "example.org", 1)
            assert not receiver.open
            assert receiver.dialogue[-1] == "QUIT"

    runner.run(story())


def test_what_is_handed_over_while_draining_goes_back(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        made = put_together(clock, queue, smart_host(1))
        made.start()
        draining = asyncio.ensure_future(made.drain())
        await asyncio.sleep(0)
        made.take((claim(),), MESSAGE)
        async with asyncio.timeout(10):
            while not draining.done():
                clock.move(0.02)
                await asyncio.sleep(0)
        await draining
        assert len(queue.returned) == 1

    runner.run(story())


def test_without_the_lease_nothing_is_claimed_or_sent(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with Receiver() as receiver, running(clock, queue, smart_host(receiver.port)) as made:
            await clock.advance(19)
            claimed = queue.claims
            clock.move(2)
            made.take((claim(),), MESSAGE)
            await queue.until(lambda: len(queue.returned) == 1)
            await clock.advance(5)
            assert receiver.received == []
            assert queue.claims == claimed
            assert not made.admits("111122223333", "example.org", 1)

    runner.run(story())


def test_when_all_connections_are_elsewhere_an_idle_one_makes_room(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with Receiver() as one, Receiver() as two:
            ports = {"one.test": one.port, "two.test": two.port}
            made = put_together(clock, queue, lambda domain: smart_host(ports[domain]))
            made._dispatcher._slots = WorkerShareOfSlots(10, 1, in_all=1)
            made.start()
            for number in range(6):
                made.take((claim(f"b@{('one', 'two')[number % 2]}.test"),), MESSAGE)
                await queue.settled(number + 1)
            assert all(map(delivered, queue.results))
            assert (one.connections, two.connections) == (3, 3)
            await drained(made, clock)

    runner.run(story())


def test_a_machine_without_descriptors_holds_it_against_nobody(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        queue = Queue(clock)
        async with Receiver() as receiver, running(clock, queue, smart_host(receiver.port)) as made:

            async def no_descriptor(*_: object) -> None:
                raise OSError(errno.EMFILE, "Too many open files")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(dialing, "_connected", no_descriptor)
                made.take((claim(),), MESSAGE)
                await queue.until(lambda: len(queue.returned) == 1)
            assert queue.results == []
            assert made.admits("111122223333", "example.org", 1)
            await clock.advance(6)
            assert all(map(delivered, await queue.settled()))

    runner.run(story())


@pytest.mark.parametrize("place", ["sign", "body", "route"])
def test_a_fault_of_ours_is_temporary_and_loses_nothing(runner: asyncio.Runner, clock: FakeClock, place: str) -> None:
    async def story() -> None:
        queue = Queue(clock)
        bad = claim("bad@example.org")

        def sign(each: Claim, _content: bytes) -> bytes:
            if place == "sign" and each is bad:
                raise ZeroDivisionError
            return b""

        async def body(message_id: MessageId, _location: object) -> bytes:
            if place == "body" and message_id == bad.message_id:
                raise OSError("damaged")
            return MESSAGE

        async with Receiver() as receiver:

            def route(domain: str) -> TestRoute:
                if place == "route" and domain == "bad.test":
                    raise KeyError(domain)
                return smart_host(receiver.port)

            if place == "route":
                bad = claim("b@bad.test")
            queue.body = body  # type: ignore[method-assign]
            async with running(clock, queue, route, sign=sign) as made:
                made.take((bad,), None)
                made.take((claim(),), None)
                results = {result.claim.address: result for result in await queue.settled(2)}
                assert delivered(results["b@example.org"])
                failed = results[bad.address]
                assert (failed.scope, failed.reply, failed.permanent) == (Scope.OURSELVES, None, False)

    runner.run(story())


def test_a_fault_while_concluding_loses_nothing_and_leaves_a_doubt(
    runner: asyncio.Runner, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        monkeypatch.setattr(dispatch, "_too_many", lambda outcome: 1 / 0)
        queue = Queue(clock)
        async with Receiver() as receiver, running(clock, queue, smart_host(receiver.port)) as made:
            made.take((claim(),), MESSAGE)
            (result,) = await queue.settled()
            assert result.scope is Scope.OURSELVES
            assert result.in_doubt

    runner.run(story())

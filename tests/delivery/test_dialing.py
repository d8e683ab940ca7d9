"""Sessions over real sockets: TLS as the policy wants it, AUTH, and the next host when one does not want us."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from sesrelay.delivery.connection import Connection
from sesrelay.delivery.dialing import Dialer, DialError, TlsContexts
from sesrelay.delivery.hosts import HostFinder
from sesrelay.delivery.transaction import Outcome, Transaction
from sesrelay.delivery.watchdog import Watchdog
from sesrelay.model.reply import Scope, Stage
from tests.clock import FakeClock
from tests.delivery.kit import MESSAGE, Names, TestRoute, smart_host
from tests.standins.receiver import Behaviour, Receiver

MAIL = Transaction("a@example.com", {1: "b@example.org"}, MESSAGE)


class Owner:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self.gone = 0
        self.lease = True

    def may_finish(self) -> bool:
        return self.lease

    def transaction_ended(self, connection: Connection, outcome: Outcome) -> None:
        self.outcomes.put_nowait(outcome)

    def connection_gone(self, connection: Connection) -> None:
        self.gone += 1


class Line:
    """A dialer with its surroundings."""

    def __init__(self, clock: FakeClock, contexts: TlsContexts | None = None, names: Names | None = None) -> None:
        self.clock = clock
        self.owner = Owner()
        finder = HostFinder(names or Names(), 25, frozenset(), frozenset(), lambda: 0.5)
        self.watchdog = Watchdog(clock)
        self.dialer = Dialer(finder, clock, self.watchdog, contexts or TlsContexts(), "relay.example.net", 30)

    async def dial(self, route: TestRoute, domain: str = "example.org") -> Connection:
        return await self.dialer.dial(route, domain, self.owner)

    async def session_began(self) -> None:
        """Connected: from now on the session's own limits count."""
        async with asyncio.timeout(10):
            while not any(isinstance(watched, Connection) for watched in self.watchdog._watched):
                await asyncio.sleep(0.001)

    async def send(self, connection: Connection, transaction: Transaction = MAIL) -> Outcome:
        connection.begin(transaction)
        return await asyncio.wait_for(self.owner.outcomes.get(), 10)

    async def hang_up(self, connection: Connection) -> None:
        connection.quit()
        async with asyncio.timeout(10):
            while not self.owner.gone:
                await asyncio.sleep(0.001)


def answered(outcome: Outcome) -> int:
    reply = outcome.answers[1].reply
    return reply.code if reply else 0


def test_offered_tls_is_used_without_asking_who_it_is(
    runner: asyncio.Runner, clock: FakeClock, server_tls: ssl.SSLContext
) -> None:
    async def story() -> None:
        line = Line(clock)
        async with Receiver(Behaviour(tls=server_tls)) as receiver:
            connection = await line.dial(smart_host(receiver.port))
            assert connection.tls.startswith("TLSv1.")
            assert answered(await line.send(connection)) == 250
            assert receiver.received[0].encrypted
            assert receiver.received[0].content == MESSAGE
            await line.hang_up(connection)
            assert receiver.dialogue.count("EHLO relay.example.net") == 2

    runner.run(story())


def test_what_is_injected_behind_the_220_is_not_believed(
    runner: asyncio.Runner, clock: FakeClock, server_tls: ssl.SSLContext
) -> None:
    async def story() -> None:
        line = Line(clock)
        behaviour = Behaviour(
            tls=server_tls, extensions=(), injected=b"250-evil\r\n250 PIPELINING\r\n250 PIPELINING\r\n"
        )
        async with Receiver(behaviour) as receiver:
            connection = await line.dial(smart_host(receiver.port))
            assert answered(await line.send(connection)) == 250
            await line.hang_up(connection)
            assert receiver.received[0].content == MESSAGE

    runner.run(story())


def test_a_required_certificate_is_verified(
    runner: asyncio.Runner, clock: FakeClock, server_tls: ssl.SSLContext, trusting: TlsContexts
) -> None:
    async def story() -> None:
        async with Receiver(Behaviour(tls=server_tls)) as receiver:
            route = smart_host(receiver.port, tls="require")
            line = Line(clock, trusting)
            connection = await line.dial(route)
            assert answered(await line.send(connection)) == 250
            await line.hang_up(connection)
            stranger = Line(clock)
            with pytest.raises(DialError) as failed:
                await stranger.dial(route)
            assert failed.value.answer.stage is Stage.STARTTLS
            assert failed.value.answer.scope is Scope.DESTINATION
            assert len(receiver.received) == 1

    runner.run(story())


def test_require_sends_nothing_in_clear(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        async with Receiver() as receiver:
            with pytest.raises(DialError, match="TLS is required"):
                await Line(clock).dial(smart_host(receiver.port, tls="require"))
            assert not any(line.startswith("MAIL") for line in receiver.dialogue)

    runner.run(story())


@pytest.mark.parametrize("starttls", ["454 4.7.0 not now", "220 go"])
def test_broken_opportunistic_tls_falls_back_to_clear(runner: asyncio.Runner, clock: FakeClock, starttls: str) -> None:
    async def story() -> None:
        line = Line(clock)
        hopeless = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate no handshake succeeds
        async with Receiver(Behaviour(tls=hopeless, starttls=starttls)) as receiver:
            connection = await line.dial(smart_host(receiver.port))
            assert connection.tls == ""
            assert answered(await line.send(connection)) == 250
            await line.hang_up(connection)

    runner.run(story())


def test_a_password_never_falls_back_to_clear(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        users = {"me": "sesame"}
        async with Receiver(Behaviour(users=users)) as receiver:
            with pytest.raises(DialError, match="not sent in clear"):
                await Line(clock).dial(smart_host(receiver.port, user="me", password="sesame"))
            assert not any(line.startswith("AUTH") for line in receiver.dialogue)

    runner.run(story())


@pytest.mark.parametrize("mechanisms", ["PLAIN LOGIN", "LOGIN"])
@pytest.mark.parametrize("implicit", [True, False])
def test_a_smart_host_with_a_password(
    runner: asyncio.Runner,
    clock: FakeClock,
    server_tls: ssl.SSLContext,
    trusting: TlsContexts,
    mechanisms: str,
    implicit: bool,
) -> None:
    async def story() -> None:
        line = Line(clock, trusting)
        users = {"me": "pässword"}
        behaviour = Behaviour(tls=server_tls, implicit_tls=implicit, users=users, mechanisms=mechanisms)
        async with Receiver(behaviour) as receiver:
            route = smart_host(receiver.port, user="me", password="pässword", tls="require", implicit_tls=implicit)
            connection = await line.dial(route)
            assert answered(await line.send(connection)) == 250
            assert receiver.received[0].user == "me"
            await line.hang_up(connection)

    runner.run(story())


def test_a_wrong_password_is_the_trouble_of_the_destination(
    runner: asyncio.Runner, clock: FakeClock, server_tls: ssl.SSLContext
) -> None:
    async def story() -> None:
        async with Receiver(Behaviour(tls=server_tls, users={"me": "sesame"})) as receiver:
            with pytest.raises(DialError) as failed:
                await Line(clock).dial(smart_host(receiver.port, user="me", password="guess"))
            answer = failed.value.answer
            assert (answer.stage, answer.scope) == (Stage.AUTH, Scope.DESTINATION)
            assert not answer.permanent

    runner.run(story())


def test_the_next_exchanger_is_tried_when_the_first_is_unwell(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        async with Receiver(Behaviour(greeting="421 4.3.2 full")) as ill, Receiver(address="127.0.0.2", port=0) as well:
            ports = {"127.0.0.1": ill.port, "127.0.0.2": well.port}
            names = Names(
                {"example.org": [(20, "b.example.org"), (10, "a.example.org")]},
                {"a.example.org": ["127.0.0.1"], "b.example.org": ["127.0.0.2"]},
            )
            line = Line(clock, names=names)
            connection = await _dial_with_ports(line, ports)
            assert connection.host.name == "b.example.org"
            await line.hang_up(connection)
            assert (ill.connections, well.connections) == (1, 1)

    runner.run(story())


async def _dial_with_ports(line: Line, ports: dict[str, int]) -> Connection:
    """Two receivers on one machine have different ports, which exchangers never have."""
    loop = asyncio.get_running_loop()
    real = loop.create_connection

    async def redirected(factory, address, port, **options):  # type: ignore[no-untyped-def]
        return await real(factory, address, ports[address], **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", lambda: _Redirecting(loop, redirected))
        return await line.dial(TestRoute(kind="mx"))


class _Redirecting:
    def __init__(self, loop: asyncio.AbstractEventLoop, create_connection: object) -> None:
        self.create_connection = create_connection
        self._loop = loop

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)


def test_a_refused_connection_says_so(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        async with Receiver() as receiver:
            port = receiver.port
        with pytest.raises(DialError) as failed:
            await Line(clock).dial(smart_host(port))
        answer = failed.value.answer
        assert (answer.stage, answer.scope, answer.reply) == (Stage.CONNECT, Scope.DESTINATION, None)
        assert "refused" in answer.trouble
        assert failed.value.remote == f"127.0.0.1 [127.0.0.1]:{port}"

    runner.run(story())


def test_a_host_that_never_greets_is_given_up_after_five_minutes(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        line = Line(clock)
        watching = asyncio.ensure_future(line.watchdog.run())
        async with Receiver(Behaviour(silent_at=frozenset({"greeting"}))) as receiver:
            dialing = asyncio.ensure_future(line.dial(smart_host(receiver.port)))
            await line.session_began()
            await clock.advance(298)
            assert not dialing.done()
            await clock.advance(4)
            with pytest.raises(DialError, match="timed out"):
                await asyncio.wait_for(dialing, 5)
            watching.cancel()

    runner.run(story())


def test_a_final_answer_may_take_ten_minutes_and_is_then_in_doubt(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        line = Line(clock)
        watching = asyncio.ensure_future(line.watchdog.run())
        async with Receiver(Behaviour(silent_at=frozenset({"end"}))) as receiver:
            connection = await line.dial(smart_host(receiver.port))
            connection.begin(MAIL)
            await receiver.messages(1)
            await clock.advance(598)
            assert line.owner.outcomes.empty()
            await clock.advance(4)
            answer = (await asyncio.wait_for(line.owner.outcomes.get(), 5)).answers[1]
            assert answer.in_doubt
            assert "timed out" in answer.trouble
            watching.cancel()

    runner.run(story())


def test_without_the_lease_no_dot_is_sent(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        line = Line(clock)
        async with Receiver() as receiver:
            connection = await line.dial(smart_host(receiver.port))
            line.owner.lease = False
            outcome = await line.send(connection)
            assert outcome.answers[1].not_tried
            assert not outcome.answers[1].in_doubt
            await receiver.wait(lambda: not receiver.open)
            assert receiver.received == []

    runner.run(story())


def test_ten_megabytes_arrive_whole(runner: asyncio.Runner, clock: FakeClock, server_tls: ssl.SSLContext) -> None:
    async def story() -> None:
        line = Line(clock)
        content = b"Subject: big\r\n\r\n" + (b".dots " * 12 + b"\r\n") * 130_000
        async with Receiver(Behaviour(tls=server_tls)) as receiver:
            connection = await line.dial(smart_host(receiver.port))
            big = Transaction("a@example.com", {1: "b@example.org"}, content)
            assert answered(await line.send(connection, big)) == 250
            assert receiver.received[0].content == content
            await line.hang_up(connection)

    runner.run(story())


def test_an_idle_connection_says_goodbye(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        line = Line(clock)
        watching = asyncio.ensure_future(line.watchdog.run())
        async with Receiver() as receiver:
            await line.dial(smart_host(receiver.port))
            await clock.advance(32)
            await receiver.wait(lambda: not receiver.open)
            assert receiver.dialogue[-1] == "QUIT"
            watching.cancel()

    runner.run(story())

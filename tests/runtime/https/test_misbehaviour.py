"""What each misbehaviour of a client of the HTTPS port gets: real sockets, real TLS, and a clock that a test moves."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from inspect import Signature, signature
from typing import Any

import pytest
import structlog
import trustme
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sesrelay.connections import acceptor
from sesrelay.connections.caps import WorkerConnections
from sesrelay.connections.handshakes import Handshakes
from sesrelay.runtime.https.conversation import Conversation
from sesrelay.runtime.https.port import HttpsPort, application
from sesrelay.runtime.https.sending import taken, untaken
from sesrelay.runtime.https.waiting import Waits
from sesrelay.settings import Http
from tests.clock import FakeClock
from tests.standins.troubled import OF_THE_CONNECTION, SHORTAGES, TroubledSocket

AUTHORITY = trustme.CA()
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("localhost").configure_cert(SERVER)
TRUST = ssl.create_default_context()
AUTHORITY.configure_trust(TRUST)
BIG = 600_000
BOUNDS = Http(
    tls_handshake_seconds=10,
    head_seconds=20,
    head_octets=2000,
    body_seconds=25,
    body_octets=100_000,
    worker_body_octets=150_000,
    answer_seconds=30,
    idle_seconds=40,
)
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Counts(Counter[str]):
    def http_refused(self, reason: str) -> None:
        self[reason] += 1


class Client:
    """One connection, over TLS unless it is told otherwise."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @property
    def name(self) -> tuple[str, int]:
        """As the port knows it."""
        address, port = self.writer.get_extra_info("sockname")
        return address, port

    def say(self, octets: bytes) -> None:
        self.writer.write(octets)

    def close(self) -> None:
        self.writer.transport.abort()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), fields, await self.reader.readexactly(int(fields["content-length"]))

    async def rest(self) -> bytes:
        """All that comes until the end, however it ends."""
        got = b""
        with suppress(OSError):
            while more := await self.reader.read(65_536):
                got += more
        return got


class SlowReader:
    """A connection over TLS that takes octets only when it is told to, but for the few that its kernel holds for it.
    (the loops' transports take hundreds of kilobytes ahead)
    """

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = TRUST.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.name = raw.getsockname()

    async def begin(self) -> None:
        await self._until_done(self._tls.do_handshake)

    async def say(self, octets: bytes) -> None:
        await self._until_done(partial(self._tls.write, octets))

    async def read(self, octets: int) -> bytes:
        """Just so many."""
        got = b""
        while len(got) < octets:
            got += await self._until_done(partial(self._tls.read, octets - len(got)))
        return got

    async def head(self) -> bytes:
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            got += await self.read(1)
        return got

    def close(self) -> None:
        self._raw.close()

    async def _until_done(self, act: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        while True:
            found, wants = None, False
            try:
                found = act()
            except ssl.SSLWantReadError:
                wants = True
            if octets := self._outgoing.read():
                await loop.sock_sendall(self._raw, octets)
            if not wants:
                return found
            if not (octets := await loop.sock_recv(self._raw, 4096)):
                raise ConnectionError("closed")
            self._incoming.write(octets)


class House:
    """A port, and who comes to it."""

    def __init__(self, bounds: Http, *, at_all: int = 100, per_address: int = 100, extra: int = 2) -> None:
        self.clock = FakeClock()
        self.counts = Counts()
        self.caps = WorkerConnections(at_all=at_all, per_address=per_address)
        self.bodies: list[int] = []
        self.gate, self.asked_late = asyncio.Event(), asyncio.Event()
        """What the page ``late`` waits for before it asks for the body; it is there."""
        self.port = HttpsPort(
            application(
                [
                    Route("/take", self._take, methods=["POST"]),
                    Route("/big", self._big),
                    Route("/late", self._ask_late, methods=["POST"]),
                ]
            ),
            SERVER,
            bounds,
            caps=self.caps,
            extra=extra,
            clock=self.clock,
            counters=self.counts,
            mail=Handshakes(),
        )
        self.clients: list[Client | SlowReader] = []

    async def _take(self, request: Request) -> Response:
        self.bodies.append(len(await request.body()))
        return PlainTextResponse("taken\n")

    async def _ask_late(self, request: Request) -> Response:
        self.asked_late.set()
        await self.gate.wait()
        return await self._take(request)

    async def _big(self, _request: Request) -> Response:
        return Response(b"x" * BIG)

    async def open(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # what the kernel holds is taken, to us
        self.address = listening.getsockname()
        await self.port.start([listening])

    async def listen(self, listening: socket.socket) -> None:
        """At this socket, too; clients come to it from now on."""
        self.port._arrivals.listen(listening, 10)
        self.address = listening.getsockname()

    async def connect(self, *, tls: bool = True) -> Client:
        more: dict[str, Any] = {"ssl": TRUST, "server_hostname": "localhost"} if tls else {}
        client = Client(*await asyncio.open_connection(sock=await self._socket(), limit=2000, **more))
        self.clients.append(client)
        return client

    async def slow_reader(self) -> SlowReader:
        client = SlowReader(await self._socket(buffer=4096))
        self.clients.append(client)
        await client.begin()
        return client

    async def _socket(self, buffer: int = 0) -> socket.socket:
        raw = socket.socket()
        if buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, self.address)
        return raw

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.001)

    def conversation(self, client: Client | SlowReader) -> Conversation | None:
        """None: it is not through TLS."""
        return next((one for one in self.port._conversations() if one.client == client.name), None)

    async def heard(self, client: Client, waits: Waits) -> None:
        """Until the port has read what makes it wait for this, and knows that the client has got what it said itself:
        a kernel may confirm that as much as 40 ms later, and until then the times of idle clients have not begun.
        """

        def is_so() -> bool:
            found = self.conversation(client)
            return found is not None and found._waits is waits and not untaken(found._ticket.socket)

        await self.until(is_so)

    async def fills_up(self, client: SlowReader) -> None:
        """Until more of an answer is on its way than the client's kernel ever takes."""

        def is_so() -> bool:
            found = self.conversation(client)
            return found is not None and untaken(found._ticket.socket) > 10_000

        await self.until(is_so)

    async def close(self) -> None:
        stopping = asyncio.create_task(self.port.stop())
        while not stopping.done():
            await self.clock.advance(1)
            await asyncio.sleep(0.001)
        await stopping
        for client in self.clients:
            client.close()
        await self.until(lambda: self.port.connections == 0)
        assert self.caps._by_address.total() == 0
        assert self.port.memory.held == 0


def with_a_port(**bounds: int) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Makes a test of a story: on either event loop, with an open port as ``house``."""

    def test_of(story: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        async def play(arguments: dict[str, Any]) -> None:
            house = House(BOUNDS, **bounds)
            await house.open()
            await story(house, **arguments)
            await house.close()

        def test(runner: asyncio.Runner, **arguments: Any) -> None:
            runner.run(play(arguments))

        (runner,) = [each for each in signature(test).parameters.values() if each.name == "runner"]
        _, *others = signature(story).parameters.values()
        test.__name__, test.__doc__, test.__module__ = story.__name__, story.__doc__, story.__module__
        test.__signature__ = Signature([runner, *others])  # type: ignore[attr-defined]
        return test

    return test_of


Doing = Callable[[House], Awaitable[Client]]


async def connects_and_is_silent(house: House) -> Client:
    client = await house.connect(tls=False)
    await house.until(lambda: house.port._arrivals.coming)
    return client


async def says_half_a_hello(house: House) -> Client:
    client = await house.connect(tls=False)
    client.say(b"\x16\x03\x01\x02\x00\x01")
    await house.until(lambda: house.port._arrivals.handshakes.under_way)
    return client


async def is_silent_behind_tls(house: House) -> Client:
    client = await house.connect()
    await house.heard(client, Waits.BEGIN)
    return client


async def says_half_a_head(house: House) -> Client:
    client = await house.connect()
    client.say(GET[:-2])
    await house.heard(client, Waits.HEAD)
    return client


async def says_half_a_body(house: House) -> Client:
    client = await house.connect()
    client.say(b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
    await house.heard(client, Waits.BODY)
    return client


async def is_idle(house: House) -> Client:
    client = await house.connect()
    client.say(GET)
    assert (await client.answer())[0] == 200
    await house.heard(client, Waits.NEXT)
    return client


async def is_idle_and_says_half_a_head(house: House) -> Client:
    client = await is_idle(house)
    client.say(b"G")
    await house.heard(client, Waits.HEAD)
    return client


LATE: list[tuple[Doing, float, int | None, str | None]] = [
    (connects_and_is_silent, 10, None, "handshake"),
    (says_half_a_hello, 10, None, "handshake"),
    (is_silent_behind_tls, 20, None, None),
    (says_half_a_head, 20, 408, "408"),
    (says_half_a_body, 25, 408, "408"),
    (is_idle, 40, None, None),
    (is_idle_and_says_half_a_head, 20, 408, "408"),
]


@pytest.mark.parametrize(("does", "seconds", "status", "counted"), LATE)
@with_a_port()
async def test_who_lets_us_wait(
    house: House, does: Doing, seconds: float, status: int | None, counted: str | None
) -> None:
    client = await does(house)
    await house.clock.advance(seconds * 0.9)
    assert house.port.connections == 1
    assert not house.counts
    await house.clock.advance(seconds * 0.2)
    if status:
        found, fields, _ = await client.answer()
        assert (found, fields["connection"]) == (status, "close")
        await house.heard(client, Waits.HEARD)
        await house.clock.advance(6)
    assert await client.rest() == b""
    await house.clock.advance(3)
    await house.until(lambda: house.port.connections == 0)
    assert house.counts == ({counted: 1} if counted else {})


def post(octets: int, fields: bytes = b"") -> bytes:
    return b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (octets, fields)


LARGE: list[tuple[bytes, int]] = [
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 3000, 431),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 3000 + b"\r\n\r\n", 431),
    (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(400)) + b"\r\n", 431),
    (b"HEAD / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 3000 + b"\r\n\r\n", 431),
    (post(100_001), 413),
    (post(100_001, b"Expect: 100-continue\r\n"), 413),
    (post(10**19), 413),
    (post(100_001) + b"x" * 100_001, 413),
    (
        b"POST /take HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 30,
        413,
    ),
    (b"POST /take HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n", 400),
    (b"POST /take HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    (b"EHLO me\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"\x00" * 100, 400),
]


@pytest.mark.parametrize(("octets", "status"), LARGE, ids=range(len(LARGE)))
@with_a_port()
async def test_who_says_too_much_or_nonsense(house: House, octets: bytes, status: int) -> None:
    client = await house.connect()
    client.say(octets)
    client.say(b"x" * 500_000)  # it goes on sending: that must not cost it the answer, nor us memory
    if octets.startswith(b"HEAD"):
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 %d " % status)
    else:
        found, fields, _ = await client.answer()
        assert (found, fields["connection"]) == (status, "close")
        assert "date" in fields
    await house.heard(client, Waits.HEARD)
    await house.clock.advance(6)
    assert await client.rest() == b""
    assert house.counts == {str(status): 1}
    assert not house.bodies


@with_a_port()
async def test_a_slow_body_is_taken_as_long_as_it_comes(house: House) -> None:
    client = await house.connect()
    client.say(post(60_000))
    for octets in (20_000, 40_000):
        client.say(b"x" * 20_000)
        await house.until(lambda octets=octets: house.port.memory.held == octets)
        await house.clock.advance(20)
    client.say(b"x" * 20_000)
    assert await client.answer() == (200, {**(await fields_of(house)), "content-length": "6"}, b"taken\n")
    assert house.bodies == [60_000]


async def fields_of(house: House) -> dict[str, str]:
    client = await house.connect()
    client.say(GET)
    return (await client.answer())[1]


@with_a_port()
async def test_a_body_that_comes_octet_by_octet_is_not(house: House) -> None:
    client = await house.connect()
    client.say(post(1000))
    for octets in (1, 2, 3):
        client.say(b"x")
        await house.until(lambda octets=octets: house.port.memory.held == octets)
        await house.clock.advance(10)
    assert (await client.answer())[0] == 408
    assert not house.bodies


@with_a_port()
async def test_a_head_that_comes_octet_by_octet_is_not(house: House) -> None:
    client = await house.connect()
    for octets in (1, 2, 3, 4):
        client.say(GET[octets - 1 : octets])
        await house.heard(client, Waits.HEAD)
        await house.until(lambda octets=octets: len(house.conversation(client).conn.trailing_data[0]) == octets)
        await house.clock.advance(5)
    assert (await client.answer())[0] == 408


@with_a_port()
async def test_bodies_of_a_worker_are_bounded_together(house: House) -> None:
    first, second = await house.connect(), await house.connect()
    first.say(post(99_000) + b"x" * 90_000)
    await house.until(lambda: house.port.memory.held == 90_000)
    second.say(post(99_000) + b"x" * 90_000)
    status, fields, _ = await second.answer()
    assert (status, fields["retry-after"]) == (503, "10")
    first.say(b"x" * 9000)
    assert (await first.answer())[0] == 200
    assert house.bodies == [99_000]


@with_a_port()
async def test_who_does_not_take_the_answer_is_cut_off(house: House) -> None:
    client = await house.slow_reader()
    await client.say(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    await house.fills_up(client)
    await house.clock.advance(27)
    assert house.port.connections == 1
    await house.clock.advance(7)
    await house.until(lambda: house.port.connections == 0)
    assert house.counts == {"slow": 1}


@with_a_port()
async def test_who_takes_it_slowly_gets_all_of_it_and_is_idle_only_then(house: House) -> None:
    client = await house.slow_reader()
    await client.say(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.head()
    for _ in range(BIG // 20_000):
        await client.read(20_000)
        await house.clock.advance(5)
    await client.say(GET)
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    assert not house.counts


@with_a_port()
async def test_who_waits_for_our_leave_to_send_the_body_is_not_late(house: House) -> None:
    client = await house.connect()
    client.say(b"POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    await house.asked_late.wait()
    await house.heard(client, Waits.NOTHING)
    await house.clock.advance(3 * BOUNDS.body_seconds)
    assert not house.counts
    house.gate.set()
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    client.say(b"body")
    assert (await client.answer())[0] == 200
    assert house.bodies == [4]


@with_a_port()
async def test_with_our_leave_its_time_begins(house: House) -> None:
    client = await house.connect()
    client.say(b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    await house.clock.advance(BOUNDS.body_seconds * 0.9)
    assert not house.counts
    await house.clock.advance(BOUNDS.body_seconds * 0.3)
    assert (await client.answer())[0] == 408


@with_a_port()
async def test_who_reads_slowly_has_no_more_time_to_write(house: House) -> None:
    client = await house.slow_reader()
    await client.say(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" + GET[:10])
    await house.fills_up(client)
    await house.clock.advance(BOUNDS.head_seconds + 2)
    assert house.counts == {"408": 1}
    await client.head()
    await client.read(BIG)
    assert (await client.head()).startswith(b"HTTP/1.1 408 ")


@with_a_port()
async def test_a_body_that_comes_behind_its_answer_takes_nobodys_room(house: House) -> None:
    client = await house.connect()
    client.say(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n")
    assert (await client.answer())[0] == 404
    client.say(b"x" * 90_000)
    await house.heard(client, Waits.NEXT)
    assert house.port.memory.held == 0


@with_a_port()
async def test_who_has_its_answer_and_never_sends_the_body_hears_nothing_more(house: House) -> None:
    client = await house.connect()
    client.say(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
    assert (await client.answer())[0] == 404
    await house.heard(client, Waits.BODY)
    await house.clock.advance(BOUNDS.body_seconds + 1)
    assert await client.reader.read(1) == b""
    assert house.counts == {"408": 1}


@with_a_port()
async def test_pipelined_requests_are_answered_in_order(house: House) -> None:
    client = await house.connect()
    client.say(GET + post(4) + b"body" + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + GET[:10])
    assert [(await client.answer())[0] for _ in range(3)] == [200, 200, 404]
    await house.heard(client, Waits.HEAD)
    await house.clock.advance(23)
    assert (await client.answer())[0] == 408


@with_a_port(per_address=3)
async def test_one_too_many_is_told_so_and_health_checks_are_answered(house: House) -> None:
    held = [await house.connect(tls=False) for _ in range(3)]
    await house.until(lambda: house.port.connections == 3)
    client = await house.connect()
    client.say(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
    status, fields, _ = await client.answer()
    assert (status, fields["retry-after"], fields["connection"]) == (503, "10", "close")
    probe = await house.connect()
    probe.say(GET)
    assert (await probe.answer())[0] == 200
    assert await probe.rest() == b""
    assert house.counts == {"crowd": 2, "503": 1}
    held[0].writer.transport.abort()
    await house.until(lambda: house.caps._by_address.total() == 2)
    client = await house.connect()
    client.say(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.answer())[0] == 404


@with_a_port(per_address=1, extra=2)
async def test_nobody_wins_by_sitting_on_the_places_of_those_who_are_too_many(house: House) -> None:
    for _ in range(50):
        await house.connect(tls=False)
    await house.until(lambda: house.counts["crowd"] == 49)
    assert house.port.connections == 3
    probe = await house.connect()
    probe.say(GET)
    assert (await probe.answer())[0] == 200


@with_a_port(per_address=1, extra=0)
async def test_without_such_places_one_too_many_is_closed(house: House) -> None:
    await house.connect(tls=False)
    await house.until(lambda: house.port.connections == 1)
    client = await house.connect(tls=False)
    assert await client.rest() == b""
    assert house.port.connections == 1


async def reset(house: House, client: Client) -> None:
    raw = client.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


@pytest.mark.parametrize("does", [row[0] for row in LATE])
@with_a_port()
async def test_who_leaves_is_counted_out(house: House, does: Doing) -> None:
    client = await does(house)
    await house.until(lambda: house.port.connections == 1)
    await reset(house, client)
    await house.until(lambda: house.port.connections == 0)
    assert house.caps._by_address.total() == 0


@with_a_port()
async def test_the_log_has_one_line_for_a_peer_in_a_minute(house: House) -> None:
    with structlog.testing.capture_logs() as lines:
        for _ in range(5):
            client = await house.connect()
            client.say(b"EHLO me\r\n\r\n")
            assert (await client.answer())[0] == 400
        assert [line["event"] for line in lines] == ["http.refused"]
        assert lines[0]["client"] == "127.0.0.1"
        await house.clock.advance(61)
        client = await house.connect()
        client.say(b"EHLO me\r\n\r\n")
        await client.answer()
        assert len(lines) == 2


@with_a_port()
async def test_at_a_drain_the_silent_go_at_once_and_requests_are_finished(house: House) -> None:
    silent, idle, busy = await connects_and_is_silent(house), await is_idle(house), await says_half_a_body(house)
    assert house.port.connections == 3
    stopping = asyncio.create_task(house.port.stop())
    assert await silent.rest() == await idle.rest() == b""
    assert not stopping.done()
    busy.say(b"x" * 96)
    assert (await busy.answer())[0] == 200
    assert await busy.rest() == b""
    idle.writer.close()
    busy.writer.close()
    async with asyncio.timeout(4):
        await stopping


@with_a_port()
async def test_who_is_late_behind_a_head_request_is_told_so_with_a_body(house: House) -> None:
    client = await house.connect()
    client.say(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    client.say(b"GET /healthz HTTP/1.1\r\nHost")
    await house.heard(client, Waits.HEAD)
    await house.clock.advance(BOUNDS.head_seconds + 2)
    status, _, words = await client.answer()
    assert (status, bool(words)) == (408, True)


@with_a_port()
async def test_who_is_in_the_midst_of_a_handshake_at_the_end_does_not_outlive_the_port(house: House) -> None:
    client = await says_half_a_hello(house)
    await house.until(lambda: house.port._arrivals.handshakes.under_way)
    await house.port.stop()
    assert await client.rest() == b""
    await house.until(lambda: not house.port.connections)


@with_a_port()
async def test_a_connection_that_is_passed_on_at_the_end_is_closed(house: House) -> None:
    await house.port.stop()
    ours, theirs = socket.socketpair()
    house.port.take(theirs)
    assert ours.recv(1) == b""
    ours.close()


@with_a_port()
async def test_out_of_descriptors_it_rests_and_comes_again(house: House) -> None:
    with pytest.MonkeyPatch.context() as patch, structlog.testing.capture_logs() as lines:
        patch.setattr(acceptor, "REST_SECONDS", 0.01)
        await house.listen(TroubledSocket(*SHORTAGES))
        await is_idle(house)
    assert [line["event"] for line in lines] == ["http.not_accepted"] * 4


@with_a_port()
async def test_what_a_connection_met_while_it_waited_keeps_nobody_waiting(house: House) -> None:
    with pytest.MonkeyPatch.context() as patch, structlog.testing.capture_logs() as lines:
        patch.setattr(acceptor, "REST_SECONDS", 3600)
        await house.listen(TroubledSocket(*OF_THE_CONNECTION))
        await is_idle(house)
    assert not lines


def test_of_a_connection_that_the_loop_has_closed_nothing_is_on_its_way() -> None:
    connection = socket.socket()
    connection.close()
    assert (untaken(connection), taken(connection)) == (0, 0)

"""A connection counts from its arrival on, exactly once, whatever becomes of it; and nothing that it says is lost."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import structlog

from sesrelay.connections import acceptor
from sesrelay.connections.caps import WorkerConnections
from sesrelay.connections.handshakes import Handshakes
from sesrelay.fronts.smtp import arrivals
from tests.fronts.smtp.house import ACCEPTED, ENVELOPE, GREETING, HOST, OK, PLAIN, SECURE_EHLO, Client, House
from tests.fronts.smtp.test_commit import drain
from tests.standins.troubled import OF_THE_CONNECTION, SHORTAGES, TroubledSocket

HEADER = b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 25\r\n"
BEHIND_A_BALANCER = "192.0.2.7"
MODES = [("tls", False), ("tls", True), ("starttls", True), ("starttls", False)]


class Ledger(WorkerConnections):
    """Notes who comes and goes."""

    def __init__(self, per_address: int = 100) -> None:
        super().__init__(at_all=100, per_address=per_address)
        self.admitted: list[str] = []
        self.left: list[str] = []

    def admit(self, address: str) -> bool:
        admitted = super().admit(address)
        if admitted:
            self.admitted.append(address)
        return admitted

    def leave(self, address: str) -> None:
        self.left.append(address)
        super().leave(address)


@pytest.fixture
def ledger(house: House) -> Ledger:
    house.connections = Ledger()
    return house.connections


def heard(client: Client) -> bytes:
    """Until the end, however it ends."""
    with suppress(ConnectionError):
        return client.rest()
    return b""


def hello() -> bytes:
    """What a client of TLS says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=HOST).do_handshake()
    return outgoing.read()


def test_a_silent_connection_counts_at_once(house: House, ledger: Ledger) -> None:
    _, port = house.open("tls")
    silent = house.connect(port)
    house.until(lambda: ledger.admitted == ["127.0.0.1"])
    assert house.made == []  # and costs neither a session nor TLS
    silent.starttls(house.trust).expect(GREETING)
    assert ledger.admitted == ["127.0.0.1"]


def test_one_too_many_is_closed_before_any_handshake(house: House) -> None:
    house.connections = Ledger(per_address=2)
    _, port = house.open("tls")
    silent = [house.connect(port) for _ in range(2)]
    house.until(lambda: house.connections._by_address.total() == 2)
    assert heard(house.connect(port)) == b""
    house.until(lambda: house.counts.turned_away == 1)
    assert house.made == []
    silent[0].socket.close()
    house.until(lambda: house.connections._by_address.total() == 1)
    house.secure(port).expect(GREETING)


def goes_away(client: Client, _: House) -> None:
    client.socket.close()


def resets(client: Client, _: House) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


def says_no_tls(client: Client, _: House) -> None:
    client.send(b"EHLO me\r\n" * 3)
    heard(client)


def leaves_in_the_midst(client: Client, house: House) -> None:
    client.send(hello()[:50])
    house.until(lambda: len(house.made) == 1)
    resets(client, house)


def leaves_behind_the_answer(client: Client, house: House) -> None:
    client.send(hello())
    assert client.read(100)
    resets(client, house)


def is_silent_in_the_midst(client: Client, _: House) -> None:
    client.send(hello()[:50])
    assert heard(client) == b""


def is_silent(client: Client, _: House) -> None:
    assert heard(client) == b""


def quits(client: Client, house: House) -> None:
    client.starttls(house.trust).expect(GREETING)
    client.say(b"QUIT\r\n", b"221 Bye\r\n")
    heard(client)


ENDS = [
    *(goes_away, resets, says_no_tls, leaves_in_the_midst, leaves_behind_the_answer),
    *(is_silent_in_the_midst, is_silent, quits),
]


@pytest.mark.parametrize("proxy", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_who_was_counted_is_counted_out_once(
    house: House, ledger: Ledger, end: Callable[[Client, House], None], *, proxy: bool
) -> None:
    seconds = 0.2 if end in (is_silent, is_silent_in_the_midst) else 30
    door, port = house.open("tls", proxy=proxy, tls_handshake_seconds=seconds)
    client = house.connect(port)
    if proxy:
        client.send(HEADER)
        house.until(lambda: ledger.admitted == [BEHIND_A_BALANCER])
    end(client, house)
    house.until(lambda: len(ledger.admitted) == 1 and not door._coming and not door.connections)
    house.settle()
    assert ledger.left == ledger.admitted
    assert not house.handshakes.under_way


def test_a_handshake_that_is_cut_before_it_began_is_counted_out(house: House, ledger: Ledger) -> None:
    """Its task is cancelled before its first step."""
    door, port = house.open("tls")
    begin = arrivals.Arrival.begin

    def begin_and_cut(self: Any) -> None:
        begin(self)
        self.cut()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrivals.Arrival, "begin", begin_and_cut)
        client = house.connect(port)
        client.send(hello())
        assert heard(client) == b""
    house.until(lambda: not door._coming)
    assert ledger.left == ledger.admitted == ["127.0.0.1"]
    assert not house.handshakes.under_way


def test_who_makes_room_for_others_is_counted_out(house: House, ledger: Ledger) -> None:
    house.handshakes = Handshakes(most=2)
    door, port = house.open("tls")
    slow = [house.connect(port) for _ in range(2)]
    for number, each in enumerate(slow, 1):
        each.send(hello()[:50])
        house.until(lambda number=number: house.handshakes.under_way == number)
    house.secure(port).expect(GREETING)
    assert heard(slow[0]) == b""
    house.until(lambda: len(ledger.left) == 1 and len(door._coming) == 1)


@pytest.mark.parametrize("silent", [True, False])
def test_who_is_silent_at_a_drain_is_closed_when_patience_ends(house: House, ledger: Ledger, *, silent: bool) -> None:
    door, port = house.open("tls")
    client = house.connect(port)
    if not silent:
        client.send(hello()[:50])
        house.until(lambda: house.handshakes.under_way == 1)
    house.until(lambda: len(door._coming) == 1)
    draining = drain(house)
    house.settle()
    house.advance(1.9)
    assert len(door._coming) == 1
    house.advance(0.2)
    assert heard(client) == b""
    house.until(lambda: ledger.left == ["127.0.0.1"])
    house.advance(0.1)
    draining.result(10)


def everything_at_once(house: House, port: int, before: bytes) -> bytes:
    """The header in one segment with the ClientHello, a message with the end of the handshake, the end behind it."""
    connection = house.connect(port).socket
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = house.trust.wrap_bio(incoming, outgoing, server_hostname=HOST)
    got, said = b"", False
    while True:
        try:
            if not said:
                tls.do_handshake()
                tls.write(b"EHLO me\r\nAUTH PLAIN " + PLAIN + b"\r\n" + ENVELOPE + b"x\r\n.\r\n")
                said = True
                with suppress(ssl.SSLWantReadError):
                    tls.unwrap()
            got += tls.read(65536)
        except ssl.SSLWantReadError:
            connection.sendall(before + outgoing.read())
            before = b""
            incoming.write(connection.recv(65536))
        except ssl.SSLZeroReturnError:
            return got


@pytest.mark.parametrize("header", [b"", HEADER])
def test_nothing_is_lost_of_what_a_client_says_ahead(house: House, header: bytes) -> None:
    door, port = house.open("tls", proxy=bool(header))
    got = everything_at_once(house, port, header)
    assert got.startswith(GREETING + SECURE_EHLO)
    assert got.endswith(ACCEPTED)
    assert house.relay.submissions[0].client_address == (BEHIND_A_BALANCER if header else "127.0.0.1")
    house.until(lambda: not door.connections)


@pytest.mark.parametrize(("mode", "proxy"), MODES)
def test_a_connection_that_somebody_else_has_accepted_is_served_alike(
    house: House, ledger: Ledger, mode: str, *, proxy: bool
) -> None:
    door, _ = house.open(mode, proxy=proxy)
    client, accepted = accepted_from(house)
    house.call(lambda: door.take(accepted))
    client.send(HEADER if proxy else b"")
    if mode == "tls":
        client.starttls(house.trust)
    client.expect(GREETING)
    client.say(b"NOOP\r\n", OK)
    assert ledger._by_address == {BEHIND_A_BALANCER if proxy else "127.0.0.1": 1}


@pytest.mark.parametrize(
    ("mode", "told"), [("starttls", b"421 Too many concurrent SMTP connections\r\n"), ("tls", b"")]
)
def test_caps_are_the_clients_and_not_the_load_balancers(house: House, mode: str, told: bytes) -> None:
    house.connections = Ledger(per_address=1)
    _, port = house.open(mode, proxy=True)

    def come(address: bytes) -> Client:
        client = house.connect(port)
        client.send(HEADER.replace(BEHIND_A_BALANCER.encode(), address))
        return client

    for address in (b"192.0.2.7", b"192.0.2.8", b"192.0.2.9"):
        client = come(address)
        if mode == "tls":
            client.starttls(house.trust)
        client.expect(GREETING)
    assert heard(come(b"192.0.2.8")) == told
    house.until(lambda: house.counts.turned_away == 1)


def test_few_may_keep_a_load_balancers_header_to_themselves(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "_UNINTRODUCED", 2)
    door, port = house.open(proxy=True)
    first, second = house.connect(port), house.connect(port)
    house.until(lambda: door.introducing == 2)
    assert heard(house.connect(port)) == b""
    first.send(HEADER)
    first.expect(GREETING)
    second.socket.close()
    house.until(lambda: not door.introducing)
    third = house.connect(port)
    third.send(HEADER)
    third.expect(GREETING)


def come(house: House, mode: str, listening: socket.socket) -> None:
    """One client, and it is served."""
    client = house.connect(listening.getsockname()[1])
    if mode == "tls":
        client.starttls(house.trust)
    client.expect(GREETING)


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_out_of_descriptors_it_rests_and_comes_again(house: House, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(acceptor, "REST_SECONDS", 0.01)
    door, _ = house.open(mode)
    listening = TroubledSocket(*SHORTAGES)
    with structlog.testing.capture_logs() as logged:
        house.call(lambda: door.listen(listening, 10))
        come(house, mode, listening)
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["smtp.not_accepted"] * 4


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_what_a_connection_met_while_it_waited_keeps_nobody_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(acceptor, "REST_SECONDS", 3600)
    door, _ = house.open(mode)
    listening = TroubledSocket(*OF_THE_CONNECTION)
    with structlog.testing.capture_logs() as logged:
        house.call(lambda: door.listen(listening, 10))
        come(house, mode, listening)
    assert not logged


def test_refused_headers_are_counted_each_and_told_of_once(house: House, ledger: Ledger) -> None:
    door, port = house.open("tls", proxy=True)
    with structlog.testing.capture_logs() as logged:
        for _ in range(5):
            client = house.connect(port)
            client.send(b"EHLO client.example\r\n")
            assert heard(client) == b""
    assert house.counts.unintroduced == 5
    assert [(line["event"], line["client"]) for line in logged] == [("smtp.proxy_header_refused", "127.0.0.1")]
    assert ledger.admitted == ledger.left == []
    house.until(lambda: not door._coming and not door.introducing)


def test_a_failed_handshake_behind_a_header_is_the_clients(house: House, ledger: Ledger) -> None:
    door, port = house.open("tls", proxy=True)
    client = house.connect(port)
    with structlog.testing.capture_logs() as logged:
        client.send(HEADER + b"this is no TLS at all\r\n\r\n")
        heard(client)
        house.until(lambda: len(ledger.admitted) == 1 and not door._coming)
    assert [(line["event"], line["client"]) for line in logged] == [("smtp.tls_handshake_failed", BEHIND_A_BALANCER)]
    assert ledger.left == [BEHIND_A_BALANCER]


def test_a_connection_that_comes_and_goes_costs_no_handshake(house: House, ledger: Ledger) -> None:
    door, port = house.open("tls")
    for _ in range(10):
        house.connect(port).socket.close()
    house.until(lambda: len(ledger.left) == 10)
    assert house.made == []
    assert not door._coming


def test_who_has_spoken_when_it_is_accepted_is_not_waited_for(house: House, ledger: Ledger) -> None:
    """The common case: no reader of the loop's, and no end of time but the handshake's own."""
    door, _ = house.open("tls")
    heard_later: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrivals.Arrival, "_set_timer", heard_later.append)
        client = house.connect(listener.getsockname()[1])
        client.send(hello())
        accepted, _ = listener.accept()
        house.call(lambda: door.take(accepted))
        assert client.read(100)
    assert heard_later == []
    assert ledger.admitted == ["127.0.0.1"]


def accepted_from(house: House) -> tuple[Client, socket.socket]:
    """A client, and the socket that somebody else has accepted it with."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = house.connect(listener.getsockname()[1])
        return client, listener.accept()[0]


def test_a_client_in_clear_costs_no_task(house: House, ledger: Ledger) -> None:
    door, _ = house.open()
    client, accepted = accepted_from(house)

    def tasks_beside_this() -> int:
        door.take(accepted)
        return len(asyncio.all_tasks()) - 1

    assert house.call(tasks_beside_this) == 0
    client.expect(GREETING)
    assert ledger.admitted == ["127.0.0.1"]


@pytest.mark.parametrize("proxy", [False, True])
def test_a_session_in_clear_that_cannot_be_made_is_counted_out(house: House, ledger: Ledger, *, proxy: bool) -> None:
    door, port = house.open(proxy=proxy)
    make, door._make = door._make, lambda _: 1 // 0
    with structlog.testing.capture_logs() as logged:
        client = house.connect(port)
        client.send(HEADER if proxy else b"")
        assert heard(client) == b""
        house.until(lambda: not door._coming)
    assert [line["event"] for line in logged] == ["smtp.session_failed"]
    assert ledger.left == ledger.admitted == [BEHIND_A_BALANCER if proxy else "127.0.0.1"]
    door._make = make
    client = house.connect(port)
    client.send(HEADER if proxy else b"")
    client.expect(GREETING)


def test_who_was_accepted_just_before_a_drain_is_greeted_and_waited_for(house: House, ledger: Ledger) -> None:
    door, _ = house.open()
    client, accepted = accepted_from(house)

    async def take_and_drain() -> None:
        door.take(accepted)
        door.close()
        await door.drain(10)

    draining = asyncio.run_coroutine_threadsafe(take_and_drain(), house.loop)
    client.expect(GREETING)
    house.settle()
    assert not draining.done()
    client.say(b"QUIT\r\n", b"221 Bye\r\n")
    house.until(lambda: ledger.left == ["127.0.0.1"])
    house.advance(0.1)
    draining.result(10)

"""From the final dot to the 250: nothing that the client does in between stops a commit, and drain loses nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from sesrelay import killpoints
from tests.fronts.smtp.house import (
    ACCEPTED,
    CLEAR_EHLO,
    ENVELOPE,
    GO,
    GREETING,
    HOST,
    OK,
    PLAIN,
    SECURE_EHLO,
    Client,
    House,
    T,
)

RESTARTING = b"421 Service is restarting, please connect again\r\n"


def under_way(house: House) -> Client:
    """A message whose commit has begun and does not end."""
    client = house.logged_in()
    house.relay.gate = asyncio.Event()
    client.say(ENVELOPE, OK + OK + GO)
    client.send(b"x\r\n.\r\n")
    house.until(lambda: len(house.relay.submissions) == 1)
    return client


@pytest.mark.parametrize("how", ["half-close", "close", "reset"])
def test_a_client_that_leaves_after_the_final_dot_does_not_stop_the_commit(house: House, how: str) -> None:
    client = under_way(house)
    if how == "half-close":
        client.socket.shutdown(socket.SHUT_WR)
    elif how == "reset":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how != "half-close":
        client.socket.close()
    house.until(lambda: house.made[0]._gone)
    assert house.relay.bodies == []
    house.call(house.relay.gate.set)
    house.until(lambda: house.relay.bodies == [b"x\r\n"])
    house.until(lambda: house.memory.held == 0)


def test_a_client_that_has_closed_its_side_of_tls_behind_the_final_dot_gets_its_250(house: House) -> None:
    client = under_way(house)
    client.send(b"QUIT\r\n")
    client.close_our_side()
    house.until(lambda: house.made[0]._client_closed)
    house.call(house.relay.gate.set)
    assert client.rest() == ACCEPTED + b"221 Bye\r\n"


def all_at_once(house: House, octets: bytes, mode: str = "tls") -> bytes:
    """What a client gets that says everything, closes its direction of TLS, and only then reads."""
    client = house.connect(house.open(mode)[1])
    if mode == "starttls":
        client.expect(GREETING)
        client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    connection = client.socket
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = house.trust.wrap_bio(incoming, outgoing, server_hostname=HOST)

    def exchange(act: Callable[[], T]) -> T:
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65536))

    exchange(tls.do_handshake)
    tls.write(octets)
    with suppress(ssl.SSLWantReadError):
        tls.unwrap()
    got = b""
    with suppress(ssl.SSLZeroReturnError):  # the other side has closed its direction, too
        while True:
            got += exchange(lambda: tls.read(65536))
    return got


def test_a_client_that_has_said_all_at_once_and_closed_its_side_of_tls_is_answered(house: House) -> None:
    login = b"EHLO me\r\nAUTH PLAIN " + PLAIN + b"\r\n"
    said = login + b"NOOP\r\n" * 500 + ENVELOPE + b"x\r\n.\r\nNOOP\r\nhalf a comm"
    replies = GREETING + SECURE_EHLO + b"235 Authentication successful.\r\n" + OK * 500 + OK + OK + GO + ACCEPTED + OK
    assert all_at_once(house, said) == replies
    house.until(lambda: house.made[0]._gone)


def test_a_client_that_says_all_and_closes_its_side_with_the_last_of_starttls_handshake_is_answered(
    house: House,
) -> None:
    login = b"EHLO me\r\nAUTH PLAIN " + PLAIN + b"\r\n"
    replies = SECURE_EHLO + b"235 Authentication successful.\r\n" + OK + OK + GO + ACCEPTED
    assert all_at_once(house, login + ENVELOPE + b"x\r\n.\r\n", "starttls") == replies
    house.until(lambda: house.made[0]._gone)
    assert house.relay.bodies == [b"x\r\n"]


def test_a_client_that_closes_its_side_of_tls_in_a_message_is_done(house: House) -> None:
    login = b"EHLO me\r\nAUTH PLAIN " + PLAIN + b"\r\n"
    assert all_at_once(house, login + ENVELOPE + b"half a mess").endswith(OK + OK + GO)
    house.until(lambda: house.made[0]._gone)
    assert house.memory.held == 0
    assert house.relay.submissions == []


def test_what_comes_during_a_commit_waits_unread_for_its_end(house: House) -> None:
    client = under_way(house)
    client.send(b"NOOP\r\n")
    house.until(lambda: house.made[0]._reading_paused)
    for _ in range(20):
        client.send(b"NOOP\r\n" * 1000)
    house.settle()
    assert len(house.made[0]._buffer) < 6 * 20_001
    house.call(house.relay.gate.set)
    client.expect(ACCEPTED + OK * 20_001)


def test_the_250_comes_after_the_place_where_a_process_may_die(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    client = house.logged_in()
    written: list[bytes] = []
    reached: list[tuple[str, int, int]] = []
    connection = house.made[0]
    write = connection._write
    monkeypatch.setattr(connection, "_write", lambda reply: (written.append(reply), write(reply)))

    def note(point: str) -> None:
        reached.append((point, len(house.relay.bodies), written.count(ACCEPTED)))

    monkeypatch.setattr(killpoints, "reached", note)
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"x\r\n.\r\n", ACCEPTED)
    assert reached == [("before-250", 1, 0)]
    assert written.count(ACCEPTED) == 1


def drain(house: House) -> Any:
    return asyncio.run_coroutine_threadsafe(house._doors[-1].drain(60), house.loop)


def arrive(house: House, port: int) -> Client:
    """Over TLS, logged in."""
    client = house.secure(port)
    client.expect(GREETING)
    client.say(b"EHLO me\r\nAUTH PLAIN " + PLAIN + b"\r\n", SECURE_EHLO + b"235 Authentication successful.\r\n")
    return client


def send_one(client: Client) -> None:
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"x\r\n.\r\n", ACCEPTED)


def test_drain_tells_who_is_between_messages_and_finishes_what_is_under_way(house: House) -> None:
    door, port = house.open("tls")
    between, sending = arrive(house, port), arrive(house, port)
    send_one(between)
    house.relay.gate = asyncio.Event()
    sending.say(ENVELOPE, OK + OK + GO)
    sending.send(b"x\r\n.\r\n")
    house.until(lambda: len(house.relay.submissions) == 2)
    draining = drain(house)
    assert between.rest() == RESTARTING
    house.advance(5)
    assert not draining.done()
    house.call(house.relay.gate.set)
    assert sending.rest() == ACCEPTED + RESTARTING
    house.until(lambda: door.connections == 0)
    house.advance(1)
    draining.result(10)
    assert len(house.relay.bodies) == 2


def test_drain_lets_a_message_that_is_coming_in_be_finished(house: House) -> None:
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    house.call(lambda: setattr(house._doors[-1], "draining", True))
    client.send(b"hello\r\n.\r\nMAIL FROM:<a@sender.example>\r\n")
    assert client.rest() == ACCEPTED + RESTARTING
    assert house.relay.bodies == [b"hello\r\n"]


def test_drain_refuses_a_faulty_message_as_ever(house: House) -> None:
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    house.call(lambda: setattr(house._doors[-1], "draining", True))
    client.send(b"a\0b\r\n.\r\n")
    assert client.rest() == b"554 Transaction failed: Message contains a NUL character.\r\n" + RESTARTING


def test_who_came_before_the_drain_may_still_send_his_first_message(house: House) -> None:
    """A program that sends one mail and reports what it was told would have failed, although nothing was wrong."""
    _, port = house.open("tls")
    client = house.secure(port)
    client.expect(GREETING)
    drain(house)
    house.settle()
    client.say(b"EHLO me\r\nAUTH PLAIN " + PLAIN + b"\r\n", SECURE_EHLO + b"235 Authentication successful.\r\n")
    client.say(ENVELOPE, OK + OK + GO)
    client.send(b"hello\r\n.\r\nMAIL FROM:<a@sender.example>\r\n")
    assert client.rest() == ACCEPTED + RESTARTING


def test_who_is_between_mail_and_data_at_a_drain_is_not_interrupted(house: House) -> None:
    client = house.logged_in()
    send_one(client)
    client.say(b"MAIL FROM:<a@sender.example>\r\n", OK)
    drain(house)
    house.settle()
    client.say(b"RCPT TO:<b@example.com>\r\nDATA\r\n", OK + GO)
    client.send(b"hello\r\n.\r\n")
    assert client.rest() == ACCEPTED + RESTARTING


def test_a_login_and_an_upgrade_under_way_at_a_drain_are_finished(house: House) -> None:
    house.relay.gate = asyncio.Event()
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    client.say(b"EHLO me\r\nSTARTTLS\r\n", CLEAR_EHLO + b"220 Ready to start TLS\r\n")
    drain(house)
    house.settle()
    client.starttls(house.trust)
    client.say(b"EHLO me\r\nAUTH PLAIN " + PLAIN + b"\r\n", SECURE_EHLO)
    house.call(house.relay.gate.set)
    client.expect(b"235 Authentication successful.\r\n")
    send_one(client)
    assert client.rest() == RESTARTING


def test_a_handshake_under_way_at_a_drain_is_waited_for(house: House) -> None:
    door, port = house.open("tls")
    early = house.connect(port)
    house.until(lambda: len(door._coming) == 1)
    draining = drain(house)
    house.settle()
    assert not draining.done()
    early.starttls(house.trust).expect(GREETING)


def test_drain_has_patience_with_those_who_go_on_and_none_with_the_silent(house: House) -> None:
    _, port = house.open("tls")
    goes_on, silent = arrive(house, port), arrive(house, port)
    drain(house)
    house.settle()
    goes_on.say(b"NOOP\r\n", OK)
    house.advance(2.1)
    assert silent.rest() == RESTARTING
    goes_on.say(b"NOOP\r\n", OK)
    house.advance(2.1)
    goes_on.say(b"NOOP\r\n", OK)
    house.advance(2.1)
    house.advance(2.1)
    assert goes_on.rest() == RESTARTING


def test_drain_gives_up_when_its_time_is_over(house: House) -> None:
    under_way(house)
    draining = drain(house)
    house.settle()
    house.advance(59)
    assert not draining.done()
    house.advance(2)
    draining.result(10)

"""Every bound of SMTP-9 with the reply that clients expect before it closes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Literal

import pytest

from sesrelay.connections.caps import WorkerConnections
from sesrelay.fronts.smtp import replies
from sesrelay.fronts.smtp.shortway import UNREAD
from sesrelay.model.refusal import Refusal, Refused
from tests.fronts.smtp.house import ACCEPTED, ENVELOPE, GO, GREETING, OK, PLAIN, House

MANY = 1 << 30
"""Bad commands, where a test wants more commands without mail than a session may send."""
IDLE = b"451 4.4.2 Timeout waiting for data from client.\r\n"
TOO_OLD = b"421 Connection closed by server. Maximum session time reached.\r\n"
TOO_MANY = b"421 Too many concurrent SMTP connections\r\n"


def message(house: House, client: object) -> None:
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"x\r\n.\r\n", ACCEPTED)


def test_too_many_connections_from_one_address(house: House) -> None:
    house.connections = WorkerConnections(at_all=100, per_address=2)
    door, port = house.open()
    first, second = house.connect(port), house.connect(port)
    first.expect(GREETING)
    second.expect(GREETING)
    assert house.connect(port).rest() == TOO_MANY
    assert house.counts.turned_away == 1
    first.say(b"QUIT\r\n", b"221 Bye\r\n")
    house.until(lambda: door.connections == 1)
    house.connect(port).expect(GREETING)


def test_connections_are_counted_over_all_addresses_and_given_back() -> None:
    caps = WorkerConnections(at_all=3, per_address=2)
    assert [caps.admit(address) for address in ("a", "a", "a", "b", "c")] == [True, True, False, True, False]
    caps.leave("a")
    assert [caps.admit(address) for address in ("c", "c")] == [True, False]


def test_an_idle_session_is_told_so_and_closed(house: House) -> None:
    client = house.logged_in()
    house.advance(299)
    client.say(b"NOOP\r\n", OK)
    house.advance(299)
    client.say(b"NOOP\r\n", OK)
    house.advance(361)
    assert client.rest() == IDLE


def test_an_idle_session_is_closed_in_clear_and_in_the_midst_of_a_message_too(house: House) -> None:
    door, port = house.open()
    clear = house.connect(port)
    clear.expect(GREETING)
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    client.send(b"half a mess")
    house.until(lambda: house.made[1]._body._tail == b"" and house.memory.held > 0)
    house.advance(361)
    assert clear.rest() == IDLE
    assert client.rest() == IDLE
    house.until(lambda: door.connections == 0 and house.memory.held == 0)


def test_every_chunk_of_a_message_is_a_sign_of_life(house: House) -> None:
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    for _ in range(5):
        client.send(b"x" * 70 + b"\r\n")
        house.until(lambda: house.made[0].alive)
        house.advance(250)
    client.say(b".\r\n", ACCEPTED)


def test_a_client_that_waits_for_us_is_not_idle(house: House) -> None:
    client = house.logged_in()
    house.relay.gate = asyncio.Event()
    client.say(ENVELOPE, OK + OK + GO)
    client.send(b"x\r\n.\r\n")
    house.until(lambda: len(house.relay.submissions) == 1)
    house.advance(1000)
    house.call(house.relay.gate.set)
    client.expect(ACCEPTED)


def test_who_does_not_take_the_last_word_is_cut_off(house: House) -> None:
    door, port = house.open()
    client = house.connect(port)
    client.expect(GREETING)
    house.settle()
    connection = house.made[0]
    closed = []
    house.call(lambda: setattr(connection, "transport", Stuck(connection.transport, closed)))
    house.advance(400)
    assert closed == ["close"]
    house.advance(400)
    assert closed == ["close", "abort"]
    house.until(lambda: door.connections == 0)


class Stuck:
    """A transport whose client reads nothing any more."""

    def __init__(self, transport: asyncio.Transport, closed: list[str]) -> None:
        self.transport = transport
        self.closed = closed

    def write(self, octets: bytes) -> None:
        pass

    def close(self) -> None:
        self.closed.append("close")

    def abort(self) -> None:
        self.closed.append("abort")
        self.transport.abort()


def test_an_old_session_ends_at_its_next_command(house: House) -> None:
    client = house.logged_in(session_seconds=100)
    message(house, client)
    house.advance(111)
    client.send(b"MAIL FROM:<a@sender.example>\r\nNOOP\r\n")
    assert client.rest() == TOO_OLD


def test_a_session_has_to_log_in(house: House) -> None:
    client = house.greeted(login_seconds=100)
    house.advance(95)
    client.say(b"NOOP\r\n", OK)
    house.advance(11)
    assert client.rest() == b"421 Connection closed by server. No authentication in time.\r\n"


def test_who_has_logged_in_in_time_may_stay(house: House) -> None:
    client = house.logged_in(login_seconds=100)
    house.advance(250)
    client.say(b"NOOP\r\n", OK)


def test_a_login_under_way_is_not_overdue(house: House) -> None:
    client = house.greeted(login_seconds=100)
    house.relay.gate = asyncio.Event()
    client.send(b"AUTH PLAIN " + PLAIN + b"\r\n")
    house.until(lambda: len(house.relay.logins) == 1)
    house.advance(250)
    house.call(house.relay.gate.set)
    client.expect(b"235 Authentication successful.\r\n")


def test_an_old_session_may_finish_its_message(house: House) -> None:
    client = house.logged_in(session_seconds=100)
    client.say(ENVELOPE, OK + OK + GO)
    house.advance(111)
    client.say(b"x\r\n.\r\n", ACCEPTED)
    client.send(b"NOOP\r\n")
    assert client.rest() == TOO_OLD


def test_a_message_that_drips_for_a_second_life_is_cut_off(house: House) -> None:
    client = house.logged_in(session_seconds=100)
    client.say(ENVELOPE, OK + OK + GO)
    for _ in range(8):
        client.send(b"x")
        house.advance(25)
    house.advance(25)
    assert client.rest() == TOO_OLD
    assert house.relay.submissions == []
    house.until(lambda: house.memory.held == 0)


def test_messages_of_a_session_are_bounded(house: House) -> None:
    client = house.logged_in(session_messages=3)
    for _ in range(2):
        message(house, client)
    house.relay.raises = Refused(Refusal.RATE_EXCEEDED)
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"x\r\n.\r\n", b"454 Throttling failure: Maximum sending rate exceeded.\r\n")
    client.send(b"MAIL FROM:<a@sender.example>\r\n")
    assert client.rest() == b"421 Connection closed by server. Maximum message count per session reached.\r\n"


def test_a_million_recipients_end_the_session(house: House) -> None:
    client = house.logged_in()
    client.say(b"MAIL FROM:<a@sender.example>\r\n", OK)
    sent = b"".join(b"RCPT TO:<r%d@example.com>\r\n" % number for number in range(1001))
    client.send(sent)
    assert client.rest() == OK * 1000 + b"421 Connection closed by server. Too many recipients.\r\n"
    assert house.relay.submissions == []


def test_recipients_are_counted_for_each_message(house: House) -> None:
    client = house.logged_in(session_recipients=3)
    for _ in range(3):
        client.say(b"MAIL FROM:<a@sender.example>\r\n", OK)
        client.say(b"RCPT TO:<b@example.com>\r\n" * 3 + b"RSET\r\n", OK * 4)


def test_bad_commands_end_the_session(house: House) -> None:
    client = house.connect(house.open(session_bad_commands=4)[1])
    client.expect(GREETING)
    unknown = b"502 5.5.2 Error: command not recognized\r\n"
    client.send(b"XYZZY\r\nPLUGH\r\nNOOP\r\nMAIL FROM:<>\r\n\r\nNOOP\r\n")
    assert client.rest() == (
        unknown * 2
        + OK
        + b"530 Must issue a STARTTLS command first\r\n"
        + b"500 Error: bad syntax\r\n421 Connection closed by server. Too many bad commands.\r\n"
    )


def test_who_gets_mail_through_starts_again_with_bad_commands(house: House) -> None:
    client = house.logged_in(session_bad_commands=3)
    for _ in range(4):
        client.say(b"XYZZY\r\n" * 2, b"502 5.5.2 Error: command not recognized\r\n" * 2)
        message(house, client)


def test_a_server_that_empties_its_queue_may_have_bounces_and_big_mail_in_it(house: House) -> None:
    client = house.logged_in(session_bad_commands=3)
    client.say(b"MAIL FROM:<>\r\n" * 5, b"501 Invalid MAIL FROM address provided\r\n" * 5)
    client.say(b"MAIL FROM:<a@sender.example> SIZE=99999999\r\n" * 5, b"552 5.3.4 Message is too long.\r\n" * 5)
    client.say(b"MAIL FROM:<a@sender.example>\r\n", OK)


def test_broken_recipients_are_no_bad_commands(house: House) -> None:
    client = house.logged_in(session_bad_commands=3)
    client.say(b"MAIL FROM:<a@sender.example>\r\n", OK)
    client.say(b"RCPT TO:<broken>\r\n" * 10, b"501 Invalid RCPT TO address provided\r\n" * 10)


@pytest.mark.parametrize("mode", ["tls", "starttls"])
def test_a_line_without_end_is_refused_and_cut_off_with_flat_memory(
    house: House, mode: Literal["tls", "starttls"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sesrelay.fronts.smtp.door.TLS_CLOSE_SECONDS", 0.1)
    _, port = house.open(mode)
    client = house.secure(port) if mode == "tls" else house.connect(port)
    client.expect(GREETING)
    held = [0]
    with contextlib.suppress(OSError):
        while not house.made[0]._gone:
            client.send(b"x" * 65536)
            held.append(len(house.made[0]._buffer))
    assert max(held) <= 12_289
    house.until(lambda: house.made[0]._gone)


def test_a_line_without_end_is_told_so(house: House) -> None:
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    for _ in range(10):
        client.send(b"x" * 8192)
    assert client.rest() == (
        b"500 Command line too long\r\n421 Connection closed by server. Command line too long.\r\n"
    )


@pytest.mark.parametrize("length", [2049, 12_289, 70_000])
def test_a_line_too_long_is_refused_and_the_next_is_read(house: House, length: int) -> None:
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    client.say(b"NOOP " + b"x" * (length - 5) + b"\r\nNOOP\r\n", b"500 Command line too long\r\n" + OK)


def test_a_line_of_the_longest_length_is_taken(house: House) -> None:
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    client.say(b"NOOP " + b"x" * 2043 + b"\r\n", OK)


@pytest.mark.parametrize(
    "line",
    [
        *(b"\0", b"NOOP\0", b"EHLO a\0b", b"\xff\xfe\xfd", b"N\xc3\x96\xc3\x96P", b"XYZ\rZY", b"EHLO a\rb", b"\x01"),
        *(b"NOOP a\0b", b"NOOP a\rMAIL FROM:<a@sender.example>", b"HELP \x01", b"VRFY a\rb"),
    ],
)
def test_control_characters_and_8_bit_in_commands_are_bad_syntax(house: House, line: bytes) -> None:
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    answer = {b"EHLO a\0b": b"501 Syntax: EHLO hostname\r\n", b"EHLO a\rb": b"501 Syntax: EHLO hostname\r\n"}
    client.say(line + b"\r\n", answer.get(line, b"500 Error: bad syntax\r\n"))
    client.say(b"NOOP\r\n", OK)


def test_a_client_that_reads_no_replies_gets_no_more_and_costs_no_memory(house: House) -> None:
    client = house.logged_in(session_bad_commands=MANY)
    connection = house.made[0]

    def flood() -> None:
        with contextlib.suppress(OSError):
            client.send(b"HELP\r\n" * 10_000_000)

    thread = threading.Thread(target=flood)
    thread.start()
    house.until(lambda: connection._reading_paused and bool(connection._held & UNREAD))
    assert len(connection._buffer) < 1 << 20
    assert house.call(connection.transport.get_write_buffer_size) < 1 << 20
    house.call(connection.transport.abort)
    thread.join()


@pytest.mark.parametrize("mode", ["tls", "starttls"])
def test_a_client_that_reads_no_replies_is_cut_off_in_the_end(
    house: House, mode: Literal["tls", "starttls"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sesrelay.fronts.smtp.door.TLS_CLOSE_SECONDS", 0.1)
    door, port = house.open(mode, session_bad_commands=MANY)
    client = house.secure(port) if mode == "tls" else house.connect(port)
    client.expect(GREETING)
    client.socket.settimeout(0.1)
    with contextlib.suppress(OSError):
        while True:
            client.send(b"HELP\r\n" * 10_000)
    house.until(lambda: bool(house.made[0]._held & UNREAD))
    house.advance(361)
    if mode == "starttls":  # in clear nothing but its silence tells that it does not take the last word
        house.advance(361)
    house.until(lambda: house.made[0]._gone)
    assert door.connections == 0


def test_many_commands_at_once_leave_the_loop_to_others_and_keep_their_order(house: House) -> None:
    client = house.logged_in(session_bad_commands=MANY)
    client.send(b"NOOP\r\nVRFY x\r\n" * 2000 + b"QUIT\r\n")
    vrfy = b"252 Cannot VRFY user, but will accept message and attempt delivery\r\n"
    assert client.rest() == (OK + vrfy) * 2000 + b"221 Bye\r\n"


def test_a_half_open_connection_is_idle(house: House) -> None:
    door, port = house.open()
    client = house.connect(port)
    client.expect(GREETING)
    client.send(b"EHL")
    house.until(lambda: house.made[0]._buffer == b"EHL")
    house.advance(361)
    assert client.rest() == IDLE
    house.until(lambda: door.connections == 0)


def test_the_door_forgets_a_login_with_its_connection(house: House) -> None:
    door, port = house.open("tls")
    for _ in range(3):
        client = house.secure(port)
        client.expect(GREETING)
        client.say(b"EHLO me\r\nAUTH PLAIN " + PLAIN + b"\r\nQUIT\r\n", b"250-")
        client.socket.close()
    house.until(lambda: door.connections == 0 and house.connections._by_address.total() == 0)


def test_commands_that_bring_no_mail_are_free_a_hundred_times_between_two_messages(house: House) -> None:
    client = house.logged_in(session_bad_commands=3)
    for _ in range(2):
        client.say(b"NOOP\r\n" * 98 + b"RSET\r\n", OK * 99)
        client.say(ENVELOPE, OK + OK + GO)
        client.say(b"x\r\n.\r\n", ACCEPTED)
    client.say(b"RSET\r\n" * 100, OK * 100)
    client.say(b"NOOP\r\n", OK)
    client.say(b"NOOP\r\n", OK)
    client.send(b"NOOP\r\n")
    assert client.rest() == OK + replies.TOO_MANY_ERRORS

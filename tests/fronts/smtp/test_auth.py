"""AUTH: every dialogue that clients hold, and the same answer for every kind of wrong (SMTP-4, SMTP-14, SMTP-15)."""

from __future__ import annotations

import asyncio
import base64
import logging

import pytest
import structlog

from sesrelay.model.refusal import Refusal, Refused
from tests.clock import FakeClock
from tests.fronts.smtp.house import (
    ENVELOPE,
    GO,
    GREETING,
    OK,
    PASSWORD,
    PLAIN,
    SECURE_EHLO,
    USER,
    Client,
    Counts,
    House,
    Numbers,
    guard,
)  # fmt: skip

LOGGED_IN = b"235 Authentication successful.\r\n"
INVALID = b"535 Authentication Credentials Invalid\r\n"
USER64 = base64.b64encode(USER.encode())
PASSWORD64 = base64.b64encode(PASSWORD)
ASK_USER = b"334 VXNlcm5hbWU6\r\n"
ASK_PASSWORD = b"334 UGFzc3dvcmQ6\r\n"


def test_login_with_an_initial_response(house: House) -> None:
    client = house.greeted()
    client.say(b"AUTH LOGIN " + USER64 + b"\r\n", ASK_PASSWORD)
    client.say(PASSWORD64 + b"\r\n", LOGGED_IN)


def test_login_without_an_initial_response(house: House) -> None:
    client = house.greeted()
    client.say(b"AUTH LOGIN\r\n", ASK_USER)
    client.say(USER64 + b"\r\n", ASK_PASSWORD)
    client.say(PASSWORD64 + b"\r\n", LOGGED_IN)


def test_plain_with_an_initial_response(house: House) -> None:
    house.greeted().say(b"AUTH PLAIN " + PLAIN + b"\r\n", LOGGED_IN)


def test_plain_without_an_initial_response(house: House) -> None:
    client = house.greeted()
    client.say(b"AUTH PLAIN\r\n", b"334 \r\n")
    client.say(PLAIN + b"\r\n", LOGGED_IN)


@pytest.mark.parametrize("command", [b"auth plain ", b"AUTH Plain ", b"Auth  PLAIN  "])
def test_the_mechanism_may_be_spelled_in_any_case(house: House, command: bytes) -> None:
    house.greeted().say(command + PLAIN + b"\r\n", LOGGED_IN)


def test_an_authorization_identity_is_not_looked_at(house: House) -> None:
    response = base64.b64encode(USER.encode() + b"\0" + USER.encode() + b"\0" + PASSWORD)
    house.greeted().say(b"AUTH PLAIN " + response + b"\r\n", LOGGED_IN)


@pytest.mark.parametrize(
    ("said", "replies"),
    [
        (b"AUTH\r\n", b"501 Syntax: AUTH mechanism [initial-response]\r\n"),
        (b"AUTH CRAM-MD5\r\n", b"504 Unrecognized authentication type\r\n"),
        (b"AUTH LOGIN\r\n*\r\n", ASK_USER + b"501 Authentication cancelled\r\n"),
        (b"AUTH LOGIN " + USER64 + b"\r\n*\r\n", ASK_PASSWORD + b"501 Authentication cancelled\r\n"),
        (b"AUTH PLAIN\r\n*\r\n", b"334 \r\n501 Authentication cancelled\r\n"),
        (b"AUTH PLAIN !!!!\r\n", b"501 Invalid base64 data\r\n"),
        (b"AUTH PLAIN abc\r\n", b"501 Invalid base64 data\r\n"),
        (b"AUTH LOGIN\r\nb\xc3\xbc\r\n", ASK_USER + b"501 Invalid base64 data\r\n"),
        (b"AUTH PLAIN " + USER64 + b"\r\n", b"501 Invalid PLAIN authentication data\r\n"),
        (b"AUTH PLAIN =\r\n", b"501 Invalid PLAIN authentication data\r\n"),
        (b"AUTH LOGIN =\r\n\r\n", ASK_PASSWORD + INVALID),
        (b"AUTH PLAIN " + b"A" * 12_284 + b"\r\n", b"500 Command line too long\r\n"),
        (b"AUTH LOGIN\r\n" + b"A" * 20_000 + b"\r\n", ASK_USER + b"500 Command line too long\r\n"),
    ],
)
def test_what_is_no_dialogue_is_refused_and_may_be_tried_again(house: House, said: bytes, replies: bytes) -> None:
    client = house.greeted()
    client.say(said, replies)
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", LOGGED_IN)


def test_a_long_token_is_taken(house: House) -> None:
    response = base64.b64encode(b"\0" + USER.encode() + b"\0" + b"x" * 8000)
    house.greeted().say(b"AUTH PLAIN " + response + b"\r\n", INVALID)
    assert house.relay.logins == [(USER, b"x" * 8000, "us-east-1")]


@pytest.mark.parametrize(
    ("refusal", "reply"),
    [
        (Refusal.BAD_CREDENTIALS, INVALID),
        (Refusal.NOT_SUBSCRIBED, b"535 Account not subscribed to SES\r\n"),
        (Refusal.MAY_NOT_SEND, b"535 User not authorized to call the SES SMTP endpoint\r\n"),
        (Refusal.LOGIN_UNAVAILABLE, b"454 Temporary authentication failure\r\n"),
    ],
)
def test_a_refused_login(house: House, refusal: Refusal, reply: bytes) -> None:
    house.relay.login_raises = Refused(refusal)
    client = house.greeted()
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", reply)
    client.say(b"MAIL FROM:<a@sender.example>\r\n", b"530 Authentication required\r\n")
    assert house.counts.reasons == [refusal.value]


def test_trouble_of_our_own_is_no_wrong_password_and_stays_our_secret(house: House) -> None:
    house.relay.login_raises = RuntimeError("database at db.internal is away")
    client = house.greeted()
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"454 Temporary authentication failure\r\n")
    house.relay.login_raises = None
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", LOGGED_IN)


@pytest.mark.parametrize("user", [b"", b"nobody", "jürgen".encode(), b"a\0b", b"x" * 5000])
def test_a_name_that_cannot_be_one_is_asked_about_all_the_same(house: House, user: bytes) -> None:
    client = house.greeted()
    client.say(b"AUTH LOGIN\r\n", ASK_USER)
    client.say(base64.b64encode(user) + b"\r\n", ASK_PASSWORD)
    client.say(PASSWORD64 + b"\r\n", INVALID)
    ((asked, _, _),) = house.relay.logins
    assert len(asked) <= 128
    assert "\0" not in asked


def test_five_bad_passwords_end_the_session(house: House) -> None:
    client = house.greeted()
    wrong = base64.b64encode(b"\0" + USER.encode() + b"\0wrong")
    for _ in range(4):
        client.say(b"AUTH PLAIN " + wrong + b"\r\n", INVALID)
    client.send(b"AUTH PLAIN " + wrong + b"\r\nNOOP\r\n")
    assert client.rest() == INVALID + b"421 Connection closed by server. Too many failed authentication attempts.\r\n"


def test_trouble_of_our_own_ends_no_session(house: House) -> None:
    house.relay.login_raises = Refused(Refusal.LOGIN_UNAVAILABLE)
    client = house.greeted()
    for _ in range(10):
        client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"454 Temporary authentication failure\r\n")


def test_the_region_of_a_login_is_the_sessions(house: House) -> None:
    client = house.secure(house.open("tls", region="eu-west-1")[1])
    client.line()
    client.send(b"EHLO me\r\nAUTH PLAIN " + PLAIN + b"\r\nQUIT\r\n")
    assert LOGGED_IN in client.rest()
    assert house.relay.logins == [(USER, PASSWORD, "eu-west-1")]


def test_policies_hear_where_a_login_comes_from_whichever_way_it_is_read(house: House) -> None:
    house.greeted().say(b"AUTH PLAIN " + PLAIN + b"\r\n", LOGGED_IN)
    client = house.greeted()
    client.say(b"HELP\r\n", b"214 EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY QUIT\r\n")
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", LOGGED_IN)
    assert house.relay.login_addresses == ["127.0.0.1"] * 2


def test_no_password_is_ever_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    house.relay.login_raises = RuntimeError("no database")
    with structlog.testing.capture_logs() as ours:
        client = house.greeted()
        client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"454 Temporary authentication failure\r\n")
        client.say(b"AUTH LOGIN " + USER64 + b"\r\n", ASK_PASSWORD)
        client.say(PASSWORD64 + b"\r\n", b"454 Temporary authentication failure\r\n")
        client.say(b"AUTH  PLAIN x " + PLAIN + b"\r\n", b"501 Invalid base64 data\r\n")
    assert len(ours) == 2
    text = caplog.text + repr(ours)
    for secret in (PASSWORD, PASSWORD64, PLAIN):
        assert secret.decode() not in text


def test_a_login_that_takes_its_time_holds_up_nobody_else(house: House) -> None:
    client = house.greeted()
    house.relay.gate = asyncio.Event()
    client.send(b"AUTH PLAIN " + PLAIN + b"\r\n")
    house.until(lambda: len(house.relay.logins) == 1)
    other = house.greeted()
    other.say(b"NOOP\r\n", OK)
    house.call(house.relay.gate.set)
    client.expect(LOGGED_IN)


def test_a_login_survives_a_message(house: House) -> None:
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    client.send(b"x\r\n.\r\n")
    client.line()
    client.say(b"MAIL FROM:<a@sender.example>\r\n", OK)


@pytest.mark.parametrize("beginning", [b"mail", b"QUIT", b"EHLO", b"AUTH"])
def test_a_response_that_looks_like_a_command_is_a_response(house: House, beginning: bytes) -> None:
    client = house.greeted()
    client.say(b"AUTH LOGIN\r\n", ASK_USER)
    client.say(beginning + b"\r\n", ASK_PASSWORD)
    client.say(beginning + b"\r\n", INVALID)
    assert [login[1] for login in house.relay.logins] == [base64.b64decode(beginning)]


WRONG = b"AUTH PLAIN " + base64.b64encode(b"\0" + USER.encode() + b"\0wrong") + b"\r\n"
RIGHT = b"AUTH PLAIN " + PLAIN + b"\r\n"


def asks(house: House, client: Client, said: bytes) -> None:
    """Sends it; the login waits when this returns."""
    delays = house.counts.delays
    client.send(said)
    house.until(lambda: house.counts.delays == delays + 1)


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        (RIGHT, LOGGED_IN),
        (WRONG, INVALID),
        (b"AUTH PLAIN " + base64.b64encode(b"\0AKIANOBODY\0wrong") + b"\r\n", INVALID),
    ],
)
def test_after_failures_the_right_password_waits_like_the_wrong_one(house: House, said: bytes, reply: bytes) -> None:
    house.guard = guard(address=3)
    client = house.greeted()
    for _ in range(4):
        house.guard.failed("127.0.0.1", "AKIASOMEBODY")
    asks(house, client, said)
    house.advance(1.9)
    assert house.relay.logins == [], "the password was looked at before its time"
    house.advance(0.2)
    client.expect(reply)


def test_a_wait_grows_with_each_failure_over_all_sessions(house: House) -> None:
    house.guard = guard(address=2)
    _, port = house.open("tls")
    for seconds in (0, 0, 1, 2, 4):
        client = house.secure(port)
        client.expect(GREETING)
        client.say(b"EHLO me\r\n", SECURE_EHLO)
        if not seconds:
            client.say(WRONG, INVALID)
            continue
        asks(house, client, WRONG)
        looked_at = len(house.relay.logins)
        house.advance(seconds - 0.1)
        assert len(house.relay.logins) == looked_at
        house.advance(0.2)
        client.expect(INVALID)


@pytest.mark.parametrize(
    ("refusal", "reply"),
    [
        (Refusal.LOGIN_UNAVAILABLE, b"454 Temporary authentication failure\r\n"),
        (Refusal.NOT_SUBSCRIBED, b"535 Account not subscribed to SES\r\n"),
        (Refusal.MAY_NOT_SEND, b"535 User not authorized to call the SES SMTP endpoint\r\n"),
    ],
)
def test_only_wrong_passwords_make_others_wait(house: House, refusal: Refusal, reply: bytes) -> None:
    house.guard = guard(address=1, key_in_network=1, key=1)
    house.relay.login_raises = Refused(refusal)
    client = house.greeted()
    for _ in range(3):
        client.say(RIGHT, reply)
    assert house.counts.delays == 0


@pytest.mark.parametrize(("of", "name"), [(Counts, "login_delayed"), (Numbers, "number"), (FakeClock, "sleep")])
def test_a_login_that_should_wait_is_answered_whatever_breaks(
    house: House, monkeypatch: pytest.MonkeyPatch, of: type, name: str
) -> None:
    house.guard = guard(address=1)
    house.guard.failed("127.0.0.1", "AKIASOMEBODY")
    client = house.greeted()

    def broken(*_: object) -> None:
        raise OSError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(of, name, broken)
        client.send(RIGHT)
        if of is Counts:
            house.settle()
            house.until(lambda: house.clock.sleepers > 1)
            house.advance(1.1)
        client.expect(b"454 Temporary authentication failure\r\n" if of is FakeClock else LOGGED_IN)
    client.say(b"NOOP\r\n", OK)


def test_a_login_that_waits_holds_up_nobody_else_and_is_not_idle(house: House) -> None:
    house.guard = guard(address=1)
    house.guard.failed("127.0.0.1", "AKIASOMEBODY")
    client = house.greeted(idle_seconds=0.5)
    asks(house, client, RIGHT)
    other = house.greeted()
    other.say(b"NOOP\r\n", OK)
    house.advance(1.1)
    client.expect(LOGGED_IN)


def test_the_password_of_a_client_that_has_left_is_not_looked_at(house: House) -> None:
    house.guard = guard(address=1)
    house.guard.failed("127.0.0.1", "AKIASOMEBODY")
    client = house.greeted()
    asks(house, client, RIGHT)
    client.socket.close()
    house.until(lambda: house.made[0]._gone)
    house.advance(30)
    assert house.relay.logins == []
    assert house.made[0]._login.cancelled()


def test_a_login_that_waits_does_not_keep_a_worker_that_stops(house: House) -> None:
    house.guard = guard(address=1)
    house.guard.failed("127.0.0.1", "AKIASOMEBODY")
    client = house.greeted()
    asks(house, client, RIGHT)
    house.run(house._doors[0].drain(0))
    assert client.rest() == b"421 Service is restarting, please connect again\r\n"
    assert house.relay.logins == []

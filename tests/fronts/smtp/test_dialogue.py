"""The replies of ses-facts §1 and its decisions, octet by octet, over a socket and TLS."""

from __future__ import annotations

import base64

import pytest

from sesrelay.model.message import Origin
from tests.fronts.smtp.house import (
    ACCEPTED,
    CLEAR_EHLO,
    ENDPOINTS,
    ENVELOPE,
    GO,
    GREETING,
    HOST,
    OK,
    PASSWORD,
    PLAIN,
    SECURE_EHLO,
    USER,
    House,
)

MAIL = b"MAIL FROM:<a@sender.example>\r\n"
RCPT = b"RCPT TO:<b@example.com>\r\n"
STARTTLS_FIRST = b"530 Must issue a STARTTLS command first\r\n"


def test_a_whole_dialogue_over_starttls(house: House) -> None:
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    client.say(b"EHLO client.example\r\n", CLEAR_EHLO)
    client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    client.starttls(house.trust)
    client.say(b"EHLO client.example\r\n", SECURE_EHLO)
    client.say(b"AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n")
    client.say(base64.b64encode(USER.encode()) + b"\r\n", b"334 UGFzc3dvcmQ6\r\n")
    client.say(base64.b64encode(PASSWORD) + b"\r\n", b"235 Authentication successful.\r\n")
    client.say(MAIL, OK)
    client.say(RCPT, OK)
    client.say(b"DATA\r\n", GO)
    client.say(b"Subject: x\r\n\r\n..dot\r\n.\r\n", ACCEPTED)
    client.say(b"QUIT\r\n", b"221 Bye\r\n")
    assert client.rest() == b""
    (submission,) = house.relay.submissions
    assert submission.content == b"Subject: x\r\n\r\n.dot\r\n"
    assert (submission.mail_from, submission.recipients) == ("a@sender.example", ("b@example.com",))
    assert (submission.account_id, submission.region, submission.origin) == ("123456789012", "us-east-1", Origin.CLIENT)
    assert (submission.client_address, submission.client_name) == ("127.0.0.1", "client.example")
    assert (submission.access_key_id, submission.recipients_named, submission.eight_bit) == (USER, 1, False)


def test_a_whole_dialogue_over_tls_from_the_first_octet(house: House) -> None:
    client = house.secure(house.open("tls")[1])
    client.expect(GREETING)
    client.say(b"EHLO client.example\r\n", SECURE_EHLO)
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"235 Authentication successful.\r\n")
    for _ in range(3):
        client.say(ENVELOPE, OK + OK + GO)
        client.say(b"Subject: x\r\n\r\nhello\r\n.\r\n", ACCEPTED)
    client.say(b"QUIT\r\n", b"221 Bye\r\n")
    assert client.rest() == b""
    assert len(house.relay.submissions) == 3
    assert house.counts.messages == [1, 1, 1]


DIALOGUE = (
    b"EHLO example.com\r\nAUTH LOGIN\r\n"
    + base64.b64encode(USER.encode())
    + b"\r\n"
    + base64.b64encode(PASSWORD)
    + b"\r\nMAIL FROM: a@sender.example\r\nRCPT TO: b@example.com\r\nDATA\r\n"
    b"From: a@sender.example\r\nSubject: Amazon SES SMTP Test\r\n\r\nThis message was sent by hand.\r\n.\r\nQUIT\r\n"
)
DIALOGUE_REPLIES = (
    SECURE_EHLO
    + b"334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 Authentication successful.\r\n"
    + OK
    + OK
    + GO
    + ACCEPTED
    + b"221 Bye\r\n"
)


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_a_dialogue_piped_in_at_once_works_across_auth_and_data(house: House, mode: str) -> None:
    if mode == "tls":
        client = house.secure(house.open("tls")[1])
        client.send(DIALOGUE)
        client.expect(GREETING)
    else:
        client = house.connect(house.open()[1])
        client.expect(GREETING)
        client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
        client.starttls(house.trust).send(DIALOGUE)
    assert client.rest() == DIALOGUE_REPLIES
    assert house.relay.bodies == [
        b"From: a@sender.example\r\nSubject: Amazon SES SMTP Test\r\n\r\nThis message was sent by hand.\r\n"
    ]


def test_who_speaks_before_the_greeting_is_greeted_first(house: House) -> None:
    client = house.connect(house.open()[1])
    client.send(b"NOOP\r\nQUIT\r\n")
    assert client.rest() == GREETING + OK + b"221 Bye\r\n"


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"NOOP", OK),
        (b"noop whatever", OK),
        (b"RSET", OK),
        (b"HELO me", f"250 {HOST}\r\n".encode()),
        (b"ehlo [192.168.1.110]", CLEAR_EHLO),
        (b"EHLO STRAUSS", CLEAR_EHLO),
        (b"EHLO", b"501 Syntax: EHLO hostname\r\n"),
        (b"HELO", b"501 Syntax: HELO hostname\r\n"),
        (b"MAIL FROM:<a@sender.example>", STARTTLS_FIRST),
        (b"RCPT TO:<a@sender.example>", STARTTLS_FIRST),
        (b"DATA", STARTTLS_FIRST),
        (b"VRFY a", STARTTLS_FIRST),
        (b"AUTH LOGIN", STARTTLS_FIRST),
        (b"AUTH PLAIN " + PLAIN, STARTTLS_FIRST),
        (b"STARTTLS now", b"501 Syntax: STARTTLS\r\n"),
        (b"EXPN list", b"502 Error: command not implemented\r\n"),
        (b"TURN", b"502 Error: command not implemented\r\n"),
        (b"XYZZY", b"502 5.5.2 Error: command not recognized\r\n"),
        (b"BDAT 10 LAST", b"502 5.5.2 Error: command not recognized\r\n"),
        (b"HELP", b"214 EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY QUIT\r\n"),
        (b"", b"500 Error: bad syntax\r\n"),
        (b"   ", b"500 Error: bad syntax\r\n"),
        (b"quit", b"221 Bye\r\n"),
        (b"QUIT now", b"501 Syntax: QUIT\r\n"),
    ],
)
def test_in_clear(house: House, command: bytes, reply: bytes) -> None:
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    client.say(command + b"\r\n", reply)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"MAIL FROM:<a@sender.example>", b"530 Authentication required\r\n"),
        (b"RCPT TO:<b@example.com>", b"530 Authentication required\r\n"),
        (b"DATA", b"530 Authentication required\r\n"),
        (b"STARTTLS", b"503 Error: TLS is already active\r\n"),
        (b"VRFY b@example.com", b"252 Cannot VRFY user, but will accept message and attempt delivery\r\n"),
        (b"EXPN list", b"502 Error: command not implemented\r\n"),
        (b"RSET", OK),
        (b"RSET x", b"501 Syntax: RSET\r\n"),
    ],
)
def test_in_tls_before_login(house: House, command: bytes, reply: bytes) -> None:
    house.greeted().say(command + b"\r\n", reply)


def test_in_tls_without_ehlo_it_is_asked_for(house: House) -> None:
    client = house.secure(house.open("tls")[1])
    client.expect(GREETING)
    client.say(MAIL, b"503 Error: send EHLO first\r\n")
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"503 Error: send EHLO first\r\n")


BAD_SENDER = b"501 Invalid MAIL FROM address provided\r\n"
BAD_RECIPIENT = b"501 Invalid RCPT TO address provided\r\n"
NOT_ASCII = b"553 5.6.7 Addresses must be 7-bit ASCII: SMTPUTF8 is not supported, write domains in punycode\r\n"


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"MAIL FROM:<a@sender.example>", OK),
        (b"mail from:<a@sender.example>", OK),
        (b"MAIL FROM:a@sender.example", OK),
        (b"MAIL FROM: a@sender.example", OK),
        (b"MAIL FROM:   <a@sender.example>", OK),
        (b"MAIL FROM:<a@sender.example> ", OK),
        (b"MAIL FROM:<a@sender.example> SIZE=10485760", OK),
        (b"MAIL FROM:<a@sender.example> SIZE=77 AUTH=a@sender.example", OK),
        (b"MAIL FROM:<a@sender.example> AUTH=<>", OK),
        (b"MAIL FROM:<a@sender.example> BODY=8BITMIME", OK),
        (b"MAIL FROM:<a@sender.example> body=7bit", OK),
        (b"MAIL FROM:<a@sender.example> RET=HDRS ENVID=x", OK),
        (b"MAIL FROM:<a@sender.example> SIZE=10485761", b"552 5.3.4 Message is too long.\r\n"),
        (b"MAIL FROM:<a@sender.example> SIZE=big", b"501 Error: SIZE must be a number\r\n"),
        (b"MAIL FROM:<a@sender.example> SIZE=" + b"9" * 21, b"501 Error: SIZE must be a number\r\n"),
        (b"MAIL FROM:<a@sender.example> BODY=BINARYMIME", b"501 Error: BODY can only be one of 7BIT, 8BITMIME\r\n"),
        (
            b"MAIL FROM:<a@sender.example> SMTPUTF8",
            b"555 5.6.7 SMTPUTF8 is not supported: addresses are 7-bit ASCII, domains in punycode\r\n",
        ),
        (b"MAIL FROM:<a@sender.example> XYZZY=1", b"555 MAIL FROM parameters not recognized or not implemented\r\n"),
        (b"MAIL FROM:<a@sender.example> =", b"501 Syntax: MAIL FROM:<address> [SP parameters]\r\n"),
        (b"MAIL FROM:<>", BAD_SENDER),
        (b"MAIL FROM:", BAD_SENDER),
        (b"MAIL FROM:<a>", BAD_SENDER),
        (b"MAIL FROM:<a@>", BAD_SENDER),
        (b"MAIL FROM:<a @sender.example>", BAD_SENDER),
        (b"MAIL FROM:<a@sender.example", BAD_SENDER),
        (b"MAIL FROM:<a@[192.0.2.1]>", BAD_SENDER),
        ("MAIL FROM:<é@sender.example>".encode(), NOT_ASCII),
        (b"MAIL FROM:<a@sender.example\0>", b"500 Error: bad syntax\r\n"),
        (b"MAIL", b"501 Syntax: MAIL FROM:<address> [SP parameters]\r\n"),
        (b"MAIL a@sender.example", b"501 Syntax: MAIL FROM:<address> [SP parameters]\r\n"),
        (b"RCPT TO:<b@example.com>", b"503 Error: need MAIL command\r\n"),
        (b"DATA", b"503 Error: need RCPT command\r\n"),
        (b"AUTH PLAIN " + PLAIN, b"503 Already authenticated\r\n"),
    ],
)
def test_logged_in(house: House, command: bytes, reply: bytes) -> None:
    house.logged_in().say(command + b"\r\n", reply)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"RCPT TO:<b@example.com>", OK),
        (b"rcpt to: b@example.com", OK),
        (b"RCPT TO:<b@example.com> NOTIFY=NEVER ORCPT=rfc822;b@example.com", OK),
        (b"RCPT TO:<b@example.com> XYZZY", b"555 RCPT TO parameters not recognized or not implemented\r\n"),
        (b"RCPT TO:<>", BAD_RECIPIENT),
        (b"RCPT TO:<postmaster>", BAD_RECIPIENT),
        (b"RCPT TO:<b@bad_-.example->", BAD_RECIPIENT),
        ("RCPT TO:<b@bücher.example>".encode(), NOT_ASCII),
        (b"RCPT TO:<b\0@example.com>", b"500 Error: bad syntax\r\n"),
        (b"RCPT b@example.com", b"501 Syntax: RCPT TO:<address>\r\n"),
        (b"MAIL FROM:<a@sender.example>", b"503 Error: nested MAIL command\r\n"),
        (b"DATA", b"503 Error: need RCPT command\r\n"),
    ],
)
def test_after_mail(house: House, command: bytes, reply: bytes) -> None:
    client = house.logged_in()
    client.say(MAIL, OK)
    client.say(command + b"\r\n", reply)


def test_data_takes_no_argument(house: House) -> None:
    house.logged_in().say(MAIL + RCPT + b"DATA now\r\n", OK + OK + b"501 Syntax: DATA\r\n")


def test_rset_forgets_the_mail_but_not_the_login(house: House) -> None:
    client = house.logged_in()
    client.say(MAIL + RCPT + b"RSET\r\n" + RCPT, OK + OK + OK + b"503 Error: need MAIL command\r\n")
    client.say(MAIL, OK)


def test_ehlo_forgets_the_mail_but_not_the_login(house: House) -> None:
    client = house.logged_in()
    client.say(MAIL + b"EHLO again\r\n" + MAIL, OK + SECURE_EHLO + OK)


def test_a_broken_recipient_is_not_part_of_the_message(house: House) -> None:
    client = house.logged_in()
    client.say(MAIL + RCPT + b"RCPT TO:<nobody>\r\nDATA\r\n", OK + OK + BAD_RECIPIENT + GO)
    client.say(b"x\r\n.\r\n", ACCEPTED)
    (submission,) = house.relay.submissions
    assert (submission.recipients, submission.recipients_named) == (("b@example.com",), 1)


def test_the_fifty_first_recipient_is_counted_but_not_kept(house: House) -> None:
    client = house.logged_in()
    client.say(MAIL, OK)
    for number in range(52):
        client.say(b"RCPT TO:<r%d@example.com>\r\n" % number, OK)
    client.say(b"DATA\r\n", GO)
    client.say(b"x\r\n.\r\n", ACCEPTED)
    (submission,) = house.relay.submissions
    assert submission.recipients == tuple(f"r{number}@example.com" for number in range(50))
    assert submission.recipients_named == 52


def test_8bitmime_is_passed_on(house: House) -> None:
    client = house.logged_in()
    client.say(b"MAIL FROM:<a@sender.example> BODY=8BITMIME\r\n" + RCPT + b"DATA\r\n", OK + OK + GO)
    client.say("Subject: x\r\n\r\nbücher\r\n.\r\n".encode(), ACCEPTED)
    (submission,) = house.relay.submissions
    assert submission.eight_bit
    assert submission.content == "Subject: x\r\n\r\nbücher\r\n".encode()


def test_8_bit_without_8bitmime_passes_unchanged_as_clients_send_it(house: House) -> None:
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"Subject: x\r\n\r\nb\xfccher\r\n.\r\n", ACCEPTED)
    assert house.relay.bodies == [b"Subject: x\r\n\r\nb\xfccher\r\n"]
    assert not house.relay.submissions[0].eight_bit


def test_an_odd_client_name_is_taken_and_cleaned(house: House) -> None:
    client = house.greeted()
    client.say("EHLO Büro (x) <y>\r\n".encode(), SECURE_EHLO)
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"235 Authentication successful.\r\n")
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"x\r\n.\r\n", ACCEPTED)
    assert house.relay.submissions[0].client_name == "B??ro??x???y?"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_command_may_end_in_a_bare_lf_as_people_type_it(house: House, end: bytes) -> None:
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    client.say(b"EHLO me" + end, CLEAR_EHLO)
    client.say(b"NOOP" + end, OK)


def test_the_session_sends_in_the_region_of_its_listener(house: House) -> None:
    client = house.secure(house.open("tls", region="eu-west-1")[1], ENDPOINTS["us-east-1"])
    assert client.line().startswith(b"220 email-smtp.eu-west-1.relay.example.net ")


def test_commands_are_remembered_over_chunks(house: House) -> None:
    client = house.logged_in()
    for octet in MAIL[:-1]:
        client.send(bytes([octet]))
    client.say(MAIL[-1:], OK)

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


def test_a_whole_dialogue_over_starttls(house: House) -> None:
    with house.connect(house.open()[1]) as clear:
        clear.expect(GREETING)
        clear.say(b"EHLO client.example\r\n", CLEAR_EHLO)
        clear.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
        client = clear.starttls(house.trust)
        client.say(b"EHLO client.example\r\n", SECURE_EHLO)
        client.say(b"AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n")
        client.say(base64.b64encode(USER.encode()) + b"\r\n", b"334 UGFzc3dvcmQ6\r\n")
        client.say(base64.b64encode(PASSWORD) + b"\r\n", b"235 Authentication successful.\r\n")
        client.say(b"MAIL FROM:<a@sender.example>\r\n", OK)
        client.say(b"RCPT TO:<b@example.com>\r\n", OK)
        client.say(b"DATA\r\n", GO)
        client.say(b"Subject: x\r\n\r\n..dot\r\n.\r\n", ACCEPTED)
        client.say(b"QUIT\r\n", b"221 Bye\r\n")
        assert client.rest() == b""
    (submission,) = house.relay.submissions
    assert submission.content == b"Subject: x\r\n\r\n.dot\r\n"
    assert (submission.mail_from, submission.recipients) == ("a@sender.example", ("b@example.com",))
    assert (submission.account_id, submission.region, submission.origin) == ("123456789012", "us-east-1", Origin.CLIENT)
    assert (submission.client_address, submission.client_name) == ("127.0.0.1", "client.example")


def test_a_whole_dialogue_over_tls_from_the_first_octet(house: House) -> None:
    with house.secure(house.open("tls")[1]) as client:
        client.expect(GREETING)
        client.say(b"EHLO client.example\r\n", SECURE_EHLO)
        client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"235 Authentication successful.\r\n")
        for _ in range(3):
            client.say(ENVELOPE, OK + OK + GO)
            client.say(b"Subject: x\r\n\r\nhello\r\n.\r\n", ACCEPTED)
        client.say(b"QUIT\r\n", b"221 Bye\r\n")
    assert len(house.relay.submissions) == 3
    assert house.counts.messages == [1, 1, 1]

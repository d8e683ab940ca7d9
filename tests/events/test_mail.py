from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes
from email.message import Message

import pytest

from sesrelay.events.mail import bounce_mail
from sesrelay.model.message import MessageId
from sesrelay.model.notice import BounceNotice

AT = 1_795_446_608_000_000
ID = MessageId.make(0, AT, bytes(range(16)))
ORIGINAL = b"From: me@example.com\r\nSubject: Hello\r\n\r\nThe body.\r\n"
NOTICE = BounceNotice(
    outbox_id=7,
    attempts=1,
    account_id="123456789012",
    region="us-east-1",
    message_id=ID,
    accepted_at=AT,
    mail_from="me@example.com",
    header_from="me@example.com",
    subject="Hello",
    address="nobody@example.net",
    action="failed",
    status="5.1.1",
    diagnostic="smtp; 550 5.1.1 user unknown",
    original=ORIGINAL,
)
HOST = "email-smtp.us-east-1.relay.example.net"


def made(notice: BounceNotice = NOTICE) -> bytes:
    return bounce_mail(notice, "relay.example.net", HOST)


def parts(notice: BounceNotice = NOTICE) -> list[Message]:
    whole = message_from_bytes(made(notice))
    assert not whole.defects
    payload = whole.get_payload()
    assert isinstance(payload, list)
    return payload


def test_the_whole_mail_octet_for_octet() -> None:
    boundary = f"----=_Part_7_{ID.hex()}"
    expected = f"""Date:
From: MAILER-DAEMON@us-east-1.relay.example.net
To: me@example.com
Message-ID:
Subject: Delivery Status Notification (Failure)
MIME-Version: 1.0
Auto-Submitted: auto-replied
Content-Type: multipart/report;
\tboundary="{boundary}";
\treport-type=delivery-status

--{boundary}
Content-Type: text/plain; charset=us-ascii
Content-Transfer-Encoding: 7bit
Content-Description: Notification

An error occurred while trying to deliver the mail to the following recipients:
nobody@example.net

--{boundary}
Content-Type: message/delivery-status
Content-Transfer-Encoding: 7bit
Content-Description: Delivery Status Notification

Reporting-MTA: dns; email-smtp.us-east-1.relay.example.net

Action: failed
Final-Recipient: rfc822; nobody@example.net
Diagnostic-Code: smtp; 550 5.1.1 user unknown
Status: 5.1.1

--{boundary}
Content-Type: message/rfc822
Content-Transfer-Encoding: 7bit
Content-Description: Undelivered Message

{ORIGINAL.decode().replace(chr(13), "")}
--{boundary}--
"""
    assert made().decode().replace("\r\n", "\n") == expected
    assert made().count(b"\n") == made().count(b"\r\n") == made().count(b"\r")


def test_readers_find_three_parts_and_the_message_as_it_was_sent() -> None:
    text, report, original = parts()
    assert (text.get_content_type(), report.get_content_type()) == ("text/plain", "message/delivery-status")
    assert original.get_content_type() == "message/rfc822"
    whole, recipient = report.get_payload()
    assert whole["Reporting-MTA"] == f"dns; {HOST}"
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.1.1")
    (sent,) = original.get_payload()
    assert (sent["Subject"], sent.get_payload().strip()) == ("Hello", "The body.")


def test_a_message_with_8_bits_says_so() -> None:
    original = parts(replace(NOTICE, original=ORIGINAL + "Grüße\r\n".encode()))[2]
    assert original["Content-Transfer-Encoding"] == "8bit"
    assert made(replace(NOTICE, original=b"\xff")).count(b"\xff") == 1


def test_a_body_that_is_gone_leaves_what_is_known_of_its_header() -> None:
    original = parts(replace(NOTICE, original=None, subject="Grüße\tan alle"))[2]
    assert original.get_content_type() == "text/rfc822-headers"
    assert f"Message-ID: <{ID}@us-east-1.relay.example.net>" in str(original.get_payload())
    assert "Date: Mon, 23 Nov 2026 15:10:08 +0000" in str(original.get_payload())


@pytest.mark.parametrize("words", ["smtp; 550 " + "long words " * 500, "smtp; 550 " + "x" * 3000])
def test_a_long_diagnostic_is_folded(words: str) -> None:
    mail = made(replace(NOTICE, diagnostic=words))
    assert max(map(len, mail.split(b"\r\n"))) < 998
    report = parts(replace(NOTICE, diagnostic=words))[1].get_payload()
    assert str(report[1]["Diagnostic-Code"]).replace(" ", "").replace("\r\n", "").replace("\n", "") == words.replace(
        " ", ""
    )


def test_a_remote_reply_cannot_write_fields_of_its_own() -> None:
    mail = made(replace(NOTICE, diagnostic="smtp; 550 no\r\nStatus: 2.0.0\r\n\r\n--x \xff"))
    assert b"\r\nDiagnostic-Code: smtp; 550 no Status: 2.0.0 --x\r\nStatus: 5.1.1\r\n" in mail


@pytest.mark.parametrize("padding", [b"", b"X-Long: 1\r\n" * 40_000])
def test_a_big_message_comes_back_as_its_header(padding: bytes) -> None:
    header = b"From: me@example.com\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n" + padding
    original = parts(replace(NOTICE, original=header + b"\r\n" + b"x" * 262_144))[2]
    assert original.get_content_type() == "text/rfc822-headers"
    assert original["Content-Transfer-Encoding"] == "8bit"
    shown = original.get_payload(decode=True)
    assert isinstance(shown, bytes)
    assert header.startswith(shown.rstrip(b"\r\n"))
    assert shown.startswith(b"From: me@example.com\r\nSubject: ")
    assert 40 <= len(shown) <= 65_536
    assert len(made(replace(NOTICE, original=header + b"\r\n" + b"x" * 10_000_000))) < 70_000

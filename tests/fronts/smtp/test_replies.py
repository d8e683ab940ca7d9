"""The table of words."""

from __future__ import annotations

import pytest

from sesrelay.fronts.smtp import replies
from sesrelay.model.refusal import Refusal, Refused
from tests.fronts.smtp.house import ENVELOPE, GO, OK, House


def test_every_refusal_has_words() -> None:
    assert set(replies.WORDS) == set(Refusal)


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_is_one_reply_line_with_a_code(refusal: Refusal) -> None:
    reply = replies.refused(Refused(refusal))
    assert reply[0:1] in b"45"
    assert reply[:3].isdigit()
    assert reply[3:4] == b" "
    assert reply.endswith(b"\r\n")
    assert reply.count(b"\n") == 1


@pytest.mark.parametrize("reply", [value for value in vars(replies).values() if isinstance(value, bytes)])
def test_every_reply_is_a_line_of_ascii_within_its_length(reply: bytes) -> None:
    assert reply.isascii()
    assert reply.endswith(b"\r\n")
    assert reply.count(b"\r\n") == 1
    assert len(reply) <= replies.LONGEST_REPLY


AFTER_THE_DOT = [
    (Refused(Refusal.QUOTA_EXCEEDED), "454 Throttling failure: Daily message quota exceeded."),
    (Refused(Refusal.RATE_EXCEEDED), "454 Throttling failure: Maximum sending rate exceeded."),
    (Refused(Refusal.TOO_MANY_RECIPIENTS), "554 Transaction failed: Recipient count exceeds 50."),
    (Refused(Refusal.SUSPENDED), "554 Message rejected: Customer is suspended."),
    (
        Refused(Refusal.NOT_VERIFIED, "eu-west-1", "Some Name <email@address.com>", "email@address.com"),
        "554 Message rejected: Email address is not verified. The following identities failed the check in region "
        "EU-WEST-1: Some Name <email@address.com>, email@address.com",
    ),
    (
        Refused(
            Refusal.NOT_AUTHORIZED,
            "arn:aws:iam::123456789012:user/mailer",
            "ses:SendRawEmail",
            "arn:aws:ses:eu-west-1:123456789012:identity/example.com",
        ),
        "554 Access denied: User `arn:aws:iam::123456789012:user/mailer' is not authorized to perform "
        "`ses:SendRawEmail' on resource `arn:aws:ses:eu-west-1:123456789012:identity/example.com'",
    ),
    (Refused(Refusal.NOT_AUTHORIZED), "554 Access denied: User is not authorized to perform `ses:SendRawEmail'"),
    (Refused(Refusal.DUPLICATE_HEADER, "Content-Type"), "554 Transaction failed: Duplicate header 'Content-Type'."),
    (Refused(Refusal.MALFORMED, "Missing start boundary"), "554 Transaction failed: Missing start boundary"),
    (Refused(Refusal.TOO_LONG), "552 5.3.4 Message is too long."),
    (Refused(Refusal.STORAGE_FULL), "452 4.3.1 Insufficient system storage"),
    (Refused(Refusal.UNAVAILABLE), "451 4.3.0 Temporary service failure"),
    (RuntimeError("secret of the house"), "451 4.3.0 Temporary service failure"),
]


@pytest.mark.parametrize(("raised", "reply"), AFTER_THE_DOT, ids=lambda value: str(value)[:30])
def test_after_the_dot(house: House, raised: Exception, reply: str) -> None:
    house.relay.raises = raised
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"Subject: x\r\n\r\nx\r\n.\r\n", reply.encode() + b"\r\n")
    client.say(b"DATA\r\n", b"503 Error: need RCPT command\r\n")
    assert house.counts.messages == []
    assert house.counts.reasons == ([raised.refusal.value] if isinstance(raised, Refused) else [])


def test_a_long_list_of_identities_ends_in_dots() -> None:
    names = [f"user{number}@unverified.example" for number in range(50)]
    reply = replies.refused(Refused(Refusal.NOT_VERIFIED, "us-east-1", *names))
    assert len(reply) == replies.LONGEST_REPLY
    assert reply.endswith(b"...\r\n")


def test_each_spelling_is_named_once() -> None:
    reply = replies.refused(Refused(Refusal.NOT_VERIFIED, "us-east-1", "a@b.c", "a@b.c", "A@b.c"))
    assert reply.endswith(b": a@b.c, A@b.c\r\n")


def test_what_a_client_sent_cannot_break_out_of_its_reply() -> None:
    reply = replies.refused(Refused(Refusal.MALFORMED, "bad\r\n250 Ok fine \0 \u00fc\n"))
    assert reply == b"554 Transaction failed: bad??250 Ok fine ? ??\r\n"

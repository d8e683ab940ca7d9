from __future__ import annotations

import hashlib
import re

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.message import MessageId
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import headers
from sesrelay.rules.fields import ACTIONS
from sesrelay.rules.headers import Rewritten, Stamp, body_hash, rewrite

AT = 1_795_446_608_123_456
DATE = b"Mon, 23 Nov 2026 15:10:08 +0000"
ID = MessageId.make(0, AT, bytes(range(16)))
STAMP = Stamp(
    ID, AT, "123456789012", "us-east-1", "relay.example.net", "email-smtp.us-east-1.relay.example.net", "ESMTPSA",
    "env@example.com", "192.0.2.25",
)  # fmt: skip
NEW_DATE = b"Date: %b\r\n" % DATE
NEW_ID = f"Message-ID: <{ID}@us-east-1.relay.example.net>\r\n".encode()
NEW_FROM = b"From: env@example.com\r\n"
RECEIVED = f"Received: by {STAMP.host} with ESMTPSA id {ID};\r\n\t".encode() + DATE + b"\r\n"
FEEDBACK = b"Feedback-ID: ::1.us-east-1.TlLv1L4ohECuAiTQaVHUBY8eDpKaV4N62J0OQ7zBi50=:AmazonSES\r\n"
OUTGOING = b"X-SES-Outgoing: 2026.11.23-192.0.2.25\r\n"
TAIL = FEEDBACK + OUTGOING + b"\r\n"
ALL_MISSING = NEW_DATE + NEW_ID + NEW_FROM + TAIL


def whole(content: bytes) -> bytes:
    """The message as it is sent."""
    read = rewrite(content, STAMP)
    return read.header + content[read.consumed :]


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        pytest.param(b"", ALL_MISSING, id="nothing at all"),
        pytest.param(b"\r\n", ALL_MISSING, id="only the empty line"),
        pytest.param(b"\r\nBody\r\n\r\nX: y\r\n", ALL_MISSING + b"Body\r\n\r\nX: y\r\n", id="no header"),
        pytest.param(b"Subject: x\r\n", b"Subject: x\r\n" + ALL_MISSING, id="no empty line"),
        pytest.param(b"Subject: x", b"Subject: x\r\n" + ALL_MISSING, id="no final newline"),
        pytest.param(b"Bcc: x", ALL_MISSING, id="no final newline of a field that is taken off"),
        pytest.param(
            b"Date: x", NEW_DATE + NEW_ID + NEW_FROM + TAIL, id="no final newline of a field that is replaced"
        ),
        pytest.param(
            b"Subject: x\r\nno field\r\nFrom: y@z\r\n\r\nBody",
            b"Subject: x\r\n" + ALL_MISSING + b"no field\r\nFrom: y@z\r\n\r\nBody",
            id="a line that is no field ends the header",
        ),
        pytest.param(b" folded\r\nA: b\r\n\r\n", ALL_MISSING + b" folded\r\nA: b\r\n\r\n", id="begins with a fold"),
        pytest.param(b": x\r\n\r\n", ALL_MISSING + b": x\r\n\r\n", id="a field without a name"),
        pytest.param(b"T\xc3\xa4g: x\r\n\r\n", ALL_MISSING + b"T\xc3\xa4g: x\r\n\r\n", id="a name with 8 bits"),
        pytest.param(b"A:\r\nB:x\r\n\r\n", b"A:\r\nB:x\r\n" + ALL_MISSING, id="an empty field"),
        pytest.param(b"A : x\r\n\r\n", b"A : x\r\n" + ALL_MISSING, id="a blank before the colon"),
        pytest.param(
            b"From: f@example.com\r\nDATE: yesterday\r\nX: 1\r\nMessage-Id:\r\n <old@id>\r\nTo: t\r\n\r\nBody",
            b"From: f@example.com\r\n" + NEW_DATE + b"X: 1\r\n" + NEW_ID + b"To: t\r\n" + TAIL + b"Body",
            id="date and message id in place",
        ),
        pytest.param(
            b"Return-Path: <r@x>\r\nFrom: a@b\r\nBcc: one,\r\n\ttwo\r\nX: y\r\nbcc: three\r\n\r\n",
            b"From: a@b\r\nX: y\r\n" + NEW_DATE + NEW_ID + TAIL,
            id="return path and bcc taken off",
        ),
        pytest.param(
            b"X-SES-CONFIGURATION-SET: set\r\nFrom: a@b\r\nX-Ses-Message-Tags: t=1\r\nX-SES-Other: y\r\n\r\n",
            b"From: a@b\r\nX-SES-Other: y\r\n" + NEW_DATE + NEW_ID + TAIL,
            id="the X-SES family taken off",
        ),
        pytest.param(
            b"From: a@b\r\nFeedback-ID: mine\r\nFeedback-ID: mine too\r\n\r\n",
            b"From: a@b\r\nFeedback-ID: mine\r\nFeedback-ID: mine too\r\n" + NEW_DATE + NEW_ID + OUTGOING + b"\r\n",
            id="a feedback id that was given stays",
        ),
    ],
)
def test_what_is_done_to_a_header(content: bytes, sent: bytes) -> None:
    assert whole(content) == RECEIVED + sent


def test_what_was_read_on_the_way() -> None:
    read = rewrite(
        b"Received: a\r\nReceived: b\r\n c\r\nFROM: Some\r\n One <a@b>\r\nsender: c@d\r\nSubject: =?utf-8?q?x?=\r\n"
        b"X-SES-MESSAGE-TAGS: first=1,\r\n second=2\r\nX-Ses-Message-Tags: ignored\r\n"
        b"X-SESRELAY-INVOCATION-ID:  abc \r\nX-SESRELAY-INVOCATION-ID: def\r\n\r\nReceived: not me\r\n",
        STAMP,
    )
    assert read._replace(header=b"", consumed=0) == Rewritten(
        b"",
        0,
        b" Some\r\n One <a@b>",
        b" c@d",
        b" =?utf-8?q?x?=",
        2,
        {"X-SES-MESSAGE-TAGS": "first=1, second=2"},
        "abc",
        addresses=[],
    )


def test_what_says_what_the_body_is_and_who_is_written_to_is_read_too() -> None:
    read = rewrite(
        b"Content-Type: text/html;\r\n charset=x\r\nTO: a@b\r\ncontent-disposition:inline\r\nReply-To: r@s\r\n"
        b"Content-Transfer-Encoding: base64\r\nTo: c@d,\r\n e@f\r\nCc: g@h\r\n\r\nTo: not me\r\n",
        STAMP,
    )
    assert read.content == (b" text/html;\r\n charset=x", b"inline", b" base64")
    assert read.addresses == [
        (b"to", b" a@b"), (b"to", b" c@d,\r\n e@f"), (b"cc", b" g@h"), (b"reply-to", b" r@s"),
    ]  # fmt: skip


def test_an_absent_field_is_told_from_an_empty_one() -> None:
    assert rewrite(b"X: y\r\n\r\n", STAMP).header_from is None
    assert rewrite(b"From:\r\nSender: \r\n\r\n", STAMP).header_from == b""


REPEATABLE = {
    *("received", "bcc", "feedback-id", "x-sesrelay-invocation-id"),
    *("to", "cc", "resent-from", "resent-sender", "resent-to", "resent-cc"),
}
ONCE = sorted(name.decode() for name in ACTIONS if not name.startswith(b"x-ses-") and name.decode() not in REPEATABLE)


@pytest.mark.parametrize("name", ONCE)
def test_a_field_that_may_stand_once_and_stands_twice_is_named_as_it_was_spelled(name: str) -> None:
    content = f"{name}: x\r\nTo: y\r\n{name.title()}: z\r\n\r\n".encode()
    with pytest.raises(Refused) as caught:
        rewrite(content, STAMP)
    assert (caught.value.refusal, caught.value.details) == (Refusal.DUPLICATE_HEADER, (name.title(),))


def test_of_the_60_fields_that_ses_names_only_a_signature_may_repeat() -> None:
    assert len(ONCE) == 59
    assert {"content-type", "from", "delivered-to", "list-unsubscribe-post", "domainkey-signature"} <= set(ONCE)


@pytest.mark.parametrize(
    "name", ["To", "Cc", "Bcc", "Received", "X-Anything", "DKIM-Signature", "Resent-To", "Unheard-Of"]
)
def test_other_fields_may_repeat(name: str) -> None:
    rewrite(f"{name}: x\r\n{name}: y\r\n\r\n".encode(), STAMP)


def test_received_shows_the_client_only_when_asked_to_and_never_more_than_a_name() -> None:
    named = STAMP._replace(client_name="host.example\r\nBcc: (x)", client_address="192.0.2.1")
    first = rewrite(b"", named).header.partition(b" by ")[0]
    assert first == b"Received: from host.example??Bcc:??x? ([192.0.2.1])"
    assert rewrite(b"", STAMP._replace(client_name="host.example")).header.startswith(RECEIVED)


def test_the_relays_own_mail_says_by_whom_but_not_how() -> None:
    assert rewrite(b"", STAMP._replace(protocol="")).header.startswith(
        f"Received: by email-smtp.us-east-1.relay.example.net id {ID};".encode()
    )


names = st.from_regex(r"[!-9;-~]{1,12}", fullmatch=True).map(lambda name: f"X-{name}".encode())
words = st.binary(max_size=30).map(lambda body: re.sub(rb"[\r\n\0]", b"?", body))
fields = st.tuples(names, st.lists(words, min_size=1, max_size=4)).map(
    lambda f: f[0] + b": " + b"\r\n\t".join(f[1]) + b"\r\n"
)
untouched = fields.filter(lambda field: field.partition(b":")[0].lower() not in ACTIONS)
touched = st.sampled_from(
    [b"Date: x\r\n", b"Message-ID:\r\n x\r\n", b"Bcc: y\r\n", b"Return-Path: z\r\n", b"X-SES-MESSAGE-TAGS: t\r\n"]
)


@given(
    st.lists(untouched, max_size=8),
    st.lists(touched, max_size=5, unique=True),
    st.randoms(use_true_random=False),
    st.binary(max_size=80),
)
def test_nothing_else_changes_octet_for_octet(
    kept: list[bytes], changed: list[bytes], chance: object, body: bytes
) -> None:
    order = [*kept, *changed]
    chance.shuffle(order)  # type: ignore[attr-defined]
    content = b"".join(order) + b"\r\n" + body
    read = rewrite(content, STAMP)
    assert content[read.consumed :] == body
    assert read.header.startswith(RECEIVED)
    assert read.header.endswith(TAIL)
    added = (b"" if b"Date: x\r\n" in changed else NEW_DATE) + (b"" if b"Message-ID:\r\n x\r\n" in changed else NEW_ID)
    between = read.header[len(RECEIVED) : -len(added + NEW_FROM + TAIL)]
    replaced = {b"Date: x\r\n": NEW_DATE, b"Message-ID:\r\n x\r\n": NEW_ID}
    assert between == b"".join(replaced.get(field, b"") if field in changed else field for field in order)


def reject_unless(refused: Refused, refusal: Refusal) -> None:
    assert refused.refusal is refusal


@given(st.binary(max_size=200).map(lambda content: content.replace(b"\0", b"\r\n")))
def test_whatever_comes_is_rewritten_or_refused_and_the_body_is_a_tail_of_it(content: bytes) -> None:
    try:
        read = rewrite(content, STAMP)
    except Refused as refused:
        reject_unless(refused, Refusal.DUPLICATE_HEADER)
        return
    assert 0 <= read.consumed <= len(content)
    assert read.header.endswith(b"\r\n\r\n")
    assert read.header.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"A: " + b"\r\n x" * 500_000 + b"\r\n", id="one field of many folds"),
        pytest.param((b"a" * 998 + b"\r\n") * 2000, id="lines without a colon"),
        pytest.param(b"a" * 2_000_000, id="one line without an end"),
        pytest.param(b"a:\r\n" * 100_000, id="many fields"),
    ],
)
@pytest.mark.timeout(20)
def test_no_header_is_so_odd_that_it_takes_long(block: bytes) -> None:
    assert rewrite(block, STAMP).header


@pytest.mark.parametrize("body", [b"", b"\r\n\r\n", b"a", b"a\r\n", b"a\r\n\r\n\r\n", b"\r\na \r\n"])
def test_the_body_hash_is_dkims(body: bytes) -> None:
    content = b"H: x\r\n\r\n" + body
    stripped = re.sub(rb"(\r\n)*\Z", b"", body) + b"\r\n"
    assert body_hash(content, len(content) - len(body)) == hashlib.sha256(stripped).digest()


def test_a_signature_of_the_client_still_verifies() -> None:
    content = (
        b"From: a@example.com\r\nTo: b@example.net\r\nDate: Mon, 23 Nov 2026 15:10:08 +0100\r\n"
        b"Subject: signed\r\nMessage-ID: <x@y>\r\n\r\nBody\r\n"
    )
    key, public = _dkim_key()
    signature = dkim.sign(content, b"s", b"example.com", key, include_headers=[b"from", b"to", b"subject"])
    sent = whole(signature + content)
    assert dkim.verify(sent, dnsfunc=lambda *_, **__: b"v=DKIM1; k=rsa; p=" + public)


def _dkim_key() -> tuple[bytes, bytes]:
    import base64

    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 1024)
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.TraditionalOpenSSL, form.NoEncryption())
    return private, base64.b64encode(
        key.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    )


def test_text_is_one_line() -> None:
    assert headers.text(b" a\r\n b\xff ") == "a b\ufffd"
    assert headers.text(b"x" * 300, headers.SUBJECT_LENGTH) == "x" * 255

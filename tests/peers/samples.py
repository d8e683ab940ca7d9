"""Messages that break relays which touch what they should not, and the comparison that finds it.

Each is as a client writes it: LF line ends here, CRLF on the wire.
"""

from __future__ import annotations

import re
import textwrap

SENDER = "Someone@sender.example"
RECIPIENT = "rcpt@next-hop.example"

MANY_LINES = "".join(f"line {number:06} of a body that is too big for memory\n" for number in range(5000))

SAMPLES: dict[str, str] = {
    "plain": f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: plain\n\nHello.\n",
    "all fields that the relay rewrites": textwrap.dedent(f"""\
        Return-Path: <somewhere@else.example>
        Received: from origin.example by first.example; Mon, 1 Sep 2014 10:00:00 +0200
        Date: Mon, 1 Sep 2014 10:00:00 +0200
        From: "Some, One" <{SENDER}>
        To: {RECIPIENT}
        Message-ID: <mine@sender.example>
        Subject: all fields
        X-Last: 1

        Hello.
        """),
    "dots": f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: dots\n\n.\n..\n...\n.x\n. \nx.\n\n.\n",
    "odd fields": (
        f"From: {SENDER}\nTo: {RECIPIENT}\nSUBJECT:  odd \n\tfolded\n  twice  \nX-Empty:\nx-twice: a\nX-Twice: b\n"
        "X-Long: " + "y" * 900 + "\n\nHello.\n"
    ),
    "white space": f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: space\n\n\n\n trailing \t \n\t\n\nlast\n\n\n",
    "long lines": f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: long\n\n" + "x" * 998 + "\n" + "y " * 499 + "\n",
    "8 bit": (
        f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: 8 bit\nMIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße, Straße 9 €\n"
    ),
    "no body": f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: no body\n\n",
    "MIME": textwrap.dedent(f"""\
        From: {SENDER}
        To: {RECIPIENT}
        Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
        MIME-Version: 1.0
        Content-Type: multipart/mixed;
         boundary="=_b"

        preamble
        --=_b
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: quoted-printable

        Gr=C3=BC=C3=9Fe =
        soft
        --=_b
        Content-Type: application/octet-stream
        Content-Transfer-Encoding: base64

        AAECAwQFBgcICQ==
        --=_b--
        epilogue
        """),
    "big": f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: big\n\n{MANY_LINES}",
}

MASKED = {b"date", b"message-id"}
"""Replaced by the relay in their places, or added where they were missing (MSG-2)."""
REMOVED = {b"return-path", b"bcc"}
ADDED = {b"received", b"feedback-id", b"x-ses-outgoing"}
"""Put there by the relay (MSG-6), and by mail servers on the way to it."""

MESSAGE_ID = re.compile(rb"Message-ID: <[0-9a-f]{16}-[0-9a-f-]{36}-0{6}@us-east-1\.relay\.example\.net>\r\n")
FIELD = re.compile(rb"[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*")


def marked(sample: str, mark: str) -> str:
    """The sample with a field by which it is known again when it arrives."""
    header, empty, body = sample.partition("\n\n")
    return f"{header}\nX-Mark: {mark}{empty}{body}"


def on_the_wire(message: str) -> bytes:
    """With CRLF."""
    return message.encode().replace(b"\n", b"\r\n")


def parts(message: bytes) -> tuple[list[bytes], bytes]:
    """The fields of the header, whole and in order, and the body."""
    header, _, body = message.partition(b"\r\n\r\n")
    return FIELD.findall(header + b"\r\n"), body


def name(field: bytes) -> bytes:
    """Of a field, in lower case."""
    return field.partition(b":")[0].strip().lower()


def assert_only_the_relays_fields_differ(sent: str, arrived: bytes) -> None:
    """Every byte is as it was sent, but for the fields of MSG-2 and MSG-6, and these are as they should be."""
    sent_fields, sent_body = parts(on_the_wire(sent))
    arrived_fields, arrived_body = parts(arrived)
    assert arrived_body == sent_body
    assert _comparable(arrived_fields, sent_fields) == _comparable(sent_fields, sent_fields)
    by_name = [name(field) for field in arrived_fields]
    assert [by_name.count(once) for once in (b"date", b"message-id", b"from")] == [1, 1, 1]
    assert not REMOVED & set(by_name)
    date = arrived_fields[by_name.index(b"date")]
    assert re.fullmatch(rb"Date: \w{3}, \d\d? \w{3} 20\d\d \d\d:\d\d:\d\d \+0000\r\n", date)
    message_id = arrived_fields[by_name.index(b"message-id")]
    assert re.fullmatch(
        rb"Message-ID: <[0-9a-f]{16}-[0-9a-f-]{36}-0{6}@us-east-1\.relay\.example\.net>\r\n", message_id
    )


def _comparable(fields: list[bytes], sent: list[bytes]) -> list[bytes]:
    """Without what may differ; what is replaced in its place stays as its bare name."""
    known = {name(field) for field in sent}
    without_trace = [field for field in fields if name(field) not in ADDED | REMOVED or _came_along(field, sent)]
    return [
        name(field) if name(field) in MASKED else field
        for field in without_trace
        if name(field) not in MASKED or name(field) in known
    ]


def _came_along(field: bytes, sent: list[bytes]) -> bool:
    """A trace field that the client itself had written stays."""
    return name(field) in ADDED and field in sent

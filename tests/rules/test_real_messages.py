"""Real mail, and pieces of it, against a second and slower way to do what MSG-2 and MSG-7 say, line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import content, mailboxes
from sesrelay.rules.fields import ACTIONS, TAKE_OFF
from sesrelay.rules.headers import rewrite
from tests.rules.test_headers import FEEDBACK, NEW_DATE, NEW_FROM, NEW_ID, OUTGOING, RECEIVED, STAMP

SAMPLES = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parents[1] / "samples").glob("*.eml"))}
HUGE = {
    "huge-header": b"X-Big: " + b"\r\n\tword" * 40_000 + b"\r\n" + SAMPLES["folded"],
    "many-fields": b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + SAMPLES["plain"],
    "huge-list": b"To: " + b",\r\n ".join([b"Some One <one%d@x.example>" % n for n in range(3000)]) + b"\r\n\r\nx",
}
REMOVED = {b"return-path", b"bcc", b"x-ses-configuration-set", b"x-ses-message-tags"}


def fields_of(message: bytes) -> tuple[list[bytes], bytes]:
    """The fields with their folded lines, and what follows them: the header ends where no field goes on or begins."""
    lines = re.findall(rb"(?s)(?:.*?\r\n|.+?\Z)", message)
    fields: list[bytes] = []
    for number, line in enumerate(lines):
        if line == b"\r\n":
            return fields, b"".join(lines[number + 1 :])
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += line
        elif re.match(rb"[!-9;-~]+[ \t]*:", line):
            fields.append(line)
        else:
            return fields, b"".join(lines[number:])
    return fields, b""


def name_of(field: bytes) -> bytes:
    return field.partition(b":")[0].strip().lower()


def expected(message: bytes) -> bytes | None:
    """The message as it is sent; None: it is refused."""
    fields, rest = fields_of(message)
    names = [name_of(field) for field in fields]
    once = [name for name in names if ACTIONS.get(name, TAKE_OFF) < TAKE_OFF]
    if len(once) != len(set(once)):
        return None
    if fields and not fields[-1].endswith(b"\r\n"):
        fields[-1] += b"\r\n"
    sent = [RECEIVED]
    for name, field in zip(names, fields, strict=True):
        if name not in REMOVED:
            sent.append({b"date": NEW_DATE, b"message-id": NEW_ID}.get(name, field))
    for name, added in ((b"date", NEW_DATE), (b"message-id", NEW_ID), (b"from", NEW_FROM), (b"feedback-id", FEEDBACK)):
        if name not in names:
            sent.append(added)
    return b"".join([*sent, OUTGOING, b"\r\n", rest])


def sent(message: bytes) -> bytes | None:
    try:
        read = rewrite(message, STAMP)
    except Refused as refused:
        return None if refused.refusal is Refusal.DUPLICATE_HEADER else b""
    return read.header + message[read.consumed :]


@pytest.mark.parametrize("name", [*SAMPLES, *HUGE])
def test_a_real_message_is_sent_as_it_came_but_for_the_fields_of_the_rules(name: str) -> None:
    message = (SAMPLES | HUGE)[name]
    assert expected(message) is not None
    assert sent(message) == expected(message)


@pytest.mark.parametrize("name", [*SAMPLES, *HUGE])
def test_nothing_that_must_not_be_is_seen_in_it(name: str) -> None:
    message = (SAMPLES | HUGE)[name]
    read = rewrite(message, STAMP)
    mailboxes.check_lists(read.addresses)
    content.check(message, read.consumed, read.content)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(sorted(SAMPLES)), min_size=1, max_size=3), st.data())
def test_so_is_whatever_real_messages_are_cut_to_and_put_together_as(names: list[str], data: st.DataObject) -> None:
    pieces = []
    for name in names:
        start = data.draw(st.integers(0, len(SAMPLES[name])))
        end = data.draw(st.integers(start, len(SAMPLES[name])))
        pieces.append(SAMPLES[name][start:end])
    message = re.sub(rb"\r(?!\n)|(?<!\r)\n", b"", b"".join(pieces))
    assert sent(message) == expected(message)


def test_the_samples_are_what_the_wire_carries() -> None:
    assert len(SAMPLES) >= 14
    for message in SAMPLES.values():
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n", message)

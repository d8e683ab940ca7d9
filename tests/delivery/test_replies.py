"""Replies come out the same however the octets were cut up, and nonsense is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.delivery.replies import REPLY_OCTETS, ReplyReader, UnreadableReplyError, parse
from sesrelay.model.reply import Reply

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
CODE = st.integers(200, 559).filter(lambda code: code % 100 < 60)


@st.composite
def wire_replies(draw: st.DrawFn) -> list[bytes]:
    replies = []
    for _ in range(draw(st.integers(1, 5))):
        code, lines = draw(CODE), draw(st.lists(TEXT, min_size=1, max_size=4))
        end = draw(st.sampled_from((b"\r\n", b"\n")))
        wire = b"".join(b"%d-%b%b" % (code, line.encode(), end) for line in lines[:-1])
        replies.append(wire + b"%d %b%b" % (code, lines[-1].encode(), end))
    return replies


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(octets) + 1) for place in places} | {len(octets)})
    return [octets[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(wire_replies(), st.lists(st.integers(0, 10_000), max_size=20))
def test_chunking_changes_nothing(replies: list[bytes], places: list[int]) -> None:
    reader = ReplyReader()
    found = [reply for chunk in cut(b"".join(replies), places) for reply in reader.feed(chunk)]
    assert found == [parse(reply) for reply in replies]
    assert reader.trouble == ""


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_any_octets_are_read_or_refused_but_never_raise(octets: bytes, places: list[int]) -> None:
    whole, parts = ReplyReader(), ReplyReader()
    at_once = whole.feed(octets)
    bit_by_bit = [reply for chunk in cut(octets, places) for reply in parts.feed(chunk)]
    assert at_once == bit_by_bit
    assert whole.trouble == parts.trouble
    for reply in at_once:
        assert all(line.isprintable() or "\t" in line or not line.isascii() for line in reply.lines)


@pytest.mark.parametrize(
    ("wire", "reply"),
    [
        (b"250 Ok\r\n", Reply(250, "", ("Ok",))),
        (b"250\r\n", Reply(250, "", ("",))),
        (b"550 5.1.1 user unknown\r\n", Reply(550, "5.1.1", ("user unknown",))),
        (b"550 5.1.1\r\n", Reply(550, "5.1.1", ("",))),
        (b"550-5.7.1 one\r\n550 5.7.1 two\r\n", Reply(550, "5.7.1", ("one", "two"))),
        (b"550-5.7.1 one\r\n550 5.7.26 two\r\n", Reply(550, "5.7.1", ("one", "5.7.26 two"))),
        (b"250-first\n451 last counts\n", Reply(451, "", ("first", "last counts"))),
        (b"452 4.2.2x is no status\r\n", Reply(452, "", ("4.2.2x is no status",))),
        ("250 grüße\r\n".encode(), Reply(250, "", ("grüße",))),
        (b"250 \xff\x00\x07\r\n", Reply(250, "", ("\\xff??",))),
    ],
)
def test_what_servers_say_is_read(wire: bytes, reply: Reply) -> None:
    assert parse(wire) == reply


@pytest.mark.parametrize("wire", [b"\r\n", b"hello\r\n", b"25 Ok\r\n", b"199 no\r\n", b"600 no\r\n", b"250_Ok\r\n"])
def test_what_is_no_reply_is_refused(wire: bytes) -> None:
    with pytest.raises(UnreadableReplyError, match="not an SMTP reply"):
        parse(wire)


def test_an_endless_line_is_refused_without_being_kept() -> None:
    reader = ReplyReader()
    for _ in range(100):
        reader.feed(b"2" * 1000)
    assert "more than" in reader.trouble
    assert reader.feed(b"250 Ok\r\n") == []


def test_an_endless_reply_is_refused() -> None:
    reader = ReplyReader()
    while not reader.trouble:
        assert reader.feed(b"250-and on it goes\r\n" * 100) == []
    assert str(REPLY_OCTETS) in reader.trouble


def test_replies_before_the_trouble_count() -> None:
    reader = ReplyReader()
    assert [reply.code for reply in reader.feed(b"250 Ok\r\nwhat?\r\n250 Ok\r\n")] == [250]
    assert "what?" in reader.trouble

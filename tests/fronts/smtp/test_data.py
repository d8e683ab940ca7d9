"""Reading a message: its end, its dots, its size, whatever way the chunks are cut."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.fronts.smtp.data import SPOOLED_OCTETS, BodyReader, WorkerOctets
from sesrelay.model.message import SpooledBody
from sesrelay.model.refusal import Refusal
from tests.fronts.smtp.house import ACCEPTED, ENVELOPE, GO, OK, House, Spool

LIMIT = 10_485_760


def no_spool(header: bytes) -> object:
    raise AssertionError("small messages stay in memory")


def reader(limit: int = LIMIT, memory: WorkerOctets | None = None, spool: object = no_spool) -> BodyReader:
    return BodyReader(limit, memory or WorkerOctets(1 << 30), spool)


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(octets) + 1) for place in places)
    return [octets[a:b] for a, b in zip([0, *ends], [*ends, len(octets)], strict=True)]


lines = st.lists(st.sampled_from([b"", b".", b"..", b"...", b"text", b".text", b"a.b", b" .", b"x" * 900]), max_size=12)
places = st.lists(st.integers(0, 1 << 20), max_size=12)


@given(lines, places, st.binary(max_size=8))
def test_what_was_stuffed_comes_out_whatever_the_chunks(lines: list[bytes], places: list[int], behind: bytes) -> None:
    message = b"".join(line + b"\r\n" for line in lines)
    stuffed = b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines)
    body = reader()
    rest: bytes | None = None
    for chunk in cut(stuffed + b".\r\n" + behind, places):
        if rest is None:
            rest = body.feed(chunk)
        else:
            rest += chunk
    assert rest == behind
    assert body.content() == message


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"a"]), max_size=30), places)
def test_only_crlf_dot_crlf_is_the_end(parts: list[bytes], places: list[int]) -> None:
    octets = b"".join(parts)
    end = (b"\r\n" + octets).find(b"\r\n.\r\n")
    body = reader()
    rest: bytes | None = None
    for chunk in cut(octets, places):
        rest = body.feed(chunk) if rest is None else rest + chunk
    if end < 0:
        assert rest is None
    else:
        assert rest == octets[end + 3 :]


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"a\nb\r\n", Refusal.BARE_LINE_ENDING),
        (b"a\rb\r\n", Refusal.BARE_LINE_ENDING),
        (b"a\n.\nMAIL FROM:<x@y.z>\r\n", Refusal.BARE_LINE_ENDING),
        (b"a\r\n.\nMAIL FROM:<x@y.z>\r\n", Refusal.BARE_LINE_ENDING),
        (b"a\n.\r\nMAIL FROM:<x@y.z>\r\n", Refusal.BARE_LINE_ENDING),
        (b"a\r\n.\rMAIL FROM:<x@y.z>\r\n", Refusal.BARE_LINE_ENDING),
        (b"a\r.\r\n", Refusal.BARE_LINE_ENDING),
        (b"a\0b\r\n", Refusal.NUL_IN_MESSAGE),
        (b"x" * 999 + b"\r\n", Refusal.LINE_TOO_LONG),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_what_smtp_does_not_allow_is_named_after_the_dot(octets: bytes, fault: Refusal, size: int) -> None:
    body = reader()
    stream = octets + b".\r\n"
    answers = [body.feed(stream[at : at + size]) for at in range(0, len(stream), size)]
    assert answers == [None] * (len(answers) - 1) + [b""]
    assert body.content() is fault


def test_a_line_of_a_thousand_octets_passes_its_doubled_dot_not_counted() -> None:
    line = b"." + b"x" * 997
    body = reader()
    assert body.feed(b"." + line + b"\r\n.\r\n") == b""
    assert body.content() == line + b"\r\n"


@pytest.mark.parametrize("distance", [*range(4090, 4102), *range(8185, 8197)])
def test_a_doubled_dot_is_undone_however_far_it_is_from_the_dot_before(distance: int) -> None:
    between = bytearray(b"x" * (distance - 3))
    for place in range(90, len(between) - 2, 100):
        between[place : place + 2] = b"\r\n"
    body = reader()
    assert body.feed(b"a." + between + b"\r\n..b\r\n.\r\n") == b""
    assert body.content() == b"a." + between + b"\r\n.b\r\n"


def test_the_empty_message() -> None:
    body = reader()
    assert body.feed(b".\r\nNOOP\r\n") == b"NOOP\r\n"
    assert body.content() == b""


@pytest.mark.parametrize(("extra", "fits"), [(0, True), (1, False)])
def test_the_longest_message_is_measured_without_its_doubled_dots(extra: int, fits: bool) -> None:
    line = b"..23456\r\n"
    body = reader(limit=80)
    body.feed(line * 9 + b"x" * (6 + extra) + b"\r\n.\r\n")
    assert (body.content() is Refusal.TOO_LONG) is not fits


def test_what_is_beyond_the_limit_is_not_kept() -> None:
    memory = WorkerOctets(1 << 30)
    body = reader(limit=100_000, memory=memory)
    for _ in range(1000):
        assert body.feed(b"x" * 998 + b"\r\n") is None
        assert memory.held <= 100_000
    assert memory.held == 0
    assert body.feed(b".\r\n") == b""
    assert body.content() is Refusal.TOO_LONG


def test_the_workers_memory_is_bounded_over_all_messages_and_given_back() -> None:
    memory = WorkerOctets(250)
    first, second, third = (reader(memory=memory) for _ in range(3))
    message = b"x" * 98 + b"\r\n"
    assert [body.feed(message + b".\r\n") for body in (first, second, third)] == [b"", b"", b""]
    assert first.content() == second.content() == message
    assert third.content() is Refusal.OVERLOADED
    for body in (first, second, third):
        body.close(accepted=True)
        body.close()
    assert memory.held == 0


def big(header: bytes, octets: int) -> tuple[bytes, bytes]:
    """A message of about so many octets: header, body."""
    line = b"..stuffed" + b"y" * 67 + b"\r\n"
    return header, line * (octets // len(line))


@pytest.mark.parametrize("header", [b"Subject: x\r\nTo: b@example.com\r\n\r\n", b"\r\n"])
@pytest.mark.parametrize("size", [1000, 65536, 300_000])
def test_a_big_message_goes_to_a_file_and_comes_back_whole(tmp_path: Path, header: bytes, size: int) -> None:
    memory = WorkerOctets(1 << 30)
    header, rest = big(header, 700_000)
    stream = header + rest.replace(b"\r\n.", b"\r\n..").replace(b"..stuffed", b"...stuffed", 1) + b".\r\n"
    body = reader(memory=memory, spool=Spool(tmp_path).open)
    most = 0
    for at in range(0, len(stream), size):
        answer = body.feed(stream[at : at + size])
        most = max(most, memory.held)
    assert answer == b""
    content = body.content()
    assert isinstance(content, SpooledBody)
    assert content.header == header
    assert Path(content.path).read_bytes() == rest
    assert most <= SPOOLED_OCTETS + size
    assert memory.held == len(header)
    body.close(accepted=True)
    assert memory.held == 0
    assert Path(content.path).exists()


def test_the_file_of_a_message_that_is_refused_goes(tmp_path: Path) -> None:
    body = reader(spool=Spool(tmp_path).open)
    body.feed(b"\r\n" + b"x\r\n" * 200_000)
    assert len(list(tmp_path.iterdir())) == 1
    body.close()
    assert list(tmp_path.iterdir()) == []


def test_a_message_that_drips_in_holds_little_more_than_its_octets() -> None:
    body = reader()
    body.feed(b"X")
    for _ in range(20_000):
        body.feed(b"-: a\r\n"[:3])
        body.feed(b"-: a\r\n"[3:])
    held = sum(sys.getsizeof(piece) for piece in body._pieces)
    assert held < 1.3 * body._held
    assert body.feed(b"\r\n.\r\n") == b""
    assert body.content() == b"X" + 20_000 * b"-: a\r\n" + b"\r\n"


@pytest.mark.parametrize("cut", range(-6, 3))
def test_the_end_of_a_header_too_long_for_memory_is_found_wherever_it_is_cut(tmp_path: Path, cut: int) -> None:
    header = (b"X: " + b"x" * 95 + b"\r\n") * 3000 + b"\r\n"
    rest = b"Body\r\n"
    place = len(header) + cut
    body = reader(spool=Spool(tmp_path).open)
    assert body.feed(header[:280_000]) is None
    assert body.feed((header + rest)[280_000:place]) is None
    assert body.feed((header + rest)[place:] + b".\r\n") == b""
    content = body.content()
    assert isinstance(content, SpooledBody)
    assert (content.header, Path(content.path).read_bytes()) == (header, rest)


def test_a_header_too_long_for_memory_is_not_put_together_for_each_chunk(tmp_path: Path) -> None:
    body = reader(spool=Spool(tmp_path).open)
    for _ in range(1000):
        body.feed(b"X: " + b"x" * 995 + b"\r\n")
    assert len(body._pieces) > 700


def test_a_header_that_never_ends_stays_in_memory_and_is_bounded(tmp_path: Path) -> None:
    memory = WorkerOctets(1 << 30)
    body = reader(limit=2_000_000, memory=memory, spool=Spool(tmp_path).open)
    for _ in range(3000):
        body.feed(b"X: " + b"x" * 995 + b"\r\n")
    assert memory.held == 0
    assert body.feed(b".\r\n") == b""
    assert body.content() is Refusal.TOO_LONG


@pytest.mark.parametrize(
    ("number", "refusal"), [(errno.ENOSPC, Refusal.STORAGE_FULL), (errno.EIO, Refusal.UNAVAILABLE)]
)
def test_a_failing_disk_is_temporary(tmp_path: Path, number: int, refusal: Refusal) -> None:
    spool = Spool(tmp_path)
    spool.fails = OSError(number, os.strerror(number))
    memory = WorkerOctets(1 << 30)
    body = reader(memory=memory, spool=spool.open)
    body.feed(b"\r\n" + b"x\r\n" * 200_000)
    assert body.feed(b".\r\n") == b""
    assert body.content() is refusal
    assert memory.held == 0
    assert list(tmp_path.iterdir()) == []


# Over the wire


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (b"a\nb\r\n", b"554 Transaction failed: Message contains a bare CR or LF, lines must end in CRLF.\r\n"),
        (b"a\rb\r\n", b"554 Transaction failed: Message contains a bare CR or LF, lines must end in CRLF.\r\n"),
        (b"a\0b\r\n", b"554 Transaction failed: Message contains a NUL character.\r\n"),
        (b"x" * 999 + b"\r\n", b"554 Transaction failed: Message contains a line of more than 1000 octets.\r\n"),
    ],
)
def test_the_refusal_comes_after_the_dot_and_the_session_goes_on(house: House, message: bytes, reply: bytes) -> None:
    client = house.logged_in()
    for _ in range(2):
        client.say(ENVELOPE, OK + OK + GO)
        client.say(message + b".\r\n", reply)
    assert house.relay.submissions == []


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r"])
def test_no_second_message_is_smuggled_in(house: House, end: bytes) -> None:
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    client.send(b"first" + end + ENVELOPE + b"second\r\n.\r\n")
    assert client.line().startswith(b"554 Transaction failed: Message contains a bare CR or LF")
    client.say(b"NOOP\r\n", OK)
    assert house.relay.submissions == []


def test_a_message_over_the_limit_is_refused_after_the_dot(house: House) -> None:
    client = house.logged_in(message_octets=1_000_000)
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"x" * 998 + b"\r\n", b"")
    client.say((b"x" * 998 + b"\r\n") * 1000 + b".\r\n", b"552 5.3.4 Message is too long.\r\n")
    client.say(b"NOOP\r\n", OK)
    assert list(house.spool.folder.iterdir()) == []


def test_a_big_message_arrives_whole(house: House) -> None:
    client = house.logged_in()
    message = b"Subject: x\r\n\r\n" + b"0123456789" * 99 + b"\r\n"
    message += (b".dots" + b"x" * 71 + b"\r\n") * 20_000
    client.say(ENVELOPE, OK + OK + GO)
    client.say(message.replace(b"\r\n.", b"\r\n..") + b".\r\n", ACCEPTED)
    assert house.relay.bodies == [message]
    house.until(lambda: house.memory.held == 0)


def test_a_full_spool_is_a_temporary_refusal(house: House) -> None:
    house.spool.fails = OSError(errno.ENOSPC, "No space left on device")
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"\r\n" + b"x\r\n" * 200_000 + b".\r\n", b"452 4.3.1 Insufficient system storage\r\n")
    house.spool.fails = None
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"x\r\n.\r\n", ACCEPTED)


def test_what_a_lost_connection_had_sent_is_forgotten(house: House) -> None:
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    client.send(b"\r\n" + b"x\r\n" * 150_000)
    house.until(lambda: len(list(house.spool.folder.iterdir())) == 1)
    client.socket.close()
    house.until(lambda: house.memory.held == 0 and list(house.spool.folder.iterdir()) == [])
    assert house.relay.submissions == []


def test_too_many_octets_under_way_are_a_temporary_refusal(house: House) -> None:
    house.memory._limit = 1000
    client = house.logged_in()
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"x\r\n" * 400 + b".\r\n", b"452 4.3.1 Too many messages under way, please try again\r\n")
    client.say(ENVELOPE, OK + OK + GO)
    client.say(b"x\r\n.\r\n", ACCEPTED)

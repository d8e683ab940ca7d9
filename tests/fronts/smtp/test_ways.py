"""One protocol, two ways: the same octets give the same replies on the short way and through aiosmtpd's coroutine.

They are also what the reference model says (``model``), in clear, behind STARTTLS and with TLS from the first octet,
however the octets are cut.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sesrelay.connections.caps import WorkerConnections
from sesrelay.fronts.smtp.data import WorkerOctets
from sesrelay.fronts.smtp.door import Surroundings
from sesrelay.fronts.smtp.server import SmtpServer, front_door
from sesrelay.settings import Listener, Smtp
from tests.clock import FakeClock
from tests.fronts.smtp import sayings
from tests.fronts.smtp.house import ENDPOINTS, HOST, ID, PASSWORD, USER, Counts, Relay, Spool, guard
from tests.fronts.smtp.model import Bounds, Message, Model

BOUNDS = {
    "message_octets": 2000, "session_bad_commands": 12, "session_recipients": 8, "session_messages": 4,
    "session_failed_logins": 3,
}  # fmt: skip
GREETING = f"220 {HOST} ESMTP SimpleEmailService-sesrelay AAAAAAAAAAAAAAAAAAAA\r\n".encode()


class ShortWay(SmtpServer):
    """The product; its handshake takes no time and no octets."""

    async def switch_to_tls(self, ready: bytes, *_: Any, **__: Any) -> None:
        self._write(ready)
        self.transport.encrypted = True


class LongWay(ShortWay):
    """Everything that aiosmtpd's loop can read goes through its coroutine."""

    short_way = frozenset()
    long_way = SmtpServer.long_way | SmtpServer.short_way


class Wire:
    """A transport that remembers what was written."""

    client_closed = False

    def __init__(self, *, encrypted: bool) -> None:
        self.written = b""
        self.closed = False
        self.encrypted = encrypted

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "ssl_object" and self.encrypted else default

    def write(self, octets: bytes) -> None:
        assert not self.closed
        self.written += octets

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed


class NoTls:
    """Nobody asks for a region by name."""

    first = None

    def region(self, ssl_object: object) -> None:
        return None


class Heard(NamedTuple):
    """What a client is told, whether it is hung up on, and what the relay got."""

    replies: bytes
    closed: bool
    messages: list[Message]


async def settle(octets: int) -> None:
    """All that can happen has happened: each command takes a coroutine a few turns."""
    for _ in range(30 + 4 * octets):
        await asyncio.sleep(0)


async def heard(
    kind: type[SmtpServer], chunks: list[bytes], folder: Path, *, clear: list[bytes] | None = None
) -> Heard:
    """Of a client that sends these chunks in TLS; before them ``clear`` ones, with STARTTLS somewhere in them."""
    relay = Relay()
    memory = WorkerOctets(1 << 20)
    around = Surroundings(
        relay, NoTls(), WorkerConnections(at_all=9, per_address=9), FakeClock(), bytes, Counts(), Spool(folder).open,
        memory, ENDPOINTS, guard(),
    )  # fmt: skip
    door = front_door(Smtp(**BOUNDS), Listener(), around)
    connection = kind(door)
    connection.client = "192.0.2.1"
    assert door.admit(connection.client)
    wire = Wire(encrypted=clear is None)
    connection.connection_made(wire)
    for part, encrypted in ((clear or [], False), (chunks, True)):
        for number, chunk in enumerate(part):
            if not wire.closed and (encrypted or not wire.encrypted):
                connection.data_received(chunk)
            if number % 3 == 0:
                await asyncio.sleep(0)
        await settle(sum(chunk.count(b"\n") for chunk in part))
    connection.connection_lost(None)
    await door.drain(0)
    assert memory.held == 0
    messages = [
        Message(s.mail_from, s.recipients, s.recipients_named, s.eight_bit, s.content) for s in relay.submissions
    ]
    return Heard(wire.written, wire.closed, messages)


def expected(octets: bytes, *, clear: bytes | None = None) -> Heard:
    """What the reference model says to the same."""
    messages: list[Message] = []

    def login(user: str, password: bytes) -> str:
        right = (user, password) == (USER, PASSWORD)
        return "235 Authentication successful." if right else "535 Authentication Credentials Invalid"

    def accept(message: Message) -> str:
        messages.append(message)
        return f"250 Ok {ID}"

    model = Model(HOST, login, accept, Bounds(**BOUNDS), encrypted=clear is None)
    replies = GREETING + model.hear(clear or b"")
    if model.switching:
        model.switched()
    replies += model.hear(octets)
    return Heard(replies, model.closed, messages)


part = st.one_of(sayings.command, sayings.command, sayings.transaction, sayings.login)
said = st.lists(part, max_size=14).map(b"".join)
in_clear = st.one_of(
    st.none(),
    st.builds(
        lambda before, behind: before + b"STARTTLS\r\n" + behind,
        st.lists(sayings.command, max_size=3).map(b"".join),
        st.one_of(st.just(b""), said),
    ),
)


@pytest.mark.parametrize("examples", [150, pytest.param(20_000, marks=pytest.mark.soak)])
def test_both_ways_and_the_model_give_the_same_replies_however_the_octets_come(tmp_path: Path, examples: int) -> None:
    @settings(max_examples=examples, derandomize=examples < 1000, database=None)
    @given(clear=in_clear, octets=said, first=st.booleans(), cuts=sayings.cuts, clear_cuts=sayings.cuts)
    @example(clear=None, octets=b"x" * 77_900 + b"\r\n", first=True, cuts=[30_000, 70_000], clear_cuts=[])
    @example(clear=None, octets=(b"NOOP " + b"x" * 30_000 + b"\r\n") * 5, first=True, cuts=[25_000], clear_cuts=[])
    @example(
        clear=b"STARTTLS\r\nEHLO x\r\nQUIT\r\n", octets=b"NOOP\r\n", first=True, cuts=[], clear_cuts=[9, 10, 11, 12]
    )
    def compare(clear: bytes | None, octets: bytes, first: bool, cuts: list[int], clear_cuts: list[int]) -> None:
        if first:
            octets = b"".join(line + b"\r\n" for line in sayings.GOOD_LOGIN) + octets
        chunks = sayings.cut(octets, cuts)
        clear_chunks = None if clear is None else sayings.cut(clear, clear_cuts)

        async def all_of_them() -> list[Heard]:
            return [
                await heard(ShortWay, [octets], tmp_path, clear=None if clear is None else [clear]),
                await heard(ShortWay, chunks, tmp_path, clear=clear_chunks),
                await heard(LongWay, chunks, tmp_path, clear=clear_chunks),
            ]

        model = expected(octets, clear=clear)
        for way in asyncio.run(all_of_them()):
            assert way == model

    compare()


MESSAGE = [*sayings.ENVELOPE, b"Subject: x", b"", b"..x", b"."]


def test_the_long_way_carries_mail_too(tmp_path: Path) -> None:
    octets = b"".join(line + b"\r\n" for line in sayings.GOOD_LOGIN + MESSAGE + [b"QUIT"])
    replies, closed, messages = asyncio.run(heard(LongWay, [octets], tmp_path))
    assert replies.endswith(b"-000000\r\n221 Bye\r\n")
    assert closed
    assert [message.content for message in messages] == [b"Subject: x\r\n\r\n.x\r\n"]


def test_a_refusal_is_the_same_on_both_ways(tmp_path: Path) -> None:
    octets = b"".join(
        line + b"\r\n" for line in [*sayings.GOOD_LOGIN, *MESSAGE[:3], b"x" * 80] + [b"y" * 80] * 30 + [b".", b"QUIT"]
    )
    for kind in (SmtpServer, LongWay):
        replies, _, messages = asyncio.run(heard(kind, [octets], tmp_path))
        assert replies.endswith(b"552 5.3.4 Message is too long.\r\n221 Bye\r\n")
        assert messages == []


@pytest.mark.parametrize("kind", [SmtpServer, LongWay])
def test_every_verb_of_the_session_is_known_to_the_way_that_it_goes(kind: type[SmtpServer]) -> None:
    verbs = {name.removeprefix("smtp_").encode() for name in dir(kind) if name.startswith("smtp_")}
    assert kind.long_way <= verbs
    assert verbs == SmtpServer.long_way | SmtpServer.short_way

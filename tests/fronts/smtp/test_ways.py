"""One protocol, two ways: the same octets give the same replies on the short way and through aiosmtpd's coroutine."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sesrelay.fronts.smtp.caps import WorkerConnections
from sesrelay.fronts.smtp.data import WorkerOctets
from sesrelay.fronts.smtp.door import Surroundings
from sesrelay.fronts.smtp.server import SmtpServer, front_door
from sesrelay.settings import Listener, Smtp
from tests.clock import FakeClock
from tests.fronts.smtp.house import ENDPOINTS, PASSWORD, PLAIN, USER, Counts, Relay, Spool, guard


class LongWay(SmtpServer):
    """Everything that aiosmtpd's loop can read goes through its coroutine."""

    short_way = frozenset()
    long_way = SmtpServer.long_way | SmtpServer.short_way


class Wire:
    """A transport that is in TLS and remembers what was written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("192.0.2.1", 4711), "ssl_object": self}.get(name, default)

    def write(self, octets: bytes) -> None:
        assert not self.closed
        self.written += octets

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed


class NoTls:
    """Nobody asks for a region by name."""

    def region(self, ssl_object: object) -> None:
        return None


async def replies(kind: type[SmtpServer], chunks: list[bytes], folder: Path) -> tuple[bytes, bool, list[Any]]:
    """What a client is told that sends these chunks, whether it is hung up on, and what the relay got."""
    relay = Relay()
    around = Surroundings(
        relay, NoTls(), WorkerConnections(at_all=9, per_address=9), FakeClock(), bytes, Counts(), Spool(folder).open,
        WorkerOctets(1 << 20), ENDPOINTS, guard(),
    )  # fmt: skip
    door = front_door(Smtp(message_octets=2000, session_bad_commands=12, session_recipients=8), Listener(), around)
    connection = kind(door)
    wire = Wire()
    connection.connection_made(wire)
    for number, chunk in enumerate(chunks):
        if not wire.closed:
            connection.data_received(chunk)
        if number % 3 == 0:
            await asyncio.sleep(0)
    for _ in range(30 + 4 * sum(chunk.count(b"\n") for chunk in chunks)):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    await door.drain(0)
    return wire.written, wire.closed, relay.submissions


LINES = [
    b"EHLO me", b"HELO me", b"ehlo", b"NOOP", b"RSET", b"VRFY x", b"HELP", b"EXPN l", b"XYZZY", b"", b"\xff", b"N\0",
    b"AUTH", b"AUTH PLAIN " + PLAIN, b"AUTH PLAIN", PLAIN, b"AUTH LOGIN", base64.b64encode(USER.encode()), b"*",
    base64.b64encode(PASSWORD), b"AUTH PLAIN AHgAeA==", b"MAIL FROM:<a@sender.example>", b"MAIL FROM:<>",
    b"mail from: a@sender.example SIZE=10", b"MAIL FROM:<a@sender.example> SIZE=99999", b"RCPT TO:<b@example.com>",
    b"RCPT TO:<b>", b"DATA", b"DATA x", b"QUIT", b"STARTTLS", b"NOOP " + b"x" * 3000, b"EHLO \xc3\xbc", b".", b"..",
    b"x" * 1200, b"Subject: x",
]  # fmt: skip
MESSAGE = [b"MAIL FROM:<a@sender.example>", b"RCPT TO:<b@example.com>", b"DATA", b"Subject: x", b"", b"..x", b"."]
LOGIN = [b"EHLO me", b"AUTH PLAIN " + PLAIN]

steps = st.lists(
    st.one_of(st.sampled_from(LINES).map(lambda line: [line]), st.just(MESSAGE), st.just(LOGIN)), max_size=14
).map(lambda parts: [line for part in parts for line in part])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=steps,
    ends=st.lists(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 4000), max_size=10),
)
def test_both_ways_give_the_same_replies_however_the_octets_come(
    tmp_path: Path, lines: list[bytes], ends: list[bytes], cuts: list[int]
) -> None:
    octets = b"".join(line + ends[number % len(ends)] for number, line in enumerate(LOGIN + lines))
    places = sorted(cut % (len(octets) + 1) for cut in cuts)
    chunks = [octets[a:b] for a, b in zip([0, *places], [*places, len(octets)], strict=True)]

    async def both() -> list[Any]:
        return [
            await replies(SmtpServer, [octets], tmp_path),
            await replies(SmtpServer, chunks, tmp_path),
            await replies(LongWay, chunks, tmp_path),
        ]

    whole, short, long = asyncio.run(both())
    assert whole == short == long


def test_the_long_way_carries_mail_too(tmp_path: Path) -> None:
    octets = b"".join(line + b"\r\n" for line in LOGIN + MESSAGE + [b"QUIT"])
    written, closed, submissions = asyncio.run(replies(LongWay, [octets], tmp_path))
    assert written.endswith(b"-000000\r\n221 Bye\r\n")
    assert closed
    assert [submission.content for submission in submissions] == [b"Subject: x\r\n\r\n.x\r\n"]


def test_a_refusal_is_the_same_on_both_ways(tmp_path: Path) -> None:
    octets = b"".join(line + b"\r\n" for line in [*LOGIN, *MESSAGE[:3], b"x" * 80] + [b"y" * 80] * 30 + [b".", b"QUIT"])
    for kind in (SmtpServer, LongWay):
        written, _, submissions = asyncio.run(replies(kind, [octets], tmp_path))
        assert written.endswith(b"552 5.3.4 Message is too long.\r\n221 Bye\r\n")
        assert submissions == []


@pytest.mark.parametrize("kind", [SmtpServer, LongWay])
def test_every_verb_of_the_session_is_known_to_the_way_that_it_goes(kind: type[SmtpServer]) -> None:
    verbs = {name.removeprefix("smtp_").encode() for name in dir(kind) if name.startswith("smtp_")}
    assert kind.long_way <= verbs
    assert verbs == SmtpServer.long_way | SmtpServer.short_way

"""What abuse does to others: a well-behaved client's waits while it lasts, and the relay's memory.

    python -m bench.abuse [--seconds N] [--idle N] [KIND …]

Each kind of abuse comes from a process of its own; the probe is measured before, during and after it in the same run,
and the figure is the p99 during against the p99 of both undisturbed spans together.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ALLOWED_RATIO = 1.5
MESSAGES_A_SECOND = 100
STEP_SECONDS = 0.05
ALL_HERE = "all here"


@dataclass(frozen=True)
class Target:
    """A listener with TLS from the first octet, and credentials for it."""

    port: int
    user: str
    password: str
    sender: str

    @property
    def login(self) -> bytes:
        """EHLO and AUTH in one go."""
        token = base64.b64encode(f"\0{self.user}\0{self.password}".encode())
        return b"EHLO abuse.example\r\nAUTH PLAIN " + token + b"\r\n"

    @property
    def envelope(self) -> bytes:
        return f"MAIL FROM:<{self.sender}>\r\nRCPT TO:<somebody@next-hop.example>\r\nDATA\r\n".encode()


@cache
def trusting() -> ssl.SSLContext:
    """Certificates are not what is measured."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# The well-behaved client


class Probe:
    """A few sessions that send a small message now and then, evenly, and note how long each one took."""

    def __init__(self, target: Target, sessions: int = 4) -> None:
        self._target = target
        self._message = f"From: {target.sender}\r\nSubject: probe\r\n\r\nHello.\r\n.\r\n".encode()
        self._sessions = [self._connect() for _ in range(sessions)]

    def measure(self, seconds: float) -> list[float]:
        """Seconds of each message, from MAIL to the 250 after its dot."""
        waits = []
        turns = itertools.cycle(self._sessions)
        begun = time.monotonic()
        for number in range(round(seconds * MESSAGES_A_SECOND)):
            time.sleep(max(0.0, begun + number / MESSAGES_A_SECOND - time.monotonic()))
            waits.append(self._send(next(turns)))
        return waits

    def close(self) -> None:
        for session in self._sessions:
            session.close()

    def _connect(self) -> ssl.SSLSocket:
        session = trusting().wrap_socket(socket.create_connection(("127.0.0.1", self._target.port), 60))
        session.sendall(self._target.login)
        said = b""
        while b"\r\n235 " not in said:
            said += session.recv(4096)
            assert b"\r\n535 " not in said
        return session

    def _send(self, session: ssl.SSLSocket) -> float:
        begun = time.perf_counter()
        session.sendall(self._target.envelope)
        self._expect(session, b"354 ")
        session.sendall(self._message)
        self._expect(session, b"250 Ok ")
        return time.perf_counter() - begun

    @staticmethod
    def _expect(session: ssl.SSLSocket, reply: bytes) -> None:
        said = b""
        while not said.endswith(b"\r\n") or reply not in said:
            chunk = session.recv(4096)
            assert chunk, f"hung up on, after {said!r}"
            said += chunk


# Abuse: each runs for ever


def _address(number: int) -> tuple[str, int]:
    """One of many."""
    return f"127.0.{1 + number // 100}.{1 + number % 100}", 0


@cache
def hello() -> bytes:
    """What a client of TLS says first."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        trusting().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


_begun: set[asyncio.Task[object] | None] = set()
"""Attackers that are through with their own start."""


_pace: ContextVar[float] = ContextVar("pace", default=1.0)


async def _pause(steps: int = 1) -> None:
    """Between two misdeeds."""
    await asyncio.sleep(steps * STEP_SECONDS * _pace.get())


def _begins() -> None:
    """The one who calls has come as far as the abuse itself."""
    _begun.add(asyncio.current_task())


async def _connect(
    target: Target, number: int, *, log_in: bool = True
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """From one of many addresses."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", target.port, ssl=trusting(), local_addr=_address(number)
    )
    await reader.readline()
    if log_in:
        writer.write(target.login)
        while not (await reader.readline()).startswith(b"235 "):
            pass
    _begins()
    return reader, writer


async def never_read(target: Target, number: int) -> None:
    """Sends commands as fast as they are taken, and reads not one reply; hung up on, it comes again."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await _connect(target, number)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            while not writer.is_closing():
                writer.write(b"HELP\r\nNOOP\r\n" * 1000)
                await writer.drain()
                await _pause()
        await _pause()


async def drip(target: Target, number: int) -> None:
    """A message, octet by octet."""
    _, writer = await _connect(target, number)
    writer.write(target.envelope)
    while True:
        writer.write(b"x")
        await _pause(10)


async def endless_line(target: Target, number: int) -> None:
    """A command without an end; cut off, it comes again."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await _connect(target, number, log_in=False)
            while not writer.is_closing():
                writer.write(b"x" * 16_384)
                await writer.drain()
                await _pause(10)


async def guess(target: Target, number: int) -> None:
    """Passwords, one after the other; hung up on, it comes again."""
    wrong = Target(target.port, target.user, "wrong", target.sender).login
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await _connect(target, number // 10, log_in=False)
            writer.write(wrong)
            while await reader.readline():
                pass
            writer.close()
        await _pause()


async def come_and_go(target: Target, _: int) -> None:
    """Connects and leaves before anything is said."""
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", target.port), 5).close()
            _begins()
        await _pause()


async def flood_with_handshakes(target: Target, number: int) -> None:
    """Begins them, and leaves as soon as the relay has done its part; costs itself next to nothing."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port, local_addr=_address(number))
            writer.write(hello())
            await reader.read(1)
            writer.transport.abort()
            _begins()
        await _pause()


async def silent(target: Target, number: int) -> None:
    """Connects and says nothing, not even of TLS; closed, it comes again."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port, local_addr=_address(number))
            _begins()
            await reader.read(1)
            writer.close()
        await _pause()


async def hostile_from(target: Target, number: int) -> None:
    """Messages with 16 KB of From."""
    reader, writer = await _connect(target, number)
    field = b"a@b,\r\n " * 2300
    while True:
        writer.write(target.envelope + b"From: " + field + b"\r\n\r\n\r\n.\r\n")
        while not (await reader.readline()).startswith(b"554 "):
            pass
        await _pause(10)


async def idle(target: Target, number: int) -> None:
    """Says nothing."""
    await _connect(target, number, log_in=False)
    print("idle", flush=True)
    await asyncio.Event().wait()


KINDS: dict[str, tuple[Callable[[Target, int], Awaitable[None]], int]] = {
    "never-read": (never_read, 50),
    "drip": (drip, 200),
    "endless-line": (endless_line, 20),
    "guess": (guess, 20),
    "come-and-go": (come_and_go, 5),
    "hostile-from": (hostile_from, 5),
    "handshake-flood": (flood_with_handshakes, 20),
    "silent": (silent, 1000),
}
"""What to do, and how many do it at once."""


class Abuse:
    """``with Abuse(target, "drip"):`` it lasts until the block ends."""

    def __init__(self, target: Target, kind: str, number: int | None = None, *, pace: float = 1.0) -> None:
        """``pace``: pauses between misdeeds are so many times as long."""
        many = KINDS[kind][1] if kind in KINDS else 1
        order = json.dumps([target.port, target.user, target.password, target.sender, kind, number or many, pace])
        self._command = [sys.executable, "-m", "bench.abuse", "--attack", order]
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Abuse:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        ended = self.process.poll()
        self.process.kill()
        self.process.communicate()
        assert ended is None, "the abuse did not last"

    def wait_for_all(self) -> None:
        """Until each has come as far as the abuse: to come, by hundreds at once, is another one."""
        assert self.process.stdout
        assert self.process.stdout.readline() == f"{ALL_HERE}\n"

    def wait_for_idle(self, number: int) -> None:
        """Until so many sessions are open."""
        assert self.process.stdout
        for _ in range(number):
            assert self.process.stdout.readline() == "idle\n"


async def _attack(target: Target, kind: str, number: int, pace: float) -> None:
    _pace.set(pace)
    act = idle if kind == "idle" else KINDS[kind][0]
    opening = asyncio.Semaphore(50)

    async def one(each: int) -> None:
        async with opening:
            running = asyncio.ensure_future(act(target, each))
            await _pause()
        await running

    async def tell() -> None:
        while len(_begun) < number:
            await _pause()
        print(ALL_HERE, flush=True)

    await asyncio.gather(tell(), *(one(each) for each in range(number)))


# Measuring


@dataclass(frozen=True)
class Disturbance:
    """What a kind of abuse did."""

    kind: str
    undisturbed_p99: float
    disturbed_p99: float
    grown_octets: int

    @property
    def ratio(self) -> float:
        return self.disturbed_p99 / self.undisturbed_p99

    def __str__(self) -> str:
        return (
            f"{self.kind:15} p99 {self.undisturbed_p99 * 1000:7.2f} ms, abused {self.disturbed_p99 * 1000:7.2f} ms, "
            f"ratio {self.ratio:5.2f}, memory {self.grown_octets / 1e6:+6.1f} MB"
        )


def p99(waits: Sequence[float]) -> float:
    """The wait that one in a hundred exceeds."""
    return statistics.quantiles(waits, n=100)[98]


def disturb(target: Target, kind: str, seconds: float, octets: Callable[[], int]) -> Disturbance:
    """Half of the undisturbed time before the abuse, half after it. ``octets``: the relay's memory now."""
    probe = Probe(target)
    try:
        probe.measure(1)
        undisturbed = probe.measure(seconds / 2)
        before = octets()
        with Abuse(target, kind):
            time.sleep(3)  # the attackers' own start is no abuse
            disturbed = probe.measure(seconds)
            grown = octets() - before
        time.sleep(1)
        undisturbed += probe.measure(seconds / 2)
    finally:
        probe.close()
    return Disturbance(kind, p99(undisturbed), p99(disturbed), grown)


def idle_session_octets(target: Target, number: int, octets: Callable[[], int]) -> float:
    """What each of so many idle sessions takes of the relay's memory."""
    before = octets()
    with Abuse(target, "idle", number) as abuse:
        abuse.wait_for_idle(number)
        return (octets() - before) / number


def main() -> int:
    """The figures of every kind, on a relay of its own."""
    parser = argparse.ArgumentParser(description="what abuse does to others")
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement; 0: none")
    parser.add_argument("--idle", type=int, default=10_000, help="idle sessions; 0: none")
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        *place, kind, number, pace = json.loads(options.attack)
        asyncio.run(_attack(Target(*place), kind, number, pace))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves no relay behind
    # Not on a disk: its moods are no abuse, and far greater than what is measured.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="sesrelay-abuse-", dir=memory) as folder:
        return show(Path(folder), options.kinds if options.seconds else [], options.seconds, options.idle)


def show(folder: Path, kinds: Sequence[str], seconds: float, idle_sessions: int) -> int:
    """Measures and prints; 0 when nobody was harmed more than is allowed."""
    from bench.servers import Sesrelay

    relay = Sesrelay(folder)
    relay.start(folder / "data", next_hop=None)
    target = Target(relay.port, relay.user, relay.password, "app@bench.example")

    def octets() -> int:
        return sum(relay.group.memory_octets().values())

    harmless = True
    try:
        for kind in kinds:
            found = disturb(target, kind, seconds, octets)
            harmless = harmless and found.ratio <= ALLOWED_RATIO
            print(found, flush=True)
        if idle_sessions:
            each = idle_session_octets(target, idle_sessions, octets)
            print(f"{idle_sessions} idle TLS sessions: {each / 1024:.1f} KiB each")
    finally:
        relay.stop()
    return 0 if harmless else 1


if __name__ == "__main__":
    sys.exit(main())

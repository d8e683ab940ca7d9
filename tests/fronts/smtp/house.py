"""A front door on a loop in a thread, a relay behind it that does as told, and a client with a real socket."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import trustme

from sesrelay.connections.caps import WorkerConnections
from sesrelay.connections.handshakes import Handshakes
from sesrelay.core.guard import GuardBounds, LoginGuard
from sesrelay.fronts.smtp.data import WorkerOctets
from sesrelay.fronts.smtp.door import Door, Surroundings
from sesrelay.fronts.smtp.server import SmtpServer, front_door
from sesrelay.fronts.smtp.tls import TlsContexts
from sesrelay.model.account import Login
from sesrelay.model.message import MessageId, SpooledBody, Submission
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules.patience import Patience
from sesrelay.settings import Listener, Smtp
from tests.clock import FakeClock

USER = "AKIAIOSFODNN7EXAMPLE"
PASSWORD = b"In1zZ/right+password"
REGIONS = ("us-east-1", "eu-west-1")
ENDPOINTS = {region: f"email-smtp.{region}.relay.example.net" for region in REGIONS}
HOST = ENDPOINTS["us-east-1"]
ID = MessageId.make(0, 1_400_000_000_123_000, bytes(range(16)))
OK = b"250 Ok\r\n"
GO = b"354 End data with <CR><LF>.<CR><LF>\r\n"
ACCEPTED = f"250 Ok {ID}\r\n".encode()
PLAIN = base64.b64encode(b"\0" + USER.encode() + b"\0" + PASSWORD)
ENVELOPE = b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"

T = TypeVar("T")


class Relay:
    """Accepts and logs in as it is told; remembers what it got."""

    def __init__(self) -> None:
        self.submissions: list[Submission] = []
        self.bodies: list[bytes] = []
        self.logins: list[tuple[str, bytes, str]] = []
        self.login_addresses: list[str] = []
        self.raises: BaseException | None = None
        self.login_raises: BaseException | None = None
        self.gate: asyncio.Event | None = None
        """While it stands and is not set, nothing is accepted and nobody logged in."""

    async def accept(self, submission: Submission) -> MessageId:
        self.submissions.append(submission)
        if self.gate is not None:
            await self.gate.wait()
        if self.raises is not None:
            raise self.raises
        content = submission.content
        self.bodies.append(content if isinstance(content, bytes) else content.header + Path(content.path).read_bytes())
        return ID

    async def login(self, access_key_id: str, password: bytes, region: str, client_address: str) -> Login:
        self.logins.append((access_key_id, password, region))
        self.login_addresses.append(client_address)
        if self.gate is not None:
            await self.gate.wait()
        if self.login_raises is not None:
            raise self.login_raises
        if (access_key_id, password) != (USER, PASSWORD):
            raise Refused(Refusal.BAD_CREDENTIALS)
        return Login("123456789012", "smtp-user", access_key_id)


class Counts:
    """What the door counted."""

    def __init__(self) -> None:
        self.messages: list[int] = []
        self.reasons: list[str] = []
        self.delays = self.turned_away = self.unintroduced = 0

    def accepted(self, recipients: int) -> None:
        self.messages.append(recipients)

    def refused(self, reason: str) -> None:
        self.reasons.append(reason)

    def connection_refused(self) -> None:
        self.turned_away += 1

    def proxy_header_refused(self) -> None:
        self.unintroduced += 1

    def login_delayed(self) -> None:
        self.delays += 1


class Numbers:
    """A tally in which nothing fades."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.numbers: dict[bytes, float] = {}

    def number(self, name: bytes) -> float:
        return self.numbers.get(name, 0)

    def add(self, name: bytes) -> None:
        self.numbers[name] = min(self.number(name) + 1, self.most)

    def take_back(self, name: bytes) -> None:
        self.numbers.pop(name, None)


def guard(*, address: int = 100, key_in_network: int = 100, key: int = 100) -> LoginGuard:
    """So many failures are free; then 1, 2, 4 … 20 seconds, for the key at most 2."""
    bounds = GuardBounds(Patience(address, 1, 20), Patience(key_in_network, 1, 20), Patience(key, 1, 2))
    return LoginGuard(Numbers(100), Numbers(1), bounds)


class Spool:
    """Files in a folder, in the shape of the store's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fails: OSError | None = None

    def open(self, header: bytes) -> SpoolFile:
        return SpoolFile(self, header, self.folder / f"{len(list(self.folder.iterdir()))}.spool")


class SpoolFile:
    def __init__(self, spool: Spool, header: bytes, path: Path) -> None:
        self.spool = spool
        self.header = header
        self.path = path
        self.length = 0
        path.touch()

    def write(self, chunk: bytes) -> None:
        if self.spool.fails is not None:
            raise self.spool.fails
        self.length += len(chunk)
        with self.path.open("ab") as file:
            file.write(chunk)

    def finish(self) -> SpooledBody:
        return SpooledBody(self.header, str(self.path), 0, self.length, 0)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


class Client:
    """Says octets, and reads until it has seen as many as it expects."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(10)

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def read(self, expected: int) -> bytes:
        """So many octets, or what came before the end."""
        got = b""
        while len(got) < expected:
            try:
                chunk = self.socket.recv(min(expected - len(got), 65536))
            except (ConnectionError, ssl.SSLError):
                chunk = b""
            if not chunk:
                break
            got += chunk
        return got

    def expect(self, reply: bytes) -> None:
        assert self.read(len(reply)) == reply

    def say(self, octets: bytes, reply: bytes) -> None:
        self.send(octets)
        self.expect(reply)

    def rest(self) -> bytes:
        """Everything until the other side closes."""
        return self.read(1 << 40)

    def line(self) -> bytes:
        """One line."""
        got = b""
        while not got.endswith(b"\n"):
            octet = self.read(1)
            if not octet:
                break
            got += octet
        return got

    def starttls(self, context: ssl.SSLContext, name: str = HOST) -> Client:
        """In TLS from here on."""
        self.socket = context.wrap_socket(self.socket, server_hostname=name)
        return self

    def close_our_side(self) -> None:
        """Says in TLS that nothing more will come, and goes on listening."""
        self.socket.settimeout(0)
        with suppress(ssl.SSLWantReadError):
            self.socket.unwrap()
        self.socket.settimeout(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.socket.close()


class House:
    """A worker with its doors: a loop in a thread."""

    def chance(self, octets: int) -> bytes:
        return bytes(range(octets))

    def __init__(self, factory: Callable[[], asyncio.AbstractEventLoop], folder: Path, authority: trustme.CA) -> None:
        self.loop = factory()
        self.clock = FakeClock()
        self.relay = Relay()
        self.counts = Counts()
        (folder / "spool").mkdir()
        self.spool = Spool(folder / "spool")
        self.folder = folder
        self.authority = authority
        self.write_certificate("server")
        self.tls = TlsContexts(folder / "server.pem", folder / "server.key", ENDPOINTS)
        self.memory = WorkerOctets(1 << 26)
        self.connections = WorkerConnections(at_all=100, per_address=100)
        self.guard = guard()
        self.handshakes = Handshakes()
        # With the system's authorities it would take 40 ms, for each of a thousand tests.
        self.trust = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        self.made: list[SmtpServer] = []
        self._doors: list[Door] = []
        self._clients: list[Client] = []
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def write_certificate(self, name: str, *hosts: str) -> None:
        leaf = self.authority.issue_cert(*(hosts or (*ENDPOINTS.values(), "localhost")))
        leaf.private_key_pem.write_to_path(str(self.folder / f"{name}.key"))
        (self.folder / f"{name}.pem").write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))

    def call(self, function: Callable[[], T]) -> T:
        """Runs it on the loop."""

        async def run() -> T:
            return function()

        return self.run(run())

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def open(
        self,
        mode: str = "starttls",
        region: str | None = None,
        *,
        of: type[SmtpServer] = SmtpServer,
        proxy: bool = False,
        **bounds: Any,
    ) -> tuple[Door, int]:
        """A door and its port."""

        async def listen() -> tuple[Door, int]:
            around = Surroundings(
                relay=self.relay,
                tls=self.tls,
                caps=self.connections,
                clock=self.clock,
                chance=lambda octets: self.chance(octets),  # noqa: PLW0108 - as it is when it is called
                counters=self.counts,
                spool=lambda header: self.spool.open(header),  # noqa: PLW0108 - the same
                memory=self.memory,
                endpoints=ENDPOINTS,
                guard=self.guard,
                handshakes=self.handshakes,
            )
            door = front_door(Smtp(**bounds), Listener(mode=mode, region=region, proxy_protocol=proxy), around)
            door._make = lambda d: self.made.append(of(d)) or self.made[-1]
            listening = socket.create_server(("127.0.0.1", 0))
            door.listen(listening, 100)
            self._doors.append(door)
            return door, listening.getsockname()[1]

        return self.run(listen())

    def connect(self, port: int) -> Client:
        self._clients.append(Client(socket.create_connection(("127.0.0.1", port), timeout=10)))
        return self._clients[-1]

    def secure(self, port: int, name: str = HOST) -> Client:
        """TLS from the first octet."""
        return self.connect(port).starttls(self.trust, name)

    def greeted(self, **bounds: Any) -> Client:
        """In TLS, the greeting and EHLO done."""
        client = self.secure(self.open("tls", **bounds)[1])
        client.line()
        size = str(bounds.get("message_octets", 10_485_760)).encode()
        client.say(b"EHLO me\r\n", SECURE_EHLO.replace(b"10485760", size))
        return client

    def logged_in(self, **bounds: Any) -> Client:
        """Ready for MAIL."""
        client = self.greeted(**bounds)
        client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"235 Authentication successful.\r\n")
        return client

    def settle(self) -> None:
        """Everything that can happen now has happened."""
        for _ in range(10):
            self.run(asyncio.sleep(0))

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits for what the network brings."""

        async def wait() -> None:
            async with asyncio.timeout(10):
                while not condition():
                    await asyncio.sleep(0.001)

        self.run(wait())

    def advance(self, seconds: float) -> None:
        self.run(self.clock.advance(seconds))

    def close(self) -> None:
        async def end() -> None:
            for door in self._doors:
                door.close()
                await door.drain(0)
            met = [connection for connection in self.made if connection.transport is not None or connection._gone]
            for connection in met:
                if not connection._gone:
                    connection.transport.abort()
            async with asyncio.timeout(10):
                while any(door._under_way or door._coming for door in self._doors) or not all(c._gone for c in met):
                    if self.relay.gate is not None:
                        self.relay.gate.set()
                    await asyncio.sleep(0.001)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()  # a drain that a test has begun and not seen to its end

        try:
            self.run(end())
        finally:
            for client in self._clients:
                client.socket.close()
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()


SECURE_EHLO = (
    f"250-{HOST}\r\n250-8BITMIME\r\n250-SIZE 10485760\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n250 Ok\r\n"
).encode()
CLEAR_EHLO = f"250-{HOST}\r\n250-8BITMIME\r\n250-SIZE 10485760\r\n250-STARTTLS\r\n250 Ok\r\n".encode()
GREETING = f"220 {HOST} ESMTP SimpleEmailService-sesrelay ABCDEFGHIJKLMNOPQRST\r\n".encode()

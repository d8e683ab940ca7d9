"""A next hop that keeps every byte it gets, and that can be as bad as real ones: slow, refusing, gone in mid-sentence.

It runs in a thread of its own, so that tests may block. Whether it misbehaves is drawn from a seed at each step;
what it keeps it keeps as it came, in the envelope's order, dots undone.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

LINE_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Copy:
    """A message as it came in."""

    mail_from: str
    recipients: tuple[str, ...]
    content: bytes
    acknowledged: bool
    """False: it was kept, but the connection was cut before the 250; the sender cannot know."""


@dataclass(frozen=True, slots=True)
class Mischief:
    """How often (0 to 1) each thing goes wrong."""

    refused_greeting: float = 0.0
    """421 instead of a greeting."""
    refused_mail: float = 0.0
    """421 at MAIL, and the connection closes."""
    deferred_dot: float = 0.0
    """451 after the final dot; nothing kept."""
    cut_in_data: float = 0.0
    """The connection is gone in the middle of the message; nothing kept."""
    cut_after_dot: float = 0.0
    """The message is kept and the connection gone before the answer: the sender is in doubt."""
    slow: float = 0.0
    """The answer to the final dot takes up to ``slowness`` seconds."""
    slowness: float = 0.3


class Hangup(Exception):  # noqa: N818 - we do it on purpose
    """The connection ends here."""


class NextHop:
    """``with NextHop() as hop: hop.port``; what came in is in ``hop.copies``."""

    def __init__(self, mischief: Mischief = Mischief(), seed: int = 0) -> None:
        self.mischief = mischief
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._copies: list[Copy] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="next hop", daemon=True)
        self._sessions: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self.port = 0

    @property
    def copies(self) -> list[Copy]:
        """All so far, in the order of their final dots."""
        with self._changed:
            return list(self._copies)

    def wait_for(self, enough: Callable[[list[Copy]], object], timeout: float) -> list[Copy]:
        """The copies, once there are enough of them. AssertionError when that takes longer than ``timeout`` seconds."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self._copies), timeout), (
                f"after {timeout} s only {len(self._copies)} messages came"
            )
            return list(self._copies)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=LINE_LIMIT)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.ensure_future(self._session(reader, writer))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)

    def _happens(self, share: float) -> bool:
        return self._random.random() < share

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._converse(reader, writer)
        except (Hangup, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._happens(self.mischief.refused_greeting):
            writer.write(b"421 4.3.2 not now\r\n")
            await writer.drain()
            raise Hangup
        writer.write(b"220 next-hop.example ESMTP\r\n")
        mail_from, recipients = "", list[str]()
        while line := await reader.readline():
            command = line.decode("ascii").rstrip("\r\n")
            match command.upper().split(":")[0].split(" ")[0]:
                case "EHLO":
                    writer.write(b"250-next-hop.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 20971520\r\n")
                case "MAIL":
                    if self._happens(self.mischief.refused_mail):
                        writer.write(b"421 4.3.2 closing\r\n")
                        await writer.drain()
                        raise Hangup
                    mail_from, recipients = _path(command), []
                    writer.write(b"250 2.1.0 Ok\r\n")
                case "RCPT":
                    recipients.append(_path(command))
                    writer.write(b"250 2.1.5 Ok\r\n")
                case "DATA":
                    writer.write(b"354 go ahead\r\n")
                    await self._data(reader, writer, mail_from, tuple(recipients))
                case "RSET" | "NOOP":
                    writer.write(b"250 2.0.0 Ok\r\n")
                case "QUIT":
                    writer.write(b"221 2.0.0 Bye\r\n")
                    await writer.drain()
                    raise Hangup
                case _:
                    writer.write(b"502 5.5.2 what?\r\n")

    async def _data(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mail_from: str, recipients: tuple[str, ...]
    ) -> None:
        if self._happens(self.mischief.cut_in_data):
            await reader.readline()
            raise Hangup
        content = bytearray()
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                raise Hangup
            content += line.removeprefix(b".")
        if self._happens(self.mischief.slow):
            await asyncio.sleep(self._random.random() * self.mischief.slowness)
        if self._happens(self.mischief.deferred_dot):
            writer.write(b"451 4.3.0 try again\r\n")
            return
        acknowledged = not self._happens(self.mischief.cut_after_dot)
        with self._changed:
            self._copies.append(Copy(mail_from, recipients, bytes(content), acknowledged))
            self._changed.notify_all()
        if not acknowledged:
            raise Hangup
        writer.write(b"250 2.0.0 kept\r\n")


def _path(command: str) -> str:
    """The address between the angle brackets."""
    return command.partition("<")[2].rpartition(">")[0].split(">")[0]

"""Clients that note everything that a reload must not do to them: a connection refused or cut, an answer lost.

A program sends one message over a new connection, or many over one that it keeps, or pipelines the next message
behind the final dot. The one thing that all must bear with is a 421 between two messages of a session.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import closing
from types import TracebackType
from typing import Self

from tests.standins.relay import DOMAIN, ENDPOINT, RelayStandIn
from tests.standins.senders import connect, message

PATIENCE_SECONDS = 60
"""RFC 5321 §4.5.3.2 asks clients for minutes; a restart on a busy machine needs some seconds."""
ENVELOPE = "MAIL FROM:<app@%s>\r\nRCPT TO:<%s>\r\nDATA\r\n"


class Amiss(Exception):  # noqa: N818 - what should not have happened, in words
    """The relay did what it must not do."""


class Line:
    """A session over TLS: says octets, reads replies."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")

    @classmethod
    def wrapped(cls, relay: RelayStandIn) -> Line:
        """TLS from the first octet, logged in."""
        clear = socket.create_connection(("127.0.0.1", relay.tls_port), PATIENCE_SECONDS)
        context = ssl.create_default_context(cafile=str(relay.ca))
        line = cls(context.wrap_socket(clear, server_hostname=ENDPOINT))
        line.expect("220", "the greeting")
        line._log_in(relay)
        return line

    @classmethod
    def upgraded(cls, relay: RelayStandIn) -> Line:
        """By STARTTLS, logged in."""
        client = connect(relay, PATIENCE_SECONDS)
        assert isinstance(client.sock, ssl.SSLSocket)
        return cls(client.sock)

    def _log_in(self, relay: RelayStandIn) -> None:
        token = base64.b64encode(f"\0{relay.user_name}\0{relay.password}".encode()).decode()
        self.say("EHLO app\r\n")
        self.expect("250", "EHLO")
        self.say(f"AUTH PLAIN {token}\r\n")
        self.expect("235", "AUTH")

    def say(self, text: str | bytes) -> None:
        self._connection.sendall(text.encode() if isinstance(text, str) else text)

    def reply(self) -> str:
        """The last line of the next reply; "" at the end of the session."""
        while (line := self._file.readline().decode().rstrip())[3:4] == "-":
            pass
        return line

    def expect(self, code: str, to: str) -> str:
        if not (reply := self.reply()).startswith(code):
            raise Amiss(f"{reply!r} to {to}")
        return reply

    def close(self) -> None:
        self._file.close()
        self._connection.close()


class Exacting:
    """``with Exacting(relay) as clients:`` they send until the block ends; ``amiss`` is to stay empty."""

    def __init__(self, relay: RelayStandIn, *, each: int = 2) -> None:
        self.accepted: dict[str, str] = {}
        """Recipient to the message's 250."""
        self.amiss: list[str] = []
        self.told_to_come_again = 0
        self.connections = 0
        self._relay = relay
        self._lock = threading.Lock()
        self._stop = threading.Event()
        ways: list[tuple[Callable[[RelayStandIn], Line], Callable[[Line], None]]] = [
            (opened, sends)
            for opened in (Line.upgraded, Line.wrapped)
            for sends in (self._one, self._many, self._pipelined)
        ]
        self._threads = [threading.Thread(target=self._run, args=way) for way in ways * each]

    def wait_for(self, number: int, seconds: float) -> None:
        """Until so many messages were accepted in all."""
        waited = threading.Event()
        for _ in range(round(seconds * 20)):
            if len(self.accepted) >= number or self.amiss:
                return
            waited.wait(0.05)
        raise AssertionError(f"only {len(self.accepted)} messages were accepted; amiss: {self.amiss[:5]}")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, opened: Callable[[RelayStandIn], Line], sends: Callable[[Line], None]) -> None:
        while not self._stop.is_set():
            stage = "a new connection"
            try:
                with closing(opened(self._relay)) as line:
                    with self._lock:
                        self.connections += 1
                    stage = f"a session of {sends.__name__}"
                    sends(line)
            except Exception as error:  # noqa: BLE001 - a thread's only way to tell
                self.amiss.append(f"{stage}: {type(error).__name__}: {error}")

    def _one(self, line: Line) -> None:
        """A program that sends a mail and ends."""
        _, (recipient,), content = message(1500)
        self._envelope(line, recipient)
        line.say(content + b".\r\n")
        self._note(recipient, line.expect("250", "the final dot"))
        line.say("QUIT\r\n")
        if (reply := line.reply())[:3] not in ("221", "421"):
            raise Amiss(f"{reply!r} to QUIT")

    def _many(self, line: Line) -> None:
        """One that keeps its session; between two messages it may be told to come again."""
        sent = 0
        while not self._stop.is_set():
            _, (recipient,), content = message(1500)
            line.say(f"MAIL FROM:<app@{DOMAIN}>\r\n")
            if self._told_to_come_again(line, sent):
                return
            line.say(f"RCPT TO:<{recipient}>\r\n")
            line.expect("250", "RCPT")
            line.say("DATA\r\n")
            line.expect("354", "DATA")
            line.say(content + b".\r\n")
            self._note(recipient, line.expect("250", "the final dot"))
            sent += 1

    def _pipelined(self, line: Line) -> None:
        """One that sends the next envelope behind the final dot; it is told to come again behind the 250 at most."""
        _, (recipient,), content = message(1500)
        self._envelope(line, recipient)
        while not self._stop.is_set():
            _, (following,), next_content = message(1500)
            line.say(content + b".\r\n" + (ENVELOPE % (DOMAIN, following)).encode())
            self._note(recipient, line.expect("250", "the final dot with more behind it"))
            if self._told_to_come_again(line, 1):
                return
            line.expect("250", "RCPT")
            line.expect("354", "DATA")
            recipient, content = following, next_content
        line.say(content + b".\r\n")
        self._note(recipient, line.expect("250", "the last final dot"))

    def _envelope(self, line: Line, recipient: str) -> None:
        line.say(ENVELOPE % (DOMAIN, recipient))
        for code, to in (("250", "MAIL"), ("250", "RCPT"), ("354", "DATA")):
            line.expect(code, f"{to} of a new session")

    def _told_to_come_again(self, line: Line, sent: int) -> bool:
        reply = line.reply()
        if reply.startswith("250"):
            return False
        if not reply.startswith("421") or not sent:
            raise Amiss(f"{reply!r} to MAIL behind {sent} messages")
        with self._lock:
            self.told_to_come_again += 1
        return True

    def _note(self, recipient: str, reply: str) -> None:
        with self._lock:
            self.accepted[recipient] = reply

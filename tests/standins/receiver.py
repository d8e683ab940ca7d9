"""A next hop for tests: takes mail by SMTP, remembers every octet, and misbehaves exactly as it is told.

In a test: ``async with Receiver(Behaviour(...)) as receiver``. As a process of its own (for journeys):
``python -m tests.standins.receiver --record FILE [--port N] [--cut 0.01] [--defer 0.05] [--stop-after-dot 0.01]``
prints ``listening PORT`` and appends one JSON line for each message that it took responsibility for (written before
its 250 goes out).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

Say = str | Callable[[str], str]
"""A reply's text, or what makes it of the argument. "" means silence, "cut" ends the connection without a word."""


@dataclass
class Behaviour:
    """How the receiver answers each step."""

    greeting: Say = "220 receiver.test ESMTP"
    ehlo: Say = ""
    """"" : the greeting and the extensions."""
    helo: Say = "250 receiver.test"
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SIZE 20971520")
    mail: Say = "250 2.1.0 Ok"
    rcpt: Say = "250 2.1.5 Ok"
    data: Say = "354 End data with <CR><LF>.<CR><LF>"
    early: Say = ""
    """Said in the middle of the content."""
    end: Say = "250 2.0.0 Ok: queued"
    """The answer to the final dot; its argument is the content."""
    silent_at: frozenset[str] = frozenset()
    """Verbs that are never answered: greeting, EHLO, MAIL, RCPT, DATA, end, QUIT."""
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    starttls: Say = "220 2.0.0 Ready to start TLS"
    injected: bytes = b""
    """Put in clear behind the 220 of STARTTLS, as an attacker on the way would."""
    users: dict[str, str] = field(default_factory=dict)
    """User and password; empty: no AUTH is offered or wanted."""
    mechanisms: str = "PLAIN LOGIN"
    greylisted: bool = False
    """The first RCPT to each address gets 451."""
    pause_seconds: float = 0
    """Waits so long before each reply."""
    most_messages: int = 0
    """After so many over one connection MAIL gets 421; 0: no bound."""


@dataclass(frozen=True)
class Received:
    """One message for which the receiver took responsibility (or cut at the dot)."""

    connection: int
    mail_from: str
    mail_parameters: str
    recipients: tuple[str, ...]
    raw: bytes
    """As it came over the wire, with its doubled dots, without the final one."""
    encrypted: bool
    user: str
    answered: bool
    """A positive reply was given."""

    @property
    def content(self) -> bytes:
        """The message: dots no longer doubled."""
        return (b"\r\n" + self.raw).replace(b"\r\n.", b"\r\n")[2:]


class Receiver:
    """Listens on a free port of 127.0.0.1."""

    def __init__(self, behaviour: Behaviour | None = None, port: int = 0, address: str = "127.0.0.1") -> None:
        self.behaviour = behaviour or Behaviour()
        self.port = port
        self.address = address
        self.received: list[Received] = []
        self.dialogue: list[str] = []
        """Every command line, in order, over all connections."""
        self.connections = 0
        self.open: set[ReceiverSession] = set()
        self.most_open = 0
        self.seen: set[str] = set()
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self.on_message: Callable[[Received], None] | None = None

    async def __aenter__(self) -> Receiver:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        implicit = self.behaviour.tls if self.behaviour.implicit_tls else None
        self._server = await loop.create_server(lambda: ReceiverSession(self), self.address, self.port, ssl=implicit)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for session in list(self.open):
                session.cut()
            await self._server.wait_closed()
            self._server = None
        for _ in range(100):
            if not self.open:
                break
            await asyncio.sleep(0.01)

    def keep(self, received: Received) -> None:
        if self.on_message is not None:
            self.on_message(received)
        self.received.append(received)
        self.changed()

    def changed(self) -> None:
        self._changed.set()

    async def wait(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Returns when the condition holds; looks at each thing that happens here."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def messages(self, number: int, seconds: float = 10) -> list[Received]:
        """Waits for so many messages."""
        await self.wait(lambda: len(self.received) >= number, seconds)
        return self.received


class ReceiverSession(asyncio.Protocol):
    """One connection."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.behaviour = receiver.behaviour
        receiver.connections += 1
        self.number = receiver.connections
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.encrypted = False
        self.user = ""
        self.login: list[str] | None = None
        self.in_data = False
        self.messages = 0
        self.busy: asyncio.Task[None] | None = None
        self.replies: list[tuple[str, str]] = []
        self.upgrading: asyncio.Task[None] | None = None
        self.clear()

    def clear(self) -> None:
        self.mail_from: str | None = None
        self.parameters = ""
        self.recipients: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.encrypted = transport.get_extra_info("ssl_object") is not None
        self.receiver.open.add(self)
        self.receiver.most_open = max(self.receiver.most_open, len(self.receiver.open))
        self.receiver.changed()
        self.say("greeting", self.behaviour.greeting, "")

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.receiver.open.discard(self)
        self.receiver.changed()

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def say(self, verb: str, what: Say, argument: str) -> str:
        """Answers; returns what was said."""
        text = what(argument) if callable(what) else what
        if text == "cut":
            self.cut()
        elif text and verb not in self.behaviour.silent_at:
            if self.behaviour.pause_seconds:
                self.replies.append((verb, text))
                if self.busy is None or self.busy.done():
                    self.busy = asyncio.get_running_loop().create_task(self._say_slowly())
            else:
                self._write(text)
        return text

    async def _say_slowly(self) -> None:
        while self.replies:
            await asyncio.sleep(self.behaviour.pause_seconds)
            self._write(self.replies.pop(0)[1])

    def _write(self, text: str) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(text.encode("latin-1") + b"\r\n")
            if text.startswith(("421", "221")):
                self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while self.buffer and self.transport is not None and self.upgrading is None:
            if self.in_data:
                if not self._content():
                    return
            else:
                line, end, rest = self.buffer.partition(b"\r\n")
                if not end:
                    return
                self.buffer = rest
                self._command(line.decode("latin-1"))

    def _content(self) -> bool:
        if self.behaviour.early:
            self.in_data = False
            self.say("early", self.behaviour.early, "")
            return True
        raw, end, rest = (b"\r\n" + self.buffer).partition(b"\r\n.\r\n")
        if not end:
            return False
        self.buffer = rest
        self.in_data = False
        # The CRLF before the dot belongs to the message (RFC 5321 §4.1.1.4).
        raw = raw[2:] + b"\r\n" if raw else b""
        end_reply = self.behaviour.end
        text = end_reply(raw.decode("latin-1")) if callable(end_reply) else end_reply
        answered = text.startswith("2") and "end" not in self.behaviour.silent_at
        if not self.recipients:
            text, answered = "554 5.5.1 No valid recipients", False
        if text.startswith("2") or text in ("", "cut"):
            received = Received(
                self.number, self.mail_from or "", self.parameters, tuple(self.recipients), raw, self.encrypted,
                self.user, answered,
            )  # fmt: skip
            self.receiver.keep(received)
        self.messages += 1
        self.clear()
        self.say("end", text, "")
        return True

    def _command(self, line: str) -> None:
        self.receiver.dialogue.append(line)
        self.receiver.changed()
        if self.login is not None:
            self._login_line(line)
            return
        verb, _, argument = line.partition(" ")
        handler = getattr(self, f"_on_{verb.lower()}", None)
        if handler is None:
            self.say(verb, "502 5.5.2 Error: command not recognized", "")
        else:
            handler(argument)

    def _on_ehlo(self, argument: str) -> None:
        extensions = list(self.behaviour.extensions)
        if self.behaviour.tls is not None and not self.encrypted:
            extensions.append("STARTTLS")
        if self.behaviour.users:
            extensions.append(f"AUTH {self.behaviour.mechanisms}")
        lines = ["receiver.test", *extensions]
        listing = "\r\n".join(f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines)
        self.say("EHLO", self.behaviour.ehlo or listing, argument)

    def _on_helo(self, argument: str) -> None:
        self.say("HELO", self.behaviour.helo, argument)

    def _on_starttls(self, _argument: str) -> None:
        if self.behaviour.tls is None:
            self.say("STARTTLS", "502 5.5.1 no TLS here", "")
            return
        text = self.behaviour.starttls if isinstance(self.behaviour.starttls, str) else self.behaviour.starttls("")
        if not text.startswith("220") or self.transport is None:
            self.say("STARTTLS", text, "")
            return
        self.transport.write(text.encode() + b"\r\n" + self.behaviour.injected)
        self.buffer = b""
        self.upgrading = asyncio.get_running_loop().create_task(self._upgrade())

    async def _upgrade(self) -> None:
        assert self.transport is not None
        assert self.behaviour.tls is not None
        try:
            upgraded = await asyncio.get_running_loop().start_tls(
                self.transport, self, self.behaviour.tls, server_side=True
            )
        except OSError:
            self.cut()
            self.connection_lost(None)
            return
        finally:
            self.upgrading = None
        self.transport = upgraded
        self.encrypted = True
        self.data_received(b"")  # what came right behind the handshake

    def _on_auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism == "PLAIN" and initial:
            _, user, password = base64.b64decode(initial).decode().split("\0")
            self._judge(user, password)
        elif mechanism == "LOGIN":
            self.login = []
            self.say("AUTH", "334 VXNlcm5hbWU6", "")
        else:
            self.say("AUTH", "504 5.5.4 mechanism", "")

    def _login_line(self, line: str) -> None:
        assert self.login is not None
        self.login.append(base64.b64decode(line).decode())
        if len(self.login) == 1:
            self.say("AUTH", "334 UGFzc3dvcmQ6", "")
        else:
            user, password = self.login
            self.login = None
            self._judge(user, password)

    def _judge(self, user: str, password: str) -> None:
        right = self.behaviour.users.get(user) == password
        self.user = user if right else ""
        self.say("AUTH", "235 2.7.0 Authentication successful" if right else "535 5.7.8 wrong", user)

    def _on_mail(self, argument: str) -> None:
        if self.behaviour.users and not self.user:
            self.say("MAIL", "530 5.7.0 Authentication required", "")
        elif self.behaviour.most_messages and self.messages >= self.behaviour.most_messages:
            self.say("MAIL", "421 4.7.0 enough for one connection", "")
        else:
            address, _, parameters = argument.partition(":")[2].partition(">")
            said = self.say("MAIL", self.behaviour.mail, address[1:])
            if said.startswith("2"):
                self.mail_from, self.parameters = address[1:], parameters.strip()

    def _on_rcpt(self, argument: str) -> None:
        address = argument.partition(":<")[2].rpartition(">")[0]
        if self.mail_from is None:
            self.say("RCPT", "503 5.5.1 need MAIL", "")
        elif self.behaviour.greylisted and address not in self.receiver.seen:
            self.receiver.seen.add(address)
            self.say("RCPT", "451 4.7.1 greylisted", "")
        elif self.say("RCPT", self.behaviour.rcpt, address).startswith("2"):
            self.recipients.append(address)

    def _on_data(self, _argument: str) -> None:
        if self.mail_from is None:
            self.say("DATA", "503 5.5.1 need MAIL", "")
        elif not self.recipients and "PIPELINING" not in self.behaviour.extensions:
            self.say("DATA", "503 5.5.1 need RCPT", "")
        else:
            self.in_data = self.say("DATA", self.behaviour.data, "").startswith("3")

    def _on_rset(self, _argument: str) -> None:
        self.clear()
        self.say("RSET", "250 2.0.0 Ok", "")

    def _on_quit(self, _argument: str) -> None:
        self.say("QUIT", "221 2.0.0 Bye", "")


def main() -> None:
    """A receiver as a process, which misbehaves at random with a seed."""
    parser = argparse.ArgumentParser(description="a misbehaving SMTP receiver")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--cut", type=float, default=0, help="share of connections cut at MAIL")
    parser.add_argument("--defer", type=float, default=0, help="share of recipients that get 451")
    parser.add_argument("--stop-after-dot", type=float, default=0, help="share of messages taken and cut unanswered")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    behaviour = Behaviour(
        mail=lambda _: "cut" if chance.random() < options.cut else "250 2.1.0 Ok",
        rcpt=lambda _: "451 4.3.0 not now" if chance.random() < options.defer else "250 2.1.5 Ok",
        end=lambda _: "cut" if chance.random() < options.stop_after_dot else "250 2.0.0 Ok: queued",
    )
    with options.record.open("a") as record:

        def write(received: Received) -> None:
            line = {
                "mail_from": received.mail_from,
                "recipients": received.recipients,
                "content": received.content.decode("latin-1"),
                "answered": received.answered,
            }
            record.write(json.dumps(line) + "\n")
            record.flush()

        async def serve() -> None:
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            receiver = Receiver(behaviour, options.port)
            receiver.on_message = write
            async with receiver:
                print(f"listening {receiver.port}", flush=True)
                await stop.wait()

        asyncio.run(serve())


if __name__ == "__main__":
    main()

"""Applications that send without pause, come back when they are cut off, and remember what they were promised."""

from __future__ import annotations

import random
import re
import smtplib
import ssl
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.standins.next_hop import Copy
from tests.standins.relay import DOMAIN, ENDPOINT, RelayStandIn

SIZES = [(90, 1_500), (8, 60_000), (2, 400_000)]
"""(how many in a hundred, octets): in a row or a segment with others, in a segment, and through the spool."""

PATIENCE_SECONDS = 20
PAUSE_SECONDS = 0.05

MARK = re.compile(rb"^X-Mark: (\w+) (\d+)\r$", re.MULTILINE)


def connect(relay: RelayStandIn, patience: float = PATIENCE_SECONDS) -> smtplib.SMTP:
    """An encrypted session, logged in. OSError, smtplib.SMTPException."""
    client = smtplib.SMTP("127.0.0.1", relay.starttls_port, timeout=patience)
    try:
        client._host = ENDPOINT  # type: ignore[attr-defined] # whose certificate it is to show
        client.starttls(context=ssl.create_default_context(cafile=str(relay.ca)))
        client.login(relay.user_name, relay.password)
    except BaseException:
        client.close()
        raise
    return client


def body(mark: str, size: int) -> bytes:
    """Octets that only this message has."""
    line = f"{mark} {mark} {mark}\r\n".encode()
    return line * (size // len(line) + 1)


def message(size: int, recipients: int = 1) -> tuple[str, tuple[str, ...], bytes]:
    """A new one: the mark by which it is known again, its recipients (named after it), and its octets."""
    mark = uuid.uuid4().hex
    header = f"From: app@{DOMAIN}\r\nSubject: crash\r\nX-Mark: {mark} {size}\r\n\r\n".encode()
    return mark, tuple(f"{mark}-{each}@next-hop.example" for each in range(recipients)), header + body(mark, size)


def mark_of(copy: Copy) -> str:
    """Which message it is; every octet of its body is checked on the way."""
    header, _, content = copy.content.partition(b"\r\n\r\n")
    found = MARK.search(header + b"\r\n")
    assert found, f"a message of nobody: {header!r}"
    mark, size = found[1].decode(), int(found[2])
    assert content == body(mark, size), f"the body of {mark} arrived damaged"
    return mark


@dataclass(slots=True)
class Promises:
    """What the relay has said."""

    accepted: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """By mark: the message id, and the recipients who must get it."""
    unknown: set[str] = field(default_factory=set)
    """Sent, and never answered: may arrive or not."""
    deferred: list[str] = field(default_factory=list)
    """4xx: the replies."""
    refused: list[str] = field(default_factory=list)
    """5xx: the replies; there should be none."""


class Senders:
    """``with Senders(relay, 8) as senders:`` eight of them send until the block ends."""

    def __init__(
        self, relay: RelayStandIn, number: int, seed: int = 0, *, sizes: Sequence[tuple[int, int]] = SIZES
    ) -> None:
        self.promises = Promises()
        self._relay = relay
        self._sizes = sizes
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(1000 * seed + each),), name=f"sender {each}")
            for each in range(number)
        ]

    def wait_for(self, number: int, timeout: float) -> None:
        """Until the relay has taken that many messages in all."""
        deadline = time.monotonic() + timeout
        while (have := len(self.promises.accepted)) < number:
            assert time.monotonic() < deadline, f"only {have} messages were accepted in {timeout} s"
            time.sleep(0.02)

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

    def _run(self, chance: random.Random) -> None:
        while not self._stop.is_set():
            try:
                with connect(self._relay) as client:
                    while not self._stop.is_set():
                        self._send(client, chance)
            except (OSError, smtplib.SMTPException):
                self._stop.wait(PAUSE_SECONDS)

    def _send(self, client: smtplib.SMTP, chance: random.Random) -> None:
        (size,) = chance.choices([size for _, size in self._sizes], [share for share, _ in self._sizes])
        mark, recipients, content = message(size, chance.choice([1, 1, 1, 3]))
        client.mail(f"app@{DOMAIN}")
        for recipient in recipients:
            client.rcpt(recipient)
        with self._lock:
            self.promises.unknown.add(mark)
        code, text = client.data(content)
        with self._lock:
            self.promises.unknown.discard(mark)
            if code == 250:
                self.promises.accepted[mark] = (text.decode().removeprefix("Ok "), recipients)
            else:
                (self.promises.deferred if code < 500 else self.promises.refused).append(f"{code} {text.decode()}")
        if code != 250:
            self._stop.wait(PAUSE_SECONDS)

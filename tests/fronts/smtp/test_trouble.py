"""Whatever breaks behind the front door: the client gets a reply of ours or is hung up on, never a word about it.

Everything that the door depends on raises, one after the other. Nobody is left waiting, nothing stays counted or
held, no exception ends in the loop's hands, and once the trouble is over a new session is served as ever.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest
import structlog

from sesrelay.connections.caps import WorkerConnections
from sesrelay.fronts.smtp import replies
from sesrelay.fronts.smtp import server as server_module
from sesrelay.fronts.smtp.session import Session
from sesrelay.fronts.smtp.tls import TlsContexts
from sesrelay.model.refusal import Refusal, Refused
from tests.clock import FakeClock
from tests.fronts.smtp.house import (
    ACCEPTED,
    ENVELOPE,
    GREETING,
    HOST,
    PLAIN,
    Client,
    Counts,
    House,
    Numbers,
    Relay,
    Spool,
    SpoolFile,
)

TROUBLE = "relation accounts does not exist at /srv/sesrelay/secret.py"
OURS = {
    *(line for value in vars(replies).values() if isinstance(value, bytes) for line in value.splitlines()),
    *(replies.refused(Refused(refusal)).strip() for refusal in Refusal),
    *(
        line
        for encrypted in (False, True)
        for line in replies.capabilities(HOST, size=10_485_760, encrypted=encrypted).splitlines()
    ),
    *(line.strip() for line in (GREETING, ACCEPTED, b"250 " + HOST.encode())),
}
"""Every line that the front door ever says."""
WRONG = b"AHgAeA=="
LETTER = ENVELOPE.split(b"\r\n")[:3]
BIG = b"Subject: x\r\n\r\n" + b"x\r\n" * 110_000
SCENARIOS = [
    ("starttls", [b"EHLO me", b"STARTTLS", b"EHLO me", b"HELP", b"VRFY x", b"AUTH PLAIN " + WRONG, b"NOOP", b"QUIT"]),
    ("starttls", [b"STARTTLS", b"HELO me", b"AUTH PLAIN " + PLAIN, *LETTER, b"x\r\n.", b"QUIT"]),
    ("tls", [b"EHLO me", b"AUTH PLAIN", PLAIN, *LETTER, BIG + b".", b"NOOP", b"QUIT"]),
    ("tls", [b"EHLO me", b"AUTH LOGIN", b"*", b"AUTH PLAIN " + PLAIN, *LETTER, b"\0\r\n.", b"QUIT"]),
    ("tls", [b"EHLO me", b"AUTH PLAIN " + PLAIN, *LETTER, BIG + b"left in the midst"]),
]  # fmt: skip
DEPENDENCIES: list[tuple[object, str]] = [
    (Relay, "accept"),
    (Relay, "login"),
    (TlsContexts, "region"),
    (WorkerConnections, "admit"),
    (WorkerConnections, "leave"),
    (FakeClock, "monotonic"),
    (FakeClock, "sleep"),
    (House, "chance"),
    (Counts, "accepted"),
    (Counts, "refused"),
    (Numbers, "number"),
    (Numbers, "add"),
    (Numbers, "take_back"),
    (Spool, "open"),
    (SpoolFile, "write"),
    (SpoolFile, "finish"),
    (SpoolFile, "discard"),
    (Session, "command"),
    (Session, "submission"),
    (server_module, "Session"),
]


def reply(client: Client) -> bytes:
    """One, with all its lines; what came of it when the server hung up."""
    got = line = client.line()
    while line[3:4] == b"-":
        line = client.line()
        got += line
    return got


def hold(house: House, port: int, mode: str, said: list[bytes]) -> bytes:
    """What a client is told that waits for each reply."""
    client = house.connect(port)
    if mode == "tls":
        try:
            client.starttls(house.trust)
        except OSError:  # hung up on before TLS
            return b""
    heard = got = reply(client)
    for words in said:
        if not got or (b"\r\n" in words and not got.startswith(b"354")):
            break  # hung up on; or nobody waits for a message
        if words.endswith(b"midst"):
            client.send(words)
            break
        try:
            client.send(words + b"\r\n")
        except TimeoutError:
            raise
        except OSError:  # hung up on
            break
        got = reply(client)
        heard += got
        if got.startswith(b"220"):
            client.starttls(house.trust)
    client.socket.close()
    return heard


@pytest.mark.parametrize("error", [RuntimeError(TROUBLE), OSError(errno.EIO, TROUBLE)], ids=["RuntimeError", "OSError"])
@pytest.mark.parametrize(("of", "name"), DEPENDENCIES, ids=lambda value: getattr(value, "__name__", value))
def test_trouble_behind_the_door_is_temporary_and_nobody_hears_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch, of: object, name: str, error: Exception
) -> None:
    unheeded: list[dict[str, Any]] = []
    house.loop.set_exception_handler(lambda _loop, context: unheeded.append(context))
    ports = {mode: house.open(mode)[1] for mode in ("starttls", "tls")}
    well = [hold(house, ports[mode], mode, said) for mode, said in SCENARIOS]
    house.until(lambda: not any(door.connections for door in house._doors))
    house.advance(60)  # nobody is there to be watched any more
    calls: list[str] = []

    def broken(*_: object, **__: object) -> object:
        calls.append(name)
        raise error

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logged:
        patch.setattr(of, name, broken)
        ill = [hold(house, ports[mode], mode, said) for mode, said in SCENARIOS]
        house.until(lambda: not any(door.connections or door._under_way for door in house._doors))
    assert calls
    for heard in ill:
        assert set(heard.splitlines()) <= OURS
    assert any(TROUBLE in str(line.get("exc_info", "")) or line["log_level"] == "error" for line in logged)
    assert unheeded == []
    if (of, name) != (WorkerConnections, "leave"):
        assert house.connections._by_address.total() == 0
    assert house.memory.held == 0
    assert [hold(house, ports[mode], mode, said) for mode, said in SCENARIOS] == well

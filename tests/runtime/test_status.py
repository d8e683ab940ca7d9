from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from sesrelay.runtime import status
from sesrelay.runtime.status import StatusPort, answer, text

PAGES = {"/healthz": lambda: text(200, "ok"), "/readyz": lambda: text(503, "not yet")}


def status_and_body(request: bytes) -> tuple[int, bytes]:
    head, _, body = answer(request, PAGES).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /healthz HTTP/1.1", 200, b"ok\n"),
        (b"GET /healthz?verbose=1 HTTP/1.0", 200, b"ok\n"),
        (b"HEAD /healthz HTTP/1.1", 200, b""),
        (b"GET /readyz HTTP/1.1", 503, b"not yet\n"),
        (b"GET /elsewhere HTTP/1.1", 404, b"not found\n"),
        (b"POST /healthz HTTP/1.1", 405, b"only GET\n"),
        (b"GET /healthz", 400, b"bad request\n"),
        (b"\x16\x03\x01\x02\x00", 400, b"bad request\n"),
        (b"", 400, b"bad request\n"),
    ],
)
def test_each_request_has_its_answer(request_line: bytes, status: int, body: bytes) -> None:
    assert status_and_body(request_line + b"\r\nHost: x\r\n\r\n") == (status, body)


async def ask(*chunks: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(StatusPort(PAGES, lambda *_: None, 1000), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    for chunk in chunks:
        writer.write(chunk)
        await writer.drain()
        await asyncio.sleep(0)
    got = await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    return got


async def test_a_request_in_pieces_is_answered_when_it_is_whole() -> None:
    got = await ask(b"GET /heal", b"thz HTTP/1.1\r\nHost: x\r\n", b"\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b"\r\n\r\nok\n")


async def test_a_request_without_end_is_ended() -> None:
    assert (await ask(b"GET /" + b"x" * 10_000)).startswith(b"HTTP/1.1 431 ")


async def test_half_a_request_is_told_that_it_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_REQUEST_SECONDS", 0.05)
    assert (await ask(b"GET / HTTP/1.1\r\n")).startswith(b"HTTP/1.1 408 ")


async def test_who_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_REQUEST_SECONDS", 0)
    with suppress(ConnectionResetError):
        assert await ask() == b""


async def test_a_probe_is_answered_however_many_are_there_and_say_nothing() -> None:
    said: list[tuple[str, str, str]] = []
    port = StatusPort(PAGES, lambda *words: said.append(words), 80)
    server = await asyncio.get_running_loop().create_server(port, "127.0.0.1", 0)
    place = server.sockets[0].getsockname()
    silent = [await asyncio.open_connection(*place) for _ in range(30)]
    reader, writer = await asyncio.open_connection(*place)
    writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(port._connections) == 9
    assert said == [("status.refused", "127.0.0.1", "too many connections")] * 21
    for _, each in [*silent, (reader, writer)]:
        each.transport.abort()
    server.close()

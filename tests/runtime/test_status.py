from __future__ import annotations

import asyncio

import pytest

from sesrelay.runtime.status import StatusProtocol, answer, text

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
    server = await loop.create_server(lambda: StatusProtocol(PAGES), "127.0.0.1", 0)
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
    assert (await ask(b"GET /" + b"x" * 10_000)).startswith(b"HTTP/1.1 400 ")

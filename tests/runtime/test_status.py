from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from sesrelay.runtime import status
from sesrelay.runtime.status import StatusPort, answer, text


def exhausted() -> status.Answer:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


PAGES = {"/healthz": lambda: text(200, "ok"), "/readyz": lambda: text(503, "not yet"), "/metrics": exhausted}


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
        (b"GET /metrics HTTP/1.1", 503, b"this cannot be said now: Too many open files\n"),
        (b"GET /elsewhere HTTP/1.1", 404, b"not found\n"),
        (b"POST /healthz HTTP/1.1", 405, b"only GET\n"),
        (b"GET /healthz", 400, b"bad request\n"),
        (b"\x16\x03\x01\x02\x00", 400, b"bad request\n"),
        (b"", 400, b"bad request\n"),
    ],
)
def test_each_request_has_its_answer(request_line: bytes, status: int, body: bytes) -> None:
    assert status_and_body(request_line + b"\r\nHost: x\r\n\r\n") == (status, body)


def opened(complain: Callable[[str, str, str], None], descriptors: int) -> tuple[StatusPort, tuple[str, int]]:
    """A port, and where it is."""
    port = StatusPort(PAGES, complain, descriptors)
    listening = socket.create_server(("127.0.0.1", 0))
    port.listen(listening)
    return port, listening.getsockname()


async def ask(*chunks: bytes) -> bytes:
    port, place = opened(lambda *_: None, 1000)
    reader, writer = await asyncio.open_connection(*place)
    for chunk in chunks:
        writer.write(chunk)
        await writer.drain()
        await asyncio.sleep(0)
    got = await reader.read()
    writer.close()
    await writer.wait_closed()
    port.close()
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
    port, place = opened(lambda *words: said.append(words), 80)
    silent = [await asyncio.open_connection(*place) for _ in range(30)]
    reader, writer = await asyncio.open_connection(*place)
    writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(port._connections) == 9
    assert said == [("status.refused", "127.0.0.1", "too many connections")] * 21
    for _, each in [*silent, (reader, writer)]:
        each.transport.abort()
    port.close()


async def test_who_has_begun_to_ask_and_must_make_room_is_told_so() -> None:
    port, place = opened(lambda *_: None, 0)
    asking, silent, *others = [await asyncio.open_connection(*place) for _ in range(4)]
    asking[1].write(b"GET /heal")
    await until(lambda: any(each._head for each in port._connections))
    others += [await asyncio.open_connection(*place) for _ in range(2)]
    assert (await asking[0].read()).endswith(b"\r\n\r\ntoo many connections\n")
    assert await silent[0].read() == b""
    for _, each in [asking, silent, *others]:
        each.transport.abort()
    port.close()


class Exhausted(socket.socket):
    """One that nobody can be accepted at but in the place of what the port has to spare."""

    port: StatusPort

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self.port._spare is not None or self.port._coming or self.port._connections:
            exhausted()
        return super().accept()


async def test_who_comes_when_no_descriptor_is_left_is_answered_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[tuple[str, str, str]] = []
    listening = Exhausted()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    port = listening.port = StatusPort(PAGES, lambda *words: said.append(words), 1000)
    port.listen(listening)
    monkeypatch.setattr(status, "REST_SECONDS", 3600)
    for _ in range(2):
        first, second = [await asyncio.open_connection(*listening.getsockname()) for _ in range(2)]
        await until(lambda: port._resting is not None)
        for reader, writer in (first, second):
            writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert (await reader.read()).endswith(b"ok\n")
            writer.close()
        await until(lambda: not port._connections and port._spare is not None)
    assert set(said) == {("status.not_accepted", "", "Too many open files")}
    port.close()


async def test_a_port_that_cannot_listen_keeps_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def crowded(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    port, listening = StatusPort(PAGES, lambda *_: None, 1000), socket.create_server(("127.0.0.1", 0))
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "add_reader", crowded)
        with pytest.raises(OSError, match="no room"):
            port.listen(listening)
    assert listening.fileno() == -1
    assert port._spare is None


async def test_it_comes_again_when_the_loop_has_room_for_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    port, place = opened(lambda *_: None, 1000)
    loop, add_reader, errors = asyncio.get_running_loop(), asyncio.get_running_loop().add_reader, [errno.ENOSPC] * 2

    def crowded(of: socket.socket, *act: object) -> None:
        if of is port._listening and errors:  # of epoll_ctl(2)
            raise OSError(errors.pop(), "no room")
        add_reader(of, *act)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "add_reader", crowded)
    monkeypatch.setattr(status, "REST_SECONDS", 0)
    loop.remove_reader(port._listening)  # type: ignore[arg-type]
    port._rest()
    reader, writer = await asyncio.open_connection(*place)
    writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.read()).endswith(b"ok\n")
    assert not errors
    writer.close()
    port.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)

"""The node's own answers over plain HTTP: /metrics, /healthz, /readyz, served by the supervisor.

HTTP/1.1 as far as a probe or Prometheus needs it: GET without a body, one answer, the connection closes. All clients
are of this machine, so a bound for each address would bound nothing: when too many are there, the one that has been
there for longest goes, and a probe, which asks at once, is answered. So it is when no file descriptor is left: one is
kept for that. A page for which something has run out is a 503 that says so.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from sesrelay.connections.shortage import OF_THE_CONNECTION, REST_SECONDS

Answer = tuple[int, str, bytes]
"""Status, content type, body."""
Page = Callable[[], Answer]
"""OSError: not now."""

_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
                   408: "Request Timeout", 431: "Request Header Fields Too Large",
                   503: "Service Unavailable"}  # fmt: skip
_LONGEST_REQUEST: Final = 8192
_REQUEST_SECONDS: Final = 10
_TAKE_SECONDS: Final = 10
_MOST: Final = 64
"""Connections; an eighth of the process's descriptors where those are few."""


def text(status: int, words: str) -> Answer:
    """A page of one line."""
    return status, "text/plain; charset=utf-8", words.encode() + b"\n"


def answer(request: bytes, pages: Mapping[str, Page]) -> bytes:
    """The whole response to a request's head."""
    return _response(*_found(request, pages))


def _found(request: bytes, pages: Mapping[str, Page]) -> tuple[Answer, bool]:
    """What to answer, and whether its body is left out."""
    method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
    target, _, version = rest.partition(b" ")
    path = target.partition(b"?")[0].decode("latin-1")
    if not version.startswith(b"HTTP/1."):
        found = text(400, "bad request")
    elif method not in (b"GET", b"HEAD"):
        found = text(405, "only GET")
    else:
        found = _made(pages[path]) if path in pages else text(404, "not found")
    return found, method == b"HEAD"


def _made(page: Page) -> Answer:
    try:
        return page()
    except OSError as error:
        return text(503, f"this cannot be said now: {error.strerror or error}")


def _response(found: Answer, without_body: bool = False) -> bytes:
    status, kind, body = found
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if without_body else body)


class StatusPort:
    """Accepts, makes the connections, and keeps them few."""

    def __init__(self, pages: Mapping[str, Page], complain: Callable[[str, str, str], None], descriptors: int) -> None:
        """``complain`` is told event, client and reason; ``descriptors``: as many as the process may have."""
        self.pages = pages
        self.complain = complain
        self._most = max(4, min(_MOST, descriptors // 8))
        self._connections: OrderedDict[StatusProtocol, None] = OrderedDict()
        self._coming: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._listening: socket.socket | None = None
        self._spare: int | None = None
        """A descriptor in whose place somebody can be accepted when there is no other."""
        self._resting: asyncio.TimerHandle | None = None

    def listen(self, listening: socket.socket) -> None:
        """Takes whoever comes to this socket, until ``close``. OSError: then it is closed."""
        listening.setblocking(False)
        self._listening = listening
        self._take_spare()
        try:
            self._loop.add_reader(listening, self._accept, listening)
        except OSError:
            self.close()
            raise

    @property
    def place(self) -> object:
        """Where it listens."""
        return self._listening.getsockname() if self._listening else None

    def close(self) -> None:
        """Nobody comes any more; those who are there get their answer."""
        listening, self._listening = self._listening, None
        if listening:
            self._loop.remove_reader(listening)
            listening.close()
        if self._resting:
            self._resting.cancel()
        self._give_spare()

    def come(self, connection: StatusProtocol) -> None:
        """One more; the oldest makes room for it."""
        if len(self._connections) >= self._most:
            oldest, _ = self._connections.popitem(last=False)
            oldest.make_room("too many connections")
        self._connections[connection] = None

    def gone(self, connection: StatusProtocol) -> None:
        """One less."""
        self._connections.pop(connection, None)
        self._loop.call_soon(self._go_on)  # its descriptor is free then

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except OSError as error:
            if error.errno not in OF_THE_CONNECTION:
                self.complain("status.not_accepted", "", str(error.strerror))
                if not self._give_spare():  # else the loop comes back at once
                    self._loop.remove_reader(listening)
                    self._rest()
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: StatusProtocol(self), connection))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    def _rest(self) -> None:
        self._resting = self._loop.call_later(REST_SECONDS, self._go_on)

    def _go_on(self) -> None:
        """Something may be there again."""
        if not self._listening:
            return
        self._take_spare()
        if self._resting:
            self._resting.cancel()
            self._resting = None
            try:
                self._loop.add_reader(self._listening, self._accept, self._listening)
            except OSError as error:  # nor has the loop any room: it would never come again
                self.complain("status.not_accepted", "", str(error.strerror))
                self._rest()

    def _take_spare(self) -> None:
        if self._spare is None:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)

    def _give_spare(self) -> bool:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)
        return spare is not None


def _client(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""


class StatusProtocol(asyncio.Protocol):
    """One connection: reads a head, answers, closes."""

    def __init__(self, port: StatusPort) -> None:
        self._port = port
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port.come(self)
        self._limit = asyncio.get_running_loop().call_later(_REQUEST_SECONDS, self._too_late)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if len(self._head) > _LONGEST_REQUEST:
            self._refuse(431, "the request is too long")
        elif b"\r\n\r\n" in self._head:
            self._answer(answer(self._head, self._port.pages))

    def make_room(self, reason: str) -> None:
        """Goes at once; who has begun to ask and has no answer yet is told why."""
        assert self._transport
        self._port.complain("status.refused", _client(self._transport), reason)
        if self._head and not self._transport.is_closing():
            self._transport.write(_response(text(503, reason)))
        self._transport.abort()

    def _too_late(self) -> None:
        assert self._transport
        if self._head:
            self._refuse(408, "too late")
        else:  # nothing was asked, and nothing is answered
            self._transport.abort()

    def _refuse(self, status: int, reason: str) -> None:
        assert self._transport
        self._port.complain("status.refused", _client(self._transport), reason)
        self._answer(_response(text(status, reason)))

    def _answer(self, octets: bytes) -> None:
        """And no more; who does not take it is cut off."""
        assert self._transport
        assert self._limit
        self._limit.cancel()
        self._limit = asyncio.get_running_loop().call_later(_TAKE_SECONDS, self._transport.abort)
        self._transport.write(octets)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - nothing to do about it
        self._port.gone(self)
        if self._limit:
            self._limit.cancel()

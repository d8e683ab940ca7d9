"""The node's own answers over plain HTTP: /metrics, /healthz, /readyz, served by the supervisor.

HTTP/1.1 as far as a probe or Prometheus needs it: GET without a body, one answer, the connection closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

Answer = tuple[int, str, bytes]
"""Status, content type, body."""
Page = Callable[[], Answer]

_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
                   503: "Service Unavailable"}  # fmt: skip
_LONGEST_REQUEST: Final = 8192
_REQUEST_SECONDS: Final = 10


def text(status: int, words: str) -> Answer:
    """A page of one line."""
    return status, "text/plain; charset=utf-8", words.encode() + b"\n"


def answer(request: bytes, pages: Mapping[str, Page]) -> bytes:
    """The whole response to a request's head."""
    method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
    target, _, version = rest.partition(b" ")
    path = target.partition(b"?")[0].decode("latin-1")
    if not version.startswith(b"HTTP/1."):
        found = text(400, "bad request")
    elif method not in (b"GET", b"HEAD"):
        found = text(405, "only GET")
    else:
        found = pages[path]() if path in pages else text(404, "not found")
    status, kind, body = found
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if method == b"HEAD" else body)


class StatusProtocol(asyncio.Protocol):
    """One connection: reads a head, answers, closes."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._limit = asyncio.get_running_loop().call_later(_REQUEST_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._head += data
        complete = b"\r\n\r\n" in self._head
        if self._transport and (complete or len(self._head) > _LONGEST_REQUEST):
            self._transport.write(answer(self._head if complete else b"", self._pages))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - nothing to do about it
        if self._limit:
            self._limit.cancel()

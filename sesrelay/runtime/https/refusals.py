"""What a client hears that is refused before any page could answer it."""

from __future__ import annotations

import http
from collections.abc import Iterable, Mapping
from typing import Final

RETRY_SECONDS: Final = 10

WORDS: Final[Mapping[int, str]] = {
    400: "This is no request that can be understood. Speak HTTP/1.1 over TLS.",
    408: "The request did not come in time. Send it again, all of it at once.",
    413: "The body of the request is too large. Send less.",
    431: "The head of the request is too large. Send shorter or fewer header fields, and parameters in the body.",
    501: "The body comes in a transfer coding that is not known here. Send it with Content-Length, or chunked.",
    503: "There is too much to do at the moment. Try again in some seconds.",
}


def answer(status: int, headers: Iterable[tuple[bytes, bytes]], *, without_body: bool) -> bytes:
    """All octets of it, with these header fields besides its own. The connection ends with it."""
    body = WORDS[status].encode() + b"\n"
    fields = [
        *headers,
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *([(b"retry-after", b"%d" % RETRY_SECONDS)] if status == 503 else []),
    ]
    line = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n".encode()
    head = line + b"".join(name + b": " + value + b"\r\n" for name, value in fields) + b"\r\n"
    return head if without_body else head + body

"""A reader of HTTP that stops at its bounds: h11, and how large a head and a body may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import h11

from sesrelay.settings import Http

HEALTH: Final = b"/healthz"
"""The one page that is answered when there are too many clients."""


class BoundedReader(h11.Connection):
    """Reads requests. Too much raises RemoteProtocolError, and its ``error_status_hint`` says what to answer."""

    def __init__(self, bounds: Http, take: Callable[[int], bool], *, crowded: bool) -> None:
        """``take`` asks for room for octets of a body; ``crowded``: this client is one too many."""
        super().__init__(h11.SERVER, bounds.head_octets)
        self._bounds = bounds
        self._take = take
        self._crowded = crowded
        self._body = 0
        self.method = b""
        """Of the request whose head was read last, until the next one begins."""

    def start_next_cycle(self) -> None:
        super().start_next_cycle()
        self.method = b""

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._check_head(event)
        elif isinstance(event, h11.Data):
            self._check_body(event)
        return event

    def _check_head(self, request: h11.Request) -> None:
        self._body, self.method = 0, request.method
        # h11 looks at the size of heads that are not complete yet; one that came all at once is read whatever its size
        if _octets(request) > self._bounds.head_octets:
            raise h11.RemoteProtocolError("the head is too large", 431)
        if self._crowded and request.target.partition(b"?")[0] != HEALTH:
            raise h11.RemoteProtocolError("too many connections", 503)
        announced = next((value for name, value in request.headers if name == b"content-length"), b"0")
        if int(announced) > self._bounds.body_octets:
            raise h11.RemoteProtocolError("the body is too large", 413)

    def _check_body(self, data: h11.Data) -> None:
        self._body += len(data.data)
        if self._body > self._bounds.body_octets:
            raise h11.RemoteProtocolError("the body is too large", 413)
        thrown_away = self.our_state is h11.DONE  # it was answered already
        if not thrown_away and not self._take(len(data.data)):
            raise h11.RemoteProtocolError("too many octets of bodies", 503)


def _octets(request: h11.Request) -> int:
    """Of the head as it was sent, give or take some spaces."""
    line = len(request.method) + len(request.target) + len(" HTTP/1.1\r\n ")
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in request.headers) + len("\r\n")

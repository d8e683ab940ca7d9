"""Accepts connections, one in a turn of the loop, and hands each to whoever serves it.

What accept(2) has to say of a connection that waited is the end of that one. A shortage of our own rests the socket,
and is told of once: who waits in its backlog goes on waiting. Nothing that one connection meets keeps the next from
being accepted.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

import structlog

from sesrelay.connections.shortage import OF_THE_CONNECTION, REST_SECONDS

log = structlog.get_logger()


class Arrival(Protocol):
    """A connection that was accepted just now."""

    def come(self) -> None:
        """Goes its way from here."""

    def cut(self) -> None:
        """Ends, whatever it is doing."""


class Accepted(socket.socket):
    """Of TCP; its family and type are plain attributes.

    ``socket.socket`` looks for a name each time that it is asked for one of them: half a microsecond, and between
    accept(2) and transport they are asked for five times.
    """

    __slots__ = ("family", "type")

    def __init__(self, family: int, number: int) -> None:
        super().__init__(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, number)
        self.family = family  # type: ignore[misc,assignment]
        self.type = socket.SOCK_STREAM  # type: ignore[misc]


class Acceptor:
    """The listening sockets of one port."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[socket.socket, str], Arrival],
        *,
        not_accepted: str,
        failed: str,
    ) -> None:
        """``make`` gets a socket that does not block and the client's address; the other two are events of the log:
        we are short of something, and an arrival met trouble that we do not understand.
        """
        self._loop = loop
        self._make = make
        self._not_accepted = not_accepted
        self._failed = failed
        self._listening: list[socket.socket] = []
        self._told_of: str | None = None
        """What we are short of since somebody was accepted last."""

    def listen(self, listening: socket.socket, backlog: int) -> None:
        """Takes whoever comes to this socket, until ``close``."""
        listening.setblocking(False)
        listening.listen(backlog)
        self._listening.append(listening)
        self._read(listening)

    def take(self, connection: socket.socket) -> None:
        """Somebody else has accepted it."""
        try:
            peer = connection.getpeername()
        except OSError:  # gone already
            connection.close()
            return
        self._arrive(connection, peer)

    def close(self) -> None:
        """Nobody comes any more. The sockets are closed."""
        while self._listening:
            listening = self._listening.pop()
            self._loop.remove_reader(listening)
            listening.close()

    def _read(self, listening: socket.socket) -> None:
        self._loop.add_reader(listening, self._accept, listening, int(listening.family))

    def _accept(self, listening: socket.socket, family: int) -> None:
        """One in a turn of the loop: it comes again as long as somebody waits, and others get their turn between."""
        try:  # as socket.accept does, which would make a socket of the slower kind
            number, peer = listening._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno not in OF_THE_CONNECTION:
                self._rest(listening, error)
            return
        self._told_of = None
        self._arrive(Accepted(family, number), peer)

    def _rest(self, listening: socket.socket, error: OSError) -> None:
        if self._told_of != error.strerror:
            self._told_of = error.strerror
            log.error(self._not_accepted, reason=error.strerror)
        self._loop.remove_reader(listening)
        self._loop.call_later(REST_SECONDS, self._accept_again, listening)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            try:
                self._read(listening)
            except OSError as error:  # nor has the loop any room: it would never come again
                self._rest(listening, error)

    def _arrive(self, connection: socket.socket, peer: object) -> None:
        connection.setblocking(False)
        client = address_of(peer)
        arrival = self._make(connection, client)
        try:
            arrival.come()
        except Exception:
            log.exception(self._failed, client=client)
            arrival.cut()


def address_of(peer: object) -> str:
    """The client's address as text, "" when it is gone already; IPv4 in IPv6 is IPv4."""
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else ""


def has_spoken(connection: socket.socket) -> bool | None:
    """None: not yet; False: it is gone. What it said is still to be read."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return False

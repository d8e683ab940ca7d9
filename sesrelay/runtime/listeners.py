"""Listening sockets: opened by the supervisor, one SO_REUSEPORT socket for each worker, kept over a worker's death.

The kernel spreads connections over the sockets evenly, and connections to a dead worker's socket wait for its
successor. A socket that systemd opened cannot be multiplied: the supervisor accepts on it and hands the
connections out (`Passer`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from sesrelay.connections.shortage import OF_THE_CONNECTION, REST_SECONDS
from sesrelay.runtime.descriptors import NO_ROOM
from sesrelay.runtime.plan import Door

BACKLOG: Final = 4096

_Key = tuple[str, int, str]
"""Address, port, and for a port that the system chooses the door's name."""


class DoorFault(Exception):  # noqa: N818 - its text is for people
    """Why nobody can listen there, in one line with address and port; ``passing``: something had run out."""

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


@dataclass(slots=True)
class OpenDoor:
    """A door and its sockets. With ``shared`` there is one, of systemd's, for all."""

    door: Door
    sockets: list[socket.socket] = field(default_factory=list)
    shared: bool = False
    settled: int = 0
    """So many of the sockets are in use; the others were opened for a set of workers that has yet to start."""

    def of(self, number: int, workers: int) -> list[socket.socket]:
        """The sockets of one of so many workers. More than one when there were more workers once: the kernel resets
        what waits at a socket that is closed, so each is kept, and served by somebody.
        """
        return self.sockets[number::workers]

    @property
    def port(self) -> int:
        """Where it really listens."""
        return int(self.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Whoever connects from now on is refused, as soon as the workers have closed theirs."""
        for sock in self.sockets:
            sock.close()


class Doors:
    """All doors of the node, over reloads."""

    def __init__(self, passed: Iterable[socket.socket] = ()) -> None:
        self._passed = list(passed)
        self._open: dict[_Key, OpenDoor] = {}

    def open(self, wanted: Iterable[Door], workers: int) -> dict[str, OpenDoor]:
        """Every wanted door with a socket for each worker, by name; what is open stays. Raises DoorFault.

        Only the first socket of a new door listens: the others are for workers to listen on when they are there,
        since a connection that waits at one is lost when the workers never come. Then ``settle``, or ``withdraw``.
        """
        found: dict[str, OpenDoor] = {}
        try:
            for door in wanted:
                key = (door.address, door.port, "" if door.port else door.name)
                if key not in self._open:
                    self._open[key] = self._first(door)
                opened = self._open[key]
                while len(opened.sockets) < workers and not opened.shared:
                    opened.sockets.append(_bind(door.address, opened.port, socket.SO_REUSEPORT))
                found[door.name] = opened
        except DoorFault:
            self.withdraw()
            raise
        return found

    def settle(self, wanted: Iterable[OpenDoor]) -> None:
        """Workers serve these now: every other door is closed."""
        kept = list(wanted)
        for key, opened in list(self._open.items()):
            opened.settled = len(opened.sockets)
            if not any(opened is one for one in kept):
                self._give_up(self._open.pop(key))

    def withdraw(self) -> None:
        """What was opened since ``settle`` is not needed after all."""
        for key, opened in list(self._open.items()):
            if not opened.settled:
                self._give_up(self._open.pop(key))
            for sock in opened.sockets[opened.settled :]:
                sock.close()
            del opened.sockets[opened.settled :]

    def close(self) -> None:
        """All of them."""
        self.settle(())
        for sock in self._passed:
            sock.close()

    def unused(self) -> list[str]:
        """Where systemd opened a socket that no listener of the configuration wants."""
        return ["{}:{}".format(*sock.getsockname()[:2]) for sock in self._passed]

    def _give_up(self, opened: OpenDoor) -> None:
        """A socket of systemd's is not to be had again: it stays at hand."""
        if opened.shared:
            self._passed += opened.sockets
        else:
            opened.close()

    def _first(self, door: Door) -> OpenDoor:
        for sock in self._passed:
            if sock.getsockname()[:2] == (door.address, door.port):
                self._passed.remove(sock)
                return OpenDoor(door, [sock], shared=True)
        if not any(opened.port == door.port for opened in self._open.values()):  # 0.0.0.0 in place of 127.0.0.1
            _probe(door.address, door.port)
        return OpenDoor(door, [_listen(door.address, door.port, socket.SO_REUSEPORT, BACKLOG)])


def _bind(address: str, port: int, option: int) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:  # a kernel without IPv6
        raise _fault(address, port, error) from None
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if option:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        sock.setblocking(False)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise _fault(address, port, error) from None
    return sock


def _fault(address: str, port: int, error: OSError) -> DoorFault:
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    hint = " (below 1024: CAP_NET_BIND_SERVICE or systemd sockets)" if error.errno == errno.EACCES else ""
    return DoorFault(f"cannot listen on {address} port {port}: {reason}{hint}", passing=error.errno in NO_ROOM)


def _probe(address: str, port: int) -> None:
    """A port that another program, or another relay, listens on is a fault: SO_REUSEPORT alone would share it."""
    if port:
        _listen(address, port, 0, 1).close()


def _listen(address: str, port: int, option: int, backlog: int) -> socket.socket:
    sock = _bind(address, port, option)
    try:
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise _fault(address, port, error) from None
    return sock


class Passer:
    """Accepts on a socket that cannot be multiplied and gives each connection away.

    While nobody can take one (all workers are dead, or there is no room for descriptors) connections wait in the
    kernel, as they do at a dead worker's own socket.
    """

    def __init__(self, sock: socket.socket, give: Callable[[socket.socket], bool]) -> None:
        self._sock = sock
        self._give = give
        self._loop = asyncio.get_running_loop()
        self._in_hand: socket.socket | None = None
        """Accepted, and nobody could take it yet."""
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(64):
            try:
                connection, _ = self._sock.accept()
            except OSError as error:
                if error.errno not in OF_THE_CONNECTION:
                    self._wait(REST_SECONDS)
                return
            if not self._give(connection):
                self._in_hand = connection
                self._wait(0.1)
                return

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if self._in_hand and not self._give(self._in_hand):
            self._wait(0.1)
            return
        self._in_hand = None
        try:
            self._loop.add_reader(self._sock.fileno(), self._accept)
        except OSError:  # the loop has no room for it now: it would never come again
            self._wait(REST_SECONDS)

    def close(self) -> None:
        """Takes no more; connections wait in the kernel."""
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        if self._in_hand and not self._give(self._in_hand):
            self._in_hand.close()
        self._in_hand = None

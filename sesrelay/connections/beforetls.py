"""A client of TLS from its arrival to the end of its handshake, whatever port it came to.

It is a bare socket until it says something, which most have done when they are accepted: the loop's transport, the
state of TLS and whatever speaks with the client are made when its turn has come. Nothing is read, so that the loop
finds all of a ClientHello, and nothing that comes behind a handshake is lost.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import structlog

from sesrelay.connections.acceptor import has_spoken
from sesrelay.connections.handshakes import Handshakes

log = structlog.get_logger()


class BeforeTls(ABC):
    """One connection; the socket is its own until a transport has it."""

    __slots__ = ("_handshakes", "_loop", "_queued", "_socket", "_task", "client")

    failed: ClassVar[str]
    """The event of the log for trouble that we do not understand."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, handshakes: Handshakes, connection: socket.socket, client: str
    ) -> None:
        self.client = client
        self._loop = loop
        self._handshakes = handshakes
        self._socket: socket.socket | None = connection
        self._queued = False
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def _open(self) -> None:
        """Gives the socket, ``_taken``, to a transport, and returns when TLS is up."""

    @abstractmethod
    def _not_opened(self, error: OSError) -> None:
        """The handshake came to nothing."""

    def _leave(self) -> None:
        """It has been handed over, or is gone: said once for each."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._task = None

    @property
    def silent(self) -> bool:
        """It has said nothing yet, as far as we know."""
        return self._task is None and not self._queued

    def cut(self) -> None:
        """Whatever it is doing; says nothing."""
        if self._task is not None:
            self._task.cancel()
        elif self._socket is not None:
            self._loop.remove_reader(self._socket)
            if self._queued:
                self._handshakes.leave(self)
            self._leave()

    def begin(self) -> None:
        """It is this one's turn; the rest is in ``_handed_over``, which is called even when the task never ran."""
        self._queued = False
        self._task = self._loop.create_task(self._lead())
        self._task.add_done_callback(self._handed_over)

    def _await_hello(self) -> None:
        assert self._socket is not None
        if (spoken := has_spoken(self._socket)) is None:
            self._when_readable(self._hear)
        else:
            self._heard(something=spoken)

    def _when_readable(self, act: Callable[[], None]) -> None:
        assert self._socket is not None
        self._loop.add_reader(self._socket, self._guarded, act)

    def _guarded(self, act: Callable[[], None]) -> None:
        """A reader of the loop's: what it raises is our trouble, and the end of this connection only."""
        try:
            act()
        except Exception:
            log.exception(self.failed, client=self.client)
            self.cut()

    def _hear(self) -> None:
        assert self._socket is not None
        if (spoken := has_spoken(self._socket)) is not None:
            self._loop.remove_reader(self._socket)
            self._heard(something=spoken)

    def _heard(self, *, something: bool) -> None:
        """Somebody who connects and leaves costs no handshake."""
        if something:
            self._queued = True
            self._handshakes.want(self)
        else:
            self.cut()

    async def _lead(self) -> None:
        try:
            await self._open()
        except OSError as error:
            self._not_opened(error)
        except Exception:
            log.exception(self.failed, client=self.client)

    def _handed_over(self, _: object) -> None:
        self._handshakes.ended(self)
        self._leave()

    def _taken(self) -> socket.socket:
        assert self._socket is not None
        taken, self._socket = self._socket, None
        return taken

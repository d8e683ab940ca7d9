"""The HTTPS port of a worker: one application, on the sockets and the certificate that the worker was given."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sesrelay.connections.caps import NodeConnections
from sesrelay.connections.complaints import Complaints
from sesrelay.connections.handshakes import Handshakes
from sesrelay.fronts.smtp.data import WorkerOctets
from sesrelay.model.clock import Clock
from sesrelay.runtime.https.arrivals import Arrivals, Entrance, Ticket
from sesrelay.runtime.https.conversation import Conversation
from sesrelay.runtime.https.waiting import shortest_seconds
from sesrelay.runtime.listeners import BACKLOG
from sesrelay.settings import Http

_LOOKS: Final = 10
_SELDOM_SECONDS: Final = 1.0
"""Who is late is late by a tenth of the shortest time that is set, and by this at most."""

log = structlog.get_logger()


class Counters(Protocol):
    """What the port counts."""

    def http_refused(self, reason: str) -> None:
        """A client was refused or cut off, for this."""


def application(routes: Sequence[BaseRoute]) -> Starlette:
    """A sign of life, and what the fronts answer."""

    async def healthz(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    async def nothing(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("There is no such page.\n", status_code=404)

    async def gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=408)  # for nobody: whoever sent half a body has left, or was refused

    handlers = {404: nothing, ClientDisconnect: gone}
    return Starlette(routes=[Route("/healthz", healthz), *routes], exception_handlers=handlers)


class _Server(uvicorn.Server):
    """uvicorn without hands on the process's signals: the worker decides when to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpsPort:
    """Serves the application until told to stop."""

    def __init__(
        self,
        app: Starlette,
        context: ssl.SSLContext,
        bounds: Http,
        *,
        caps: NodeConnections,
        extra: int,
        clock: Clock,
        counters: Counters,
        mail: Handshakes,
    ) -> None:
        """``extra``: places to tell clients in that they are too many; ``mail``: SMTP's handshakes in this worker."""
        self.bounds = bounds
        self.now = clock.monotonic
        self.memory = WorkerOctets(bounds.worker_body_octets)
        self.leaving = False
        self._clock = clock
        self._counters = counters
        self._complaints = Complaints(log.info, clock.monotonic)
        self._config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="error",  # its warnings are about clients, as many as they like; ``refused`` has them
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            loop="none",
            http=Conversation,
            timeout_graceful_shutdown=5,
        )
        self._server = _Server(self._config)
        self._entrance = Entrance(caps, extra)
        self._arrivals = Arrivals(
            self._entrance,
            context,
            self._conversation,
            now=self.now,
            seconds=bounds.tls_handshake_seconds,
            refused=self.refused,
            mail=mail,
        )
        self._task: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        """How many there are, with those who have yet to say something."""
        return self._entrance.inside

    async def start(self, sockets: list[socket.socket]) -> None:
        """Returns when it listens."""
        self._task = asyncio.create_task(self._server.serve([]))
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
        if self._task.done():
            self._task.result()
        for listening in sockets:
            self._arrivals.listen(listening, BACKLOG)
        self._watcher = asyncio.create_task(self._watch())

    def take(self, connection: socket.socket) -> None:
        """A connection that somebody else accepted."""
        if self.leaving:
            connection.close()
        else:
            self._arrivals.take(connection)

    def refused(self, kind: str, client: str, reason: str) -> None:
        """Counts it, and says so in the log."""
        self._counters.http_refused(kind)
        self._complaints.about("http.refused", client, reason)

    async def stop(self) -> None:
        """Takes no more requests, finishes those under way."""
        self.leaving = True
        self._arrivals.close()
        self._server.should_exit = True
        try:
            if self._task:
                await self._task
        finally:  # from here on nobody looks who is late
            if self._watcher:
                self._watcher.cancel()
            self._arrivals.cut()
            for conversation in self._conversations():
                conversation.cut()

    def _conversation(self, ticket: Ticket) -> Conversation:
        return Conversation(self._config, self._server.server_state, self, ticket)

    def _conversations(self) -> list[Conversation]:
        return [one for one in self._server.server_state.connections if isinstance(one, Conversation)]

    async def _watch(self) -> None:
        """One look at everybody, again and again: what a client says costs no timer."""
        every = min(shortest_seconds(self.bounds) / _LOOKS, _SELDOM_SECONDS)
        while True:
            await self._clock.sleep(every)
            now = self.now()
            self._arrivals.look(now)
            for conversation in self._conversations():
                try:
                    conversation.look(now)
                except Exception:
                    log.exception("http.connection_failed")
                    conversation.cut()

"""The HTTPS port of a worker: one application, on the sockets and the certificate that the worker was given."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route

from sesrelay.runtime.listeners import BACKLOG


def application(routes: Sequence[BaseRoute]) -> Starlette:
    """A sign of life, and what the fronts answer."""

    async def healthz(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    async def nothing(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("There is no such page.\n", status_code=404)

    return Starlette(routes=[Route("/healthz", healthz), *routes], exception_handlers={404: nothing})


class _Server(uvicorn.Server):
    """uvicorn without hands on the process's signals: the worker decides when to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpsPort:
    """Serves the application until told to stop."""

    def __init__(self, app: Starlette, context: ssl.SSLContext) -> None:
        self._config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            loop="none",
            backlog=BACKLOG,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            ssl_context_factory=lambda _config, _default: context,
        )
        self._server = _Server(self._config)
        self._task: asyncio.Task[None] | None = None

    async def start(self, sockets: list[socket.socket]) -> None:
        """Returns when it listens."""
        self._task = asyncio.create_task(self._server.serve(sockets))
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
        if self._task.done():
            self._task.result()

    def protocol(self) -> asyncio.Protocol:
        """For a connection that somebody else accepted."""
        made: asyncio.Protocol = self._config.http_protocol_class(  # type: ignore[call-arg]
            config=self._config, server_state=self._server.server_state, app_state={}
        )
        return made

    async def stop(self) -> None:
        """Takes no more requests, finishes those under way."""
        self._server.should_exit = True
        if self._task:
            await self._task

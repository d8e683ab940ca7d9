"""What we take from aiosmtpd 1.4.6, and everything private of it that we touch: here and nowhere else.

aiosmtpd gives the protocol object and the coroutine that reads commands; this class removes what its constructor
and timers cost for each connection, starts the coroutine when it gets its first line (most connections never need
it) and upgrades to TLS by ``loop.start_tls``. Each private name below has a test that fails when another version of
aiosmtpd (or of asyncio's streams) no longer has it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Final, cast

import aiosmtpd.smtp
from aiosmtpd.smtp import SMTP

LONGEST_LINE: Final = 16_384
"""Longer lines never reach aiosmtpd's reader."""

# aiosmtpd logs dialogues at DEBUG and INFO, and hides of AUTH only what it understands itself.
aiosmtpd.smtp.log.setLevel(logging.WARNING)

_Method = Callable[[Any, str], Awaitable[None]]


class _SizeLimits(dict[str, int]):
    """aiosmtpd keeps one dict for all connections and changes it; this one never changes."""

    def __missing__(self, command: str) -> int:
        return LONGEST_LINE


class _NoTimer(asyncio.TimerHandle):
    """Stands for aiosmtpd's timer of each connection: the door watches all of them with one."""

    def __init__(self) -> None:
        """No callback, no time, no loop."""

    def cancel(self) -> None:
        """Nothing to cancel."""


_NO_TIMER: Final = _NoTimer()
_OF_A_CONNECTION: Final = frozenset({"loop", "_auth_methods", "_smtp_methods", "_timeout_handle"})


@cache
def _constants(own: frozenset[str]) -> dict[str, Any]:
    """What aiosmtpd's constructor finds out anew for each connection, by reflection, in 0.6 ms: once."""
    loop = asyncio.new_event_loop()
    try:
        # With SMTPUTF8 its loop lets any octet through to us; only our session judges.
        made = vars(SMTP(None, hostname="localhost", enable_SMTPUTF8=True, loop=loop))
    finally:
        loop.close()
    return {name: value for name, value in made.items() if name not in own | _OF_A_CONNECTION}


@cache
def _methods(of: type[Any]) -> dict[str, _Method]:
    return {name.removeprefix("smtp_"): getattr(of, name) for name in dir(of) if name.startswith("smtp_")}


class Foundation(SMTP):
    """aiosmtpd's protocol without its costs for each connection."""

    line_length_limit = LONGEST_LINE
    command_size_limit = LONGEST_LINE
    command_size_limits = _SizeLimits()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.transport = None
        self._handler_coroutine = None

    def become_complete(self) -> None:
        """Does what the constructors of asyncio's streams and of aiosmtpd do; what is set already stays."""
        reader = asyncio.StreamReader(limit=LONGEST_LINE, loop=self.loop)
        asyncio.StreamReaderProtocol.__init__(self, reader, self._cb_client_connected, self.loop)
        vars(self).update(_constants(frozenset(vars(self))))
        self._timeout_handle = _NO_TIMER

    def touch(self) -> None:
        """The client gave a sign of life."""
        raise NotImplementedError

    @property
    def coroutine_runs(self) -> bool:
        """Whether aiosmtpd's coroutine for this connection was started."""
        return self._handler_coroutine is not None

    def hand_to_coroutine(self, line: bytes) -> None:
        """The coroutine of aiosmtpd reads this line next: as a command, or where it waits in ``next_line``.

        It is started with its first line, and pushes its greeting then.
        """
        if not self.coroutine_runs:
            self.become_complete()
            super().connection_made(cast("asyncio.Transport", self.transport))
        self._reader.feed_data(line + b"\r\n")

    async def next_line(self) -> bytes:
        """The next line that is handed over, its end removed."""
        line: bytes = await self._reader.readuntil()
        return line.rstrip(b"\r\n")

    async def switch_to_tls(
        self, ready: bytes, context: ssl.SSLContext, *, handshake_seconds: float, close_seconds: float
    ) -> None:
        """Sends ``ready`` and speaks TLS from the next octet. OSError (ssl.SSLError among them): the handshake failed.

        Nothing is awaited before the transport belongs to TLS, so that nothing is read in clear behind ``ready``.
        """
        clear = cast("asyncio.Transport", self.transport)
        clear.pause_reading()
        clear.write(ready)
        encrypted = await self.loop.start_tls(
            *(clear, self, context),
            server_side=True,
            ssl_handshake_timeout=handshake_seconds,
            ssl_shutdown_timeout=close_seconds,
        )
        if encrypted is None:
            raise ConnectionAbortedError("closed during the handshake")
        self.transport = encrypted
        self._transport = encrypted
        self._writer._transport = encrypted  # type: ignore[attr-defined]
        self._reader._transport = encrypted  # type: ignore[attr-defined]
        self._over_ssl = True

    # Names that aiosmtpd itself looks up

    @property
    def _smtp_methods(self) -> dict[str, Callable[[str], Awaitable[None]]]:  # type: ignore[override]
        """Bound when one is called; aiosmtpd binds all of them for each connection."""
        return {name: method.__get__(self) for name, method in _methods(type(self)).items()}  # type: ignore[arg-type]

    def _reset_timeout(self, duration: float | None = None) -> None:  # noqa: ARG002 - aiosmtpd's signature
        self.touch()

    def _timeout_cb(self) -> None:
        """Never called: there is no timer."""

"""Log lines: one JSON object a line on stderr, the same shape from every process and library.

The supervisor writes them without structlog, to stay small; everybody else uses ``structlog.get_logger()``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO, cast

from sesrelay.model.clock import SECOND, Clock, Micros

_QUIET_LIBRARIES: Final = ("uvicorn.access", "mail.log", "asyncio.slow")


def line(at: Micros, level: str, event: str, fields: MutableMapping[str, Any]) -> str:
    """One log line, without its end. Values that JSON does not know are written as ``str`` writes them."""
    time = datetime.fromtimestamp(at / SECOND, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time, "level": level, "event": event, **fields}, default=str)


class _Stderr:
    """stderr, whatever has become of it: a full disk or a reader that is gone must not stop mail or logins."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


_STDERR: Final = _Stderr()


class PlainLog:
    """What the supervisor says, with ``fields`` on every line."""

    def __init__(self, clock: Clock, **fields: Any) -> None:
        self._clock = clock
        self._fields = fields

    def info(self, event: str, **fields: Any) -> None:
        """As it should be."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Somebody may want to know."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Somebody should look."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        # In one piece, as ``print`` does not write a long one: workers write to the same file.
        _STDERR.write(line(self._clock.now(), level, event, {**self._fields, **fields}) + "\n")
        _STDERR.flush()


def configure(clock: Clock, **fields: Any) -> None:
    """Sends structlog and the standard library's logging to stderr as such lines, with ``fields`` on each."""
    import structlog

    def render(_logger: object, level: str, event: MutableMapping[str, Any]) -> str:
        name = str(event.pop("event", ""))
        return line(clock.now(), "error" if level == "exception" else level, name, {**fields, **event})

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _STDERR)),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Library()], force=True)
    logging.captureWarnings(True)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _Library(logging.Handler):
    """What libraries log by the standard way."""

    def emit(self, record: logging.LogRecord) -> None:
        import structlog

        log = structlog.get_logger()
        log.log(record.levelno, record.getMessage(), library=record.name, exc_info=record.exc_info)

"""How commands speak: one JSON document, or plain lines and columns for people; times as SES writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from sesrelay.model.clock import Micros

_LONGEST_LINE: Final = 1000


def iso(at: Micros) -> str:
    """``2026-11-23T15:04:05.678Z``; "" for 0, which means never."""
    if not at:
        return ""
    seconds, micros = divmod(at, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros // 1000:03d}Z"


def document(value: Any) -> None:
    """The one JSON document of a command."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a character, written as \ud800: JSON may have it, no output may
        text = json.dumps(value, indent=2)
    click.echo(text)


def columns(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings, each column as wide as it must be; nothing at all without rows."""
    lines = [tuple(headings), *(tuple(map(visible, row)) for row in rows)]
    if len(lines) == 1:
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def fields(values: dict[str, Any], indent: str = "") -> None:
    """``name: value`` lines; what is nested is indented."""
    for name, value in values.items():
        if isinstance(value, dict):
            click.echo(f"{indent}{name}:")
            fields(value, indent + "  ")
        elif isinstance(value, list):
            click.echo(f"{indent}{name}: {', '.join(map(visible, value))}")
        else:
            click.echo(f"{indent}{name}: {visible(value)}")


def visible(value: object) -> str:
    """A value as one line of text that a terminal cannot take for a command of its own."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(c if c.isprintable() else "?" for c in str(value))


def one_line(text: object) -> str:
    """As ``visible``, and so short that it can be read: what was typed may be any length."""
    shown = visible(text)
    return shown if len(shown) <= _LONGEST_LINE else f"{shown[: _LONGEST_LINE // 2]}…{shown[-_LONGEST_LINE // 2 :]}"


def say(text: str) -> None:
    """A remark beside the result, on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - click.echo would not be flushed in front of a log line


def progress(text: str) -> None:
    """How far long work is, on one line of stderr that is written over; "" wipes it. Only where a person looks on."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)

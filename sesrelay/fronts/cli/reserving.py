"""A group of commands that knows the names of those which later versions bring."""

from __future__ import annotations

from typing import Any

import click


class Reserving(click.Group):
    """``reserved``: names that are kept free; whoever uses one is told so (exit status 2)."""

    def __init__(self, *args: Any, reserved: frozenset[str] = frozenset(), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reserved = reserved

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in self.reserved:
            raise click.UsageError(f"`{cmd_name}` is reserved: this version of sesrelay does not have it yet", ctx)
        return found

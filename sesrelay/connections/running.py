"""Coroutines that begin at once: a task begins in the next turn of the loop, and is an object more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any


def run_now(work: Coroutine[asyncio.Future[Any], None, None], ended: Callable[[], None], _: object = None) -> None:
    """Until it waits for a future, and on from there when that is done; then ``ended``.

    For work that catches what it raises, asks for no current task and is never cancelled.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        ended()
    else:
        awaited.add_done_callback(partial(run_now, work, ended))

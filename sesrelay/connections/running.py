"""Coroutines that begin at once: a task begins in the next turn of the loop, and is an object more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

Ended = Callable[[Exception | None], None]


def run_now(work: Coroutine[asyncio.Future[Any], None, Any], ended: Ended, _: object = None) -> None:
    """Until it waits for a future, and on from there when that is done; then ``ended``, with what it raised.

    For work that asks for no current task and is never cancelled.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        ended(None)
    except Exception as error:  # noqa: BLE001 - whose work it is knows what to make of it
        ended(error)
    else:
        awaited.add_done_callback(partial(run_now, work, ended))

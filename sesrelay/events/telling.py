"""What is due is told, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from sesrelay.model.message import OutboxRow

log = structlog.get_logger()
AT_ONCE: Final = 20
"""Taken up together: as many as can be told in the minute in which nobody else is given them."""


async def tell_each(due: Sequence[OutboxRow], tell: Callable[[OutboxRow], Awaitable[None]], trouble: str) -> int:
    """How many there were. One that fails does not stop the others: the log has ``trouble``."""
    for row in due:
        try:
            await tell(row)
        except Exception:
            log.exception(trouble, outbox_id=row.outbox_id, account_id=row.account_id, message_id=str(row.message_id))
    return len(due)

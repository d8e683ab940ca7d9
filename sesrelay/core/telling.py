"""Telling owners of accounts about their limits: each outbox row is told once, however often it is tried."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from sesrelay.core.limits import OWNER_MAIL
from sesrelay.core.ownmail import OwnMail
from sesrelay.model.clock import Clock
from sesrelay.model.limits import Allowance, OwnerNotice, Tidings
from sesrelay.model.message import MessageId, OutboxRow, Submission
from sesrelay.model.notice import Addressed
from sesrelay.store.transaction import Transaction

T = TypeVar("T")


class TellStore(Protocol):
    """What telling needs of the store."""

    async def due_outbox(self, kind: str, limit: int) -> list[OutboxRow]: ...

    async def write(self, function: Callable[[Transaction], T]) -> T: ...


class Telling:
    """``due``, then ``notice`` and ``tell`` for each."""

    def __init__(self, store: TellStore, clock: Clock, accept: Callable[[Submission], Awaitable[MessageId]]) -> None:
        self._store = store
        self._mail = OwnMail(store, clock, accept)

    async def due(self, limit: int) -> list[OutboxRow]:
        """What is to be told now, the oldest first; nobody else is given it for a minute. StoreError."""
        return await self._store.due_outbox(OWNER_MAIL, limit)

    def notice(self, row: OutboxRow) -> OwnerNotice:
        """What the row says."""
        told: dict[str, Any] = json.loads(row.payload)
        return OwnerNotice(
            outbox_id=row.outbox_id,
            attempts=row.attempts,
            account_id=row.account_id,
            region=row.region,
            at=row.created_at,
            to=told["to"],
            tidings=Tidings(told["tidings"]),
            before=Allowance(*told["before"]) if "before" in told else None,
            after=Allowance(*told["after"]) if "after" in told else None,
            request_id=told.get("request_id", 0),
            reason=told.get("reason", ""),
            address=told.get("address", ""),
        )

    async def tell(self, notice: OwnerNotice, mail: bytes) -> MessageId | None:
        """Sends the mail; its id. None: it had been sent before, or it is tried again later."""
        to = Addressed(notice.outbox_id, notice.attempts, notice.account_id, notice.region, notice.to)
        return await self._mail.send(to, mail)

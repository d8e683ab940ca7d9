"""Telling owners of accounts about their limits: each outbox row is told once, however often it is tried.

The row is deleted in the transaction that accepts the mail about it. Until then another worker takes it up again.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import structlog

from sesrelay.core.limits import OWNER_MAIL
from sesrelay.model.clock import Clock
from sesrelay.model.limits import Allowance, OwnerNotice, Tidings
from sesrelay.model.message import MessageId, Origin, OutboxRow, Submission
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import retries
from sesrelay.store import outbox
from sesrelay.store.errors import StoreError
from sesrelay.store.transaction import Transaction

T = TypeVar("T")
log = structlog.get_logger()


class TellStore(Protocol):
    """What telling needs of the store."""

    async def due_outbox(self, kind: str, limit: int) -> list[OutboxRow]: ...

    async def write(self, function: Callable[[Transaction], T]) -> T: ...


class Telling:
    """``due``, then ``notice`` and ``tell`` for each."""

    def __init__(self, store: TellStore, clock: Clock, accept: Callable[[Submission], Awaitable[MessageId]]) -> None:
        self._store = store
        self._clock = clock
        self._accept = accept

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
        submission = Submission(
            account_id=notice.account_id,
            region=notice.region,
            origin=Origin.RELAY,
            access_key_id="",
            mail_from="",
            recipients=(notice.to,),
            content=mail,
            eight_bit=not mail.isascii(),
            protocol="",
            consumes_outbox=notice.outbox_id,
        )
        try:
            return await self._accept(submission)
        except Refused as refused:
            if refused.refusal is not Refusal.ALREADY_DONE:
                await self._later(notice, refused.refusal)
            return None

    async def _later(self, notice: OwnerNotice, refusal: Refusal) -> None:
        due_at = self._clock.now() + retries.wait(notice.attempts, 0.5)
        log.warning("owner not told yet", account_id=notice.account_id, reason=refusal.value)
        try:
            await self._store.write(lambda tx: outbox.postpone(tx, notice.outbox_id, due_at))
        except StoreError as trouble:  # then it is due again in a minute
            log.warning("store away", reason=str(trouble))

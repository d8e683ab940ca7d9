"""Telling senders what became of their mail: each outbox row is told once, however often it is tried.

The row is deleted in the transaction that accepts the mail about it. Until then another worker takes it up again.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import structlog

from sesrelay.core.ownmail import OwnMail
from sesrelay.model.clock import Clock
from sesrelay.model.message import BodyLocation, MessageId, OutboxRow, Submission
from sesrelay.model.notice import Addressed, BounceNotice
from sesrelay.model.story import MessageStory
from sesrelay.store import messages
from sesrelay.store.segments import BodyDamaged
from sesrelay.store.transaction import Transaction

T = TypeVar("T")
log = structlog.get_logger()
BOUNCE_MAIL: Final = "bounce-mail"


class PublishStore(Protocol):
    """What publishing needs of the store."""

    async def due_outbox(self, kind: str, limit: int) -> list[OutboxRow]: ...

    async def read(self, function: Callable[[Transaction], T]) -> T: ...

    async def write(self, function: Callable[[Transaction], T]) -> T: ...

    async def body(self, message_id: MessageId, location: BodyLocation) -> bytes: ...


class Publishing:
    """``due_bounces``, then ``notice`` and ``tell`` for each: one message in memory at a time."""

    def __init__(self, store: PublishStore, clock: Clock, accept: Callable[[Submission], Awaitable[MessageId]]) -> None:
        self._store = store
        self._mail = OwnMail(store, clock, accept)

    async def due_bounces(self, limit: int) -> list[OutboxRow]:
        """Bounces to be told now, the oldest first; nobody else is given them for a minute. StoreError."""
        return await self._store.due_outbox(BOUNCE_MAIL, limit)

    async def notice(self, row: OutboxRow) -> BounceNotice:
        """Everything that the mail about a bounce says. StoreError."""
        told = json.loads(row.payload)
        story = await self._store.read(lambda tx: messages.find(tx, row.message_id))
        return BounceNotice(
            outbox_id=row.outbox_id,
            attempts=row.attempts,
            account_id=row.account_id,
            region=row.region,
            message_id=row.message_id,
            accepted_at=told["accepted_at"],
            mail_from=told["mail_from"],
            header_from=told["header_from"],
            subject=story.subject if story else "",
            address=told["address"],
            action=told["action"],
            status=told["status"],
            diagnostic=told["diagnostic"],
            original=await self._original(story),
        )

    async def tell(self, notice: BounceNotice, mail: bytes) -> MessageId | None:
        """Sends the mail about a bounce; its id. None: it had been sent before, or it is tried again later."""
        return await self._mail.send(
            Addressed(notice.outbox_id, notice.attempts, notice.account_id, notice.region, notice.mail_from), mail
        )

    async def _original(self, story: MessageStory | None) -> bytes | None:
        """A body that cannot be read must not keep its sender from learning of the bounce."""
        if story is None:
            return None
        try:
            return await self._store.body(story.message_id, story.body)
        except (BodyDamaged, OSError) as trouble:
            log.warning("bounce without its message", message_id=str(story.message_id), reason=str(trouble))
            return None

"""The relay's own mail: made of an outbox row, accepted by the same door as any mail, once.

The row is deleted in the transaction that accepts the mail. Until then another worker takes it up again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog

from sesrelay.model.clock import Clock
from sesrelay.model.message import MessageId, Origin, Submission
from sesrelay.model.notice import Addressed
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import retries
from sesrelay.store import outbox
from sesrelay.store.errors import StoreError
from sesrelay.store.transaction import Transaction

T = TypeVar("T")
log = structlog.get_logger()


class OwnMailStore(Protocol):
    """What the relay's own mail needs of the store."""

    async def write(self, function: Callable[[Transaction], T]) -> T: ...


class OwnMail:
    """``send`` is all of it."""

    def __init__(self, store: OwnMailStore, clock: Clock, accept: Callable[[Submission], Awaitable[MessageId]]) -> None:
        self._store = store
        self._clock = clock
        self._accept = accept

    async def send(self, to: Addressed, mail: bytes) -> MessageId | None:
        """The mail's id. None: it had been sent before, or it is tried again later. No quota, no sandbox (ID-6)."""
        submission = Submission(
            account_id=to.account_id,
            region=to.region,
            origin=Origin.RELAY,
            access_key_id="",
            mail_from="",
            recipients=(to.recipient,),
            content=mail,
            eight_bit=not mail.isascii(),
            protocol="",
            consumes_outbox=to.outbox_id,
        )
        try:
            return await self._accept(submission)
        except Refused as refused:
            if refused.refusal is not Refusal.ALREADY_DONE:
                await self._later(to, refused.refusal)
            return None

    async def _later(self, to: Addressed, refusal: Refusal) -> None:
        due_at = self._clock.now() + retries.wait(to.attempts, 0.5)
        log.warning("notice not told yet", outbox_id=to.outbox_id, reason=refusal.value)
        try:
            await self._store.write(lambda tx: outbox.postpone(tx, to.outbox_id, due_at))
        except StoreError as trouble:  # then it is due again in a minute
            log.warning("store away", reason=str(trouble))

"""Telling people what happened to identities: addresses' owners get a link, accounts' owners the news of domains."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from sesrelay.core.identities import IDENTITY_MAIL
from sesrelay.core.ownmail import OwnMail
from sesrelay.core.verifying import Verifying
from sesrelay.model.clock import Clock
from sesrelay.model.identity import AddressLink, IdentityMail, LinkState
from sesrelay.model.message import MessageId, OutboxRow, Submission
from sesrelay.model.notice import Addressed, IdentityNotice
from sesrelay.rules.identity_life import LINK_LIVES
from sesrelay.store import accounts, outbox
from sesrelay.store.transaction import Transaction

T = TypeVar("T")
log = structlog.get_logger()


class NoticeStore(Protocol):
    """What telling needs of the store."""

    async def due_outbox(self, kind: str, limit: int) -> list[OutboxRow]: ...

    async def read(self, function: Callable[[Transaction], T]) -> T: ...

    async def write(self, function: Callable[[Transaction], T]) -> T: ...


class IdentityNotices:
    """``due``, then ``notice`` and ``tell`` for each. All may raise StoreError."""

    def __init__(
        self,
        store: NoticeStore,
        clock: Clock,
        accept: Callable[[Submission], Awaitable[MessageId]],
        verifying: Verifying,
    ) -> None:
        self._store = store
        self._verifying = verifying
        self._mail = OwnMail(store, clock, accept)

    async def due(self, limit: int) -> list[OutboxRow]:
        """What is to be told now, the oldest first; nobody else is given it for a minute."""
        return await self._store.due_outbox(IDENTITY_MAIL, limit)

    async def notice(self, row: OutboxRow) -> IdentityNotice | None:
        """Everything that the mail says. None: nobody needs it any more, and the row is gone."""
        said = json.loads(row.payload)
        mail = IdentityMail(said["mail"])
        link, recipient = "", ""
        if mail is IdentityMail.CONFIRM_ADDRESS:
            wanted = AddressLink(row.account_id, row.region, said["identity"], said["asked_at"])
            link = self._verifying.link_text(wanted)
            if (await self._verifying.look(link)).state is LinkState.OPEN:
                recipient = wanted.address
        else:
            recipient = await self._store.read(partial(_owner, row=row))
        if not recipient:
            log.info("nobody is to be told any more", mail=mail.value, identity=said["identity"])
            await self._store.write(partial(outbox.remove, outbox_id=row.outbox_id))
            return None
        return _notice(row, said, recipient, link)

    async def tell(self, notice: IdentityNotice, mail: bytes) -> MessageId | None:
        """Sends the mail; its id. None: it had been sent before, or it is tried again later."""
        return await self._mail.send(notice.to, mail)


def _owner(tx: Transaction, row: OutboxRow) -> str:
    """Where notices about the account go (CRED-8)."""
    standing = accounts.standing(tx, row.account_id, row.region)
    return standing.email if standing else ""


def _notice(row: OutboxRow, said: dict[str, Any], recipient: str, link: str) -> IdentityNotice:
    return IdentityNotice(
        to=Addressed(row.outbox_id, row.attempts, row.account_id, row.region, recipient),
        mail=IdentityMail(said["mail"]),
        identity=said["identity"],
        token=said["token"],
        at=row.created_at,
        until=said["asked_at"] + LINK_LIVES if link else said["until"],
        mistakes=tuple(said["mistakes"]),
        link=link,
    )

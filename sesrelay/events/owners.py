"""Mails to owners of accounts about their limits, on their way: what is due is worded and handed to acceptance."""

from __future__ import annotations

from typing import Protocol

import structlog

from sesrelay.events.owner_mail import owner_mail
from sesrelay.events.telling import AT_ONCE, tell_each
from sesrelay.model.limits import OwnerNotice
from sesrelay.model.message import MessageId, OutboxRow

log = structlog.get_logger()


class Notices(Protocol):
    """What of ``core.telling.Telling`` is used here."""

    async def due(self, limit: int) -> list[OutboxRow]: ...

    def notice(self, row: OutboxRow) -> OwnerNotice: ...

    async def tell(self, notice: OwnerNotice, mail: bytes) -> MessageId | None: ...


class OwnerTeller:
    """``tell_due`` for the publisher."""

    def __init__(self, notices: Notices, service_domain: str) -> None:
        self._notices = notices
        self._service_domain = service_domain

    async def tell_due(self) -> int:
        """Tells a batch of what is due now; how many there were."""
        return await tell_each(await self._notices.due(AT_ONCE), self._tell, "owner not told")

    async def _tell(self, row: OutboxRow) -> None:
        notice = self._notices.notice(row)
        message_id = await self._notices.tell(notice, owner_mail(notice, self._service_domain))
        if message_id is not None:
            log.info("owner told", account_id=row.account_id, about=notice.tidings.value, message_id=str(message_id))

"""Identity mails on their way: what is due is worded and handed to acceptance."""

from __future__ import annotations

from typing import Protocol

import structlog

from sesrelay.events.identity_mail import Letterhead, identity_mail
from sesrelay.events.telling import AT_ONCE, tell_each
from sesrelay.model.message import MessageId, OutboxRow
from sesrelay.model.notice import IdentityNotice

log = structlog.get_logger()


class Notices(Protocol):
    """What of ``core.notices.IdentityNotices`` is used here."""

    async def due(self, limit: int) -> list[OutboxRow]: ...

    async def notice(self, row: OutboxRow) -> IdentityNotice | None: ...

    async def tell(self, notice: IdentityNotice, mail: bytes) -> MessageId | None: ...


class IdentityTeller:
    """``tell_due`` for the publisher."""

    def __init__(self, notices: Notices, letterhead: Letterhead) -> None:
        self._notices = notices
        self._letterhead = letterhead

    async def tell_due(self) -> int:
        """Tells a batch of what is due now; how many there were."""
        return await tell_each(await self._notices.due(AT_ONCE), self._tell, "identity mail not sent")

    async def _tell(self, row: OutboxRow) -> None:
        notice = await self._notices.notice(row)
        if notice is None:
            return
        message_id = await self._notices.tell(notice, identity_mail(notice, self._letterhead))
        if message_id is not None:
            log.info("identity mail sent", mail=notice.mail.value, identity=notice.identity, message_id=str(message_id))

"""The worker's role that tells owners of accounts about their limits: what is due becomes a mail and is accepted."""

from __future__ import annotations

from typing import Final, Protocol

import structlog

from sesrelay.events.owner_mail import owner_mail
from sesrelay.model.clock import Clock
from sesrelay.model.limits import OwnerNotice
from sesrelay.model.message import MessageId, OutboxRow

log = structlog.get_logger()
POLL_SECONDS: Final = 2.0
TROUBLE_SECONDS: Final = 5.0
AT_ONCE: Final = 20
"""As many as can be told in the minute in which nobody else is given them."""


class Notices(Protocol):
    """What of ``core.telling.Telling`` is used here."""

    async def due(self, limit: int) -> list[OutboxRow]: ...

    def notice(self, row: OutboxRow) -> OwnerNotice: ...

    async def tell(self, notice: OwnerNotice, mail: bytes) -> MessageId | None: ...


class OwnersPublisher:
    """``run`` until cancelled; a notice that was begun is told by somebody, here or elsewhere."""

    def __init__(self, notices: Notices, clock: Clock, service_domain: str) -> None:
        self._notices = notices
        self._clock = clock
        self._service_domain = service_domain

    async def run(self) -> None:
        """Tells whatever is due, for ever."""
        while True:
            try:
                told = await self.publish_due()
            except Exception:
                log.exception("telling owners failed")
                await self._clock.sleep(TROUBLE_SECONDS)
            else:
                if not told:
                    await self._clock.sleep(POLL_SECONDS)

    async def publish_due(self) -> int:
        """Tells a batch of what is due now; how many there were. One that fails does not stop the others."""
        due = await self._notices.due(AT_ONCE)
        for row in due:
            try:
                await self._publish(row)
            except Exception:
                log.exception("owner not told", account_id=row.account_id)
        return len(due)

    async def _publish(self, row: OutboxRow) -> None:
        notice = self._notices.notice(row)
        message_id = await self._notices.tell(notice, owner_mail(notice, self._service_domain))
        if message_id is not None:
            log.info("owner told", account_id=row.account_id, about=notice.tidings.value, message_id=str(message_id))

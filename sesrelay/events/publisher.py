"""The worker's role that tells people: looks for what is due, makes the mail, hands it to acceptance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog

from sesrelay.events.mail import bounce_mail
from sesrelay.events.telling import AT_ONCE, tell_each
from sesrelay.model.clock import Clock
from sesrelay.model.message import MessageId, OutboxRow
from sesrelay.model.notice import BounceNotice

log = structlog.get_logger()
POLL_SECONDS: Final = 1.0
TROUBLE_SECONDS: Final = 5.0


class Notices(Protocol):
    """What of ``core.publish.Publishing`` is used here."""

    async def due_bounces(self, limit: int) -> list[OutboxRow]: ...

    async def notice(self, row: OutboxRow) -> BounceNotice: ...

    async def tell(self, notice: BounceNotice, mail: bytes) -> MessageId | None: ...


class Teller(Protocol):
    """Who tells other things than bounces."""

    async def tell_due(self) -> int: ...


class Publisher:
    """``run`` until cancelled; a notice that was begun is told by somebody, here or elsewhere."""

    def __init__(
        self,
        notices: Notices,
        clock: Clock,
        service_domain: str,
        endpoints: Mapping[str, str],
        others: Sequence[Teller] = (),
    ) -> None:
        """``endpoints``: by region, the host name that reports. ``others`` tell what they know in each turn, too."""
        self._others = others
        self._notices = notices
        self._clock = clock
        self._service_domain = service_domain
        self._endpoints = endpoints

    async def run(self) -> None:
        """Tells whatever is due, for ever."""
        while True:
            try:
                told = await self.publish_due()
            except Exception:
                log.exception("publishing failed")
                await self._clock.sleep(TROUBLE_SECONDS)
            else:
                if not told:
                    await self._clock.sleep(POLL_SECONDS)

    async def publish_due(self) -> int:
        """Tells a batch of what is due now; how many there were. One that fails does not stop the others."""
        bounces = await tell_each(await self._notices.due_bounces(AT_ONCE), self._publish, "bounce not told")
        return bounces + sum([await other.tell_due() for other in self._others])

    async def _publish(self, row: OutboxRow) -> None:
        notice = await self._notices.notice(row)
        mail = bounce_mail(notice, self._service_domain, self._endpoints[notice.region])
        message_id = await self._notices.tell(notice, mail)
        if message_id is not None:
            log.info("bounce told to sender", message_id=str(notice.message_id), bounce_mail=str(message_id))

from __future__ import annotations

import asyncio
from dataclasses import replace

from sesrelay.events.publisher import POLL_SECONDS, TROUBLE_SECONDS, Publisher
from sesrelay.model.message import MessageId, OutboxRow
from sesrelay.model.notice import BounceNotice
from tests.clock import FakeClock
from tests.events.test_mail import NOTICE

ROW = OutboxRow(7, "bounce-mail", "123456789012", "us-east-1", NOTICE.message_id, "{}", 5, 1)


class FakeNotices:
    def __init__(self, *due: OutboxRow) -> None:
        self.due = list(due)
        self.asked = 0
        self.away = False
        self.told: list[tuple[BounceNotice, bytes]] = []

    async def due_bounces(self, limit: int) -> list[OutboxRow]:
        self.asked += 1
        if self.away:
            raise OSError("away")
        due, self.due = self.due[:limit], self.due[limit:]
        return due

    async def notice(self, row: OutboxRow) -> BounceNotice:
        if not row.payload:
            raise ValueError("no JSON")
        return replace(NOTICE, attempts=row.attempts, region=row.region)

    async def tell(self, notice: BounceNotice, mail: bytes) -> MessageId | None:
        self.told.append((notice, mail))
        return notice.message_id if notice.attempts == 1 else None


def publisher(notices: FakeNotices, clock: FakeClock) -> Publisher:
    return Publisher(notices, clock, "relay.example.net", {"us-east-1": "email-smtp.us-east-1.relay.example.net"})


async def test_what_is_due_is_told_to_its_sender(clock: FakeClock) -> None:
    notices = FakeNotices(ROW, replace(ROW, attempts=2))
    assert await publisher(notices, clock).publish_due() == 2
    assert [notice.attempts for notice, _ in notices.told] == [1, 2]
    assert all(b"To: me@example.com\r\n" in mail for _, mail in notices.told)


async def test_one_that_fails_does_not_stop_the_others(clock: FakeClock) -> None:
    notices = FakeNotices(replace(ROW, payload=""), replace(ROW, region="gone-1"), ROW)
    assert await publisher(notices, clock).publish_due() == 3
    assert [notice for notice, _ in notices.told] == [NOTICE]


async def test_it_asks_again_after_a_while_also_when_the_store_was_away(clock: FakeClock) -> None:
    notices = FakeNotices()
    task = asyncio.create_task(publisher(notices, clock).run())
    await clock.advance(POLL_SECONDS)
    assert notices.asked == 2
    notices.away = True
    await clock.advance(POLL_SECONDS)
    notices.away, notices.due = False, [ROW]
    await clock.advance(TROUBLE_SECONDS)
    assert len(notices.told) == 1
    assert notices.asked == 5  # after a batch it asks at once
    task.cancel()

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sesrelay.core import ownmail, publish
from sesrelay.core.publish import Publishing
from sesrelay.model.clock import MINUTE
from sesrelay.model.message import BodyLocation, MessageId, Origin, OutboxRow, Submission
from sesrelay.model.notice import BounceNotice
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.model.story import MessageStory
from sesrelay.store.errors import DatabaseAway
from sesrelay.store.segments import BodyMissing
from tests.clock import FakeClock

ID = MessageId(bytes(24))
PAYLOAD = {
    "number": 0,
    "address": "nobody@example.net",
    "mail_from": "me@example.com",
    "header_from": "me@example.com",
    "accepted_at": 5,
    "action": "failed",
    "status": "5.1.1",
    "diagnostic": "smtp; 550 5.1.1 user unknown",
}
ROW = OutboxRow(7, "bounce-mail", "123456789012", "us-east-1", ID, json.dumps(PAYLOAD), 5, 2)
STORY = MessageStory(
    ID, "123456789012", "us-east-1", Origin.CLIENT, "AKIA", "me@example.com", "me@example.com", "Hello", 5,
    BodyLocation("s", 1, 2, 3), "", (),
)  # fmt: skip


class Desk:
    def __init__(self, clock: FakeClock) -> None:
        self.accepted: list[Submission] = []
        self.postponed: list[tuple[int, int]] = []
        self.refused: Refusal | None = None
        self.body_trouble: Exception | None = None
        self.write_trouble: Exception | None = None
        self.publishing = Publishing(self, clock, self.accept)

    async def due_outbox(self, kind: str, limit: int) -> list[OutboxRow]:
        return [ROW][:limit] if kind == "bounce-mail" else []

    async def read(self, function: Callable[[Any], Any]) -> Any:
        return function(None)

    async def write(self, function: Callable[[Any], Any]) -> Any:
        if self.write_trouble:
            raise self.write_trouble
        return function(self)

    async def body(self, message_id: MessageId, location: BodyLocation) -> bytes:
        assert (message_id, location) == (ID, STORY.body)
        if self.body_trouble:
            raise self.body_trouble
        return b"as sent"

    async def notice(self) -> BounceNotice:
        (row,) = await self.publishing.due_bounces(20)
        return await self.publishing.notice(row)

    async def accept(self, submission: Submission) -> MessageId:
        if self.refused:
            raise Refused(self.refused)
        self.accepted.append(submission)
        return MessageId(b"x" * 24)


@pytest.fixture
def desk(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(publish.messages, "find", lambda tx, message_id: STORY)
    monkeypatch.setattr(ownmail.outbox, "postpone", lambda tx, number, at: tx.postponed.append((number, at)))
    return Desk(clock)


async def test_a_notice_has_the_bounce_and_the_message_as_sent(desk: Desk) -> None:
    notice = await desk.notice()
    assert (notice.mail_from, notice.address, notice.status) == ("me@example.com", "nobody@example.net", "5.1.1")
    assert (notice.subject, notice.original, notice.attempts) == ("Hello", b"as sent", 2)


async def test_a_message_that_cannot_be_read_does_not_keep_its_sender_from_being_told(desk: Desk) -> None:
    desk.body_trouble = BodyMissing("gone")
    notice = await desk.notice()
    assert notice.original is None


async def test_the_mail_goes_to_the_envelope_sender_and_consumes_the_row(desk: Desk) -> None:
    notice = await desk.notice()
    assert await desk.publishing.tell(notice, b"8 bits: \xff")
    (sent,) = desk.accepted
    assert (sent.origin, sent.mail_from, sent.recipients) == (Origin.RELAY, "", ("me@example.com",))
    assert (sent.consumes_outbox, sent.eight_bit, sent.account_id) == (7, True, ROW.account_id)


async def test_what_was_told_already_is_done(desk: Desk) -> None:
    notice = await desk.notice()
    desk.refused = Refusal.ALREADY_DONE
    assert await desk.publishing.tell(notice, b"mail") is None
    assert not desk.postponed


@pytest.mark.parametrize("away", [False, True])
async def test_what_cannot_be_accepted_now_is_tried_again_later(desk: Desk, clock: FakeClock, away: bool) -> None:
    notice = await desk.notice()
    desk.refused = Refusal.STORAGE_FULL
    desk.write_trouble = DatabaseAway("away") if away else None
    assert await desk.publishing.tell(notice, b"mail") is None
    assert desk.postponed == ([] if away else [(7, clock.now() + 10 * MINUTE)])

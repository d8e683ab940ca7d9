"""What is let go when its time is over, and what never is."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import delete, func, insert, select

from sesrelay.model.clock import DAY, HOUR, MINUTE
from sesrelay.model.message import Claim, MessageId, RecipientState
from sesrelay.store import Store, retention
from sesrelay.store.retention import Keep, Step
from sesrelay.store.schema import bodies, history, idempotency, messages, recipients, sent_minutes
from sesrelay.store.segments import BodyMissing
from tests.clock import START, FakeClock
from tests.store.samples import ACCOUNT, KEY, REGION, an_order, open_account, settled

KEEP = Keep(bodies=3 * DAY, captured=14 * DAY, history=30 * DAY)
BIG = b"Subject: hi\r\n\r\n" + b"x" * 20_000 + b"\r\n"


@pytest.fixture(autouse=True)
async def account(store: Store) -> None:
    await store.write(open_account)


async def accepted(store: Store, state: RecipientState | None, clock: FakeClock, content: bytes | None = None) -> Claim:
    """A message that was accepted now, and ended like this (None: it is still queued)."""
    more = {"content": content} if content else {}
    (claim,) = (await store.accept(an_order(at=clock.now(), **more))).claims
    if state is not None:
        await store.settle([settled(claim, state)])
    return claim


async def count(store: Store, table) -> int:
    return (await store.read(lambda tx: tx.execute(select(func.count()).select_from(table))))[0][0]


async def forget(store: Store, function) -> int:
    removed, after = 0, b""
    while True:
        step: Step = await store.write(lambda tx, after=after: function(tx, KEEP, after))
        removed += step.removed
        if step.after is None:
            return removed
        after = step.after


async def test_minutes_go_when_no_day_has_them_any_more(store: Store, clock: FakeClock) -> None:
    minute = START // MINUTE

    def rows(tx) -> None:
        keys = {"account_id": ACCOUNT, "region": REGION, "recipients": 1}
        tx.change(insert(sent_minutes), [{**keys, "minute": minute - back} for back in (0, 1440, 1441, 1442, 3000)])

    await store.write(rows)
    assert await store.write(retention.prune_minutes) == 2
    assert await count(store, sent_minutes) == 3


async def test_invocations_go_after_an_hour(store: Store, clock: FakeClock) -> None:
    def row(at: int):
        keys = {"access_key_id": KEY, "request_hash": b"", "message_id": b""}
        return lambda tx: tx.change(insert(idempotency).values(invocation_id=str(at), created_at=at, **keys))

    await store.write(row(START - HOUR - 1))
    await store.write(row(START - HOUR))
    assert await store.write(retention.prune_invocations) == 1
    assert await count(store, idempotency) == 1


async def test_a_finished_message_goes_with_all_of_its_story(store: Store, clock: FakeClock) -> None:
    await accepted(store, RecipientState.DELIVERED, clock)
    clock.move(30 * 86400 + 1)
    await accepted(store, RecipientState.DELIVERED, clock)
    assert await forget(store, retention.forget_messages) == 1
    assert await count(store, messages) == await count(store, recipients) == 1
    assert await forget(store, retention.forget_bodies) == 0
    assert await count(store, bodies) == 1
    stories = await store.read(lambda tx: tx.execute(select(history.c.message_id).distinct()))
    assert len(stories) <= 1


async def test_what_is_queued_is_never_let_go(store: Store, clock: FakeClock) -> None:
    await accepted(store, None, clock)
    clock.move(365 * 86400)
    assert await forget(store, retention.forget_bodies) == 0
    assert await forget(store, retention.forget_messages) == 0
    assert await count(store, bodies) == 1


async def test_many_messages_go_page_by_page(store: Store, clock: FakeClock) -> None:
    await asyncio.gather(*[accepted(store, RecipientState.DELIVERED, clock) for _ in range(120)])
    clock.move(4 * 86400)
    assert await forget(store, retention.forget_bodies) == 120
    assert await count(store, bodies) == 0
    clock.move(30 * 86400)
    assert await forget(store, retention.forget_messages) == 120
    assert await store.verify() == []


async def test_captured_mail_is_shown_longer(store: Store, clock: FakeClock) -> None:
    await accepted(store, RecipientState.CAPTURED, clock)
    await accepted(store, RecipientState.DELIVERED, clock)
    clock.move(4 * 86400)
    assert await forget(store, retention.forget_bodies) == 1
    clock.move(11 * 86400)
    assert await forget(store, retention.forget_bodies) == 1


async def segment_octets(store: Store) -> tuple[int, int]:
    segment = await store.read(lambda tx: retention.next_segment(tx, ""))
    use = await store.read(lambda tx: retention.segment_use(tx, segment, KEEP))
    return use.written_octets, use.needed_octets


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_segment_is_needed_while_any_of_its_mail_is(store: Store, clock: FakeClock) -> None:
    claim = await accepted(store, None, clock, BIG)
    await accepted(store, RecipientState.DELIVERED, clock, BIG)
    clock.move(4 * 86400)
    assert await segment_octets(store) == (2 * len(BIG), len(BIG))
    await store.settle([settled(claim, RecipientState.BOUNCED)])
    assert await segment_octets(store) == (2 * len(BIG), 0)
    segment = await store.read(lambda tx: retention.next_segment(tx, ""))
    assert await store.is_written(segment)
    assert await store.write(lambda tx: retention.leave_segment(tx, segment, KEEP)) == 2
    assert await store.read(lambda tx: retention.next_segment(tx, "")) is None
    assert await store.remove_bodies([segment]) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_mail_that_comes_while_a_segment_is_let_go_keeps_its_body(
    store: Store, another, clock: FakeClock
) -> None:
    writer = await another("writer")
    await accepted(writer, RecipientState.DELIVERED, clock, BIG)
    clock.move(4 * 86400)
    segment = await store.read(lambda tx: retention.next_segment(tx, ""))
    claim = await accepted(writer, None, clock, BIG)  # after it was found that nothing in it is needed
    await writer.close()
    assert await store.write(lambda tx: retention.leave_segment(tx, segment, KEEP)) == 1
    assert await store.remove_bodies([segment]) == []
    assert await store.body(claim.message_id, claim.body) == BIG


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_body_is_found_by_those_who_knew_its_old_place(store: Store, another, clock: FakeClock) -> None:
    writer = await another("writer")
    claim = await accepted(writer, None, clock, BIG)
    await writer.close()
    assert await store.move_bodies(claim.body.segment) == 1
    assert await store.move_bodies(claim.body.segment) == 0
    assert await store.remove_bodies([claim.body.segment]) == [claim.body.segment]
    assert await store.body(claim.message_id, claim.body) == BIG
    assert await store.verify() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_body_that_is_gone_for_good_is_told(store: Store, another, clock: FakeClock) -> None:
    writer = await another("writer")
    claim = await accepted(writer, RecipientState.DELIVERED, clock, BIG)
    await writer.close()
    clock.move(4 * 86400)
    await store.write(lambda tx: retention.leave_segment(tx, claim.body.segment, KEEP))
    assert await store.remove_bodies([claim.body.segment]) == [claim.body.segment]
    with pytest.raises(BodyMissing):
        await store.body(claim.message_id, claim.body)
    await store.write(lambda tx: tx.change(delete(messages)))
    with pytest.raises(BodyMissing, match="is gone"):
        await store.body(claim.message_id, claim.body)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_young_segment_is_kept_without_a_closer_look(store: Store, clock: FakeClock) -> None:
    await accepted(store, RecipientState.DELIVERED, clock, BIG)
    assert await segment_octets(store) == (1, 1)


async def test_the_queue_is_counted_by_what_it_waits_for(store: Store, clock: FakeClock) -> None:
    await accepted(store, None, clock)
    await accepted(store, RecipientState.DELIVERED, clock)
    await store.accept(an_order("a@example.org", "b@example.org", claimed=False))
    assert await store.read(retention.count_queue) == {"claimed": 1, "held": 0, "waiting": 2}


async def test_a_walk_looks_at_what_is_old_and_leaps_over_the_young_to_the_next_region(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MESSAGES_AT_ONCE", 2)

    async def accept(number: int) -> None:
        order = an_order(at=clock.now())
        message_id = (0x0100 + number).to_bytes(2, "big") + order.message.message_id[2:]
        message = order.message._replace(message_id=MessageId(message_id))
        (claim,) = (await store.accept(order._replace(message=message))).claims
        await store.settle([settled(claim, RecipientState.DELIVERED)])

    for number in (0, 0, 0, 1):
        await accept(number)
    clock.move(31 * 86400)
    for number in [0] * 20 + [1] * 20:
        await accept(number)
    for function in (retention.forget_bodies, retention.forget_messages):
        steps, removed, after = 0, 0, b""
        while after is not None:
            step = await store.write(lambda tx, after=after, function=function: function(tx, KEEP, after))
            steps, removed, after = steps + 1, removed + step.removed, step.after
        assert (removed, steps <= 4) == (4, True)
    assert await count(store, messages) == 40


async def test_chunks_without_a_message_do_not_end_the_walk(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MESSAGES_AT_ONCE", 2)
    first = await accepted(store, RecipientState.DELIVERED, clock)
    await accepted(store, RecipientState.DELIVERED, clock)
    await accepted(store, RecipientState.DELIVERED, clock)
    await store.write(lambda tx: tx.change(delete(messages).where(messages.c.message_id == first.message_id)))
    clock.move(4 * 86400)
    assert await forget(store, retention.forget_bodies) == 2

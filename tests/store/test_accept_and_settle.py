"""The two doors: what goes in, what is written, what is answered; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from sesrelay.model.account import KeyStatus
from sesrelay.model.clock import SECOND
from sesrelay.model.message import Bounce, BounceType, Origin, RecipientState
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.store import Store, credentials
from sesrelay.store.credentials import FoundKey, StoredKey
from sesrelay.store.schema import history, lanes, messages, outbox, recipients, statistics
from sesrelay.store.secrets import Sealed
from tests.clock import FakeClock
from tests.store.samples import ACCOUNT, KEY, OTHER, REGION, an_order, open_account, retried, settled


@pytest.fixture(autouse=True)
async def account(store: Store) -> None:
    await store.write(open_account)


async def rows_of(store: Store, table):
    return await store.read(lambda tx: tx.execute(select(table)))


async def test_an_accepted_message_is_there_with_its_recipients_and_claims(store: Store) -> None:
    order = an_order("a@one.example", "b@two.example")
    accepted = await store.accept(order)
    assert accepted.message_id == order.message.message_id
    assert [(claim.address, claim.attempts) for claim in accepted.claims] == [
        ("a@one.example", 1),
        ("b@two.example", 1),
    ]
    (row,) = await rows_of(store, messages)
    assert (bytes(row.message_id), row.recipient_count, row.subject) == (order.message.message_id, 2, "hi")
    assert [(r.address, r.state, r.attempts) for r in await rows_of(store, recipients)] == [
        ("a@one.example", 0, 1),
        ("b@two.example", 0, 1),
    ]
    assert await rows_of(store, lanes) == []
    claim = accepted.claims[0]
    assert await store.body(claim.message_id, claim.body) == order.message.content


async def test_what_is_not_claimed_waits_in_its_lane(store: Store, clock: FakeClock) -> None:
    accepted = await store.accept(an_order("a@one.example", "b@one.example", claimed=False))
    assert accepted.claims == ()
    assert [tuple(row)[:3] for row in await rows_of(store, lanes)] == [("one.example", ACCOUNT, clock.now())]
    assert await store.next_due() == clock.now()
    claims = await store.claim_due(10)
    assert sorted(claim.address for claim in claims) == ["a@one.example", "b@one.example"]
    assert await store.next_due() is None


async def test_what_is_kept_here_is_finished_and_counted_with_its_acceptance(store: Store) -> None:
    accepted = await store.accept(an_order("a@one.example", "b@one.example", captured=True))
    assert accepted.claims == ()
    found = [(r.state, r.attempts, r.claimed_by, r.sequence) for r in await rows_of(store, recipients)]
    assert found == [(1, 0, None, 1)] * 2
    told = [(bytes(h.message_id), h.number, h.sequence, h.kind, h.detail) for h in await rows_of(store, history)]
    assert told == [(accepted.message_id, number, 1, "captured", "{}") for number in (0, 1)]
    (counted,) = await rows_of(store, statistics)
    assert (counted.accepted, counted.captured, counted.delivered) == (2, 2, 0)
    assert await rows_of(store, lanes) == []
    assert await store.claim_due(10) == []
    assert await store.verify() == []


async def test_a_batch_of_large_bodies_can_be_read_again(store: Store) -> None:
    orders = [an_order(content=b"Subject: x\r\n\r\n" + bytes([65 + n]) * 9000) for n in range(5)]
    accepted = await asyncio.gather(*[store.accept(order) for order in orders])
    for order, answer in zip(orders, accepted, strict=True):
        assert await store.body(answer.message_id, answer.claims[0].body) == order.message.content


async def test_a_delivered_recipient_is_final_and_counted(store: Store) -> None:
    accepted = await store.accept(an_order("a@one.example", "b@two.example"))
    applied = await store.settle([settled(claim) for claim in accepted.claims])
    assert applied == {(accepted.message_id, 0), (accepted.message_id, 1)}
    assert [(r.state, r.claimed_by, r.smtp_response) for r in await rows_of(store, recipients)] == [
        (2, None, "250 2.0.0 ok")
    ] * 2
    assert [(h.number, h.sequence, h.kind) for h in await rows_of(store, history)] == [
        (0, 1, "attempt"),
        (1, 1, "attempt"),
    ]
    (counted,) = await rows_of(store, statistics)
    assert (counted.account_id, counted.accepted, counted.sent, counted.delivered) == (ACCOUNT, 2, 2, 2)


async def test_a_settle_with_a_claim_that_is_not_ours_changes_nothing(store: Store, another) -> None:
    accepted = await store.accept(an_order())
    stranger = await another("stranger")
    await stranger.renew()
    assert await stranger.settle([settled(accepted.claims[0])]) == frozenset()
    assert [r.state for r in await rows_of(store, recipients)] == [0]
    assert await rows_of(store, history) == []
    assert await store.settle([settled(accepted.claims[0])]) == {(accepted.message_id, 0)}
    assert await store.settle([settled(accepted.claims[0])]) == frozenset()


async def test_a_failed_attempt_waits_for_its_time_and_counts(store: Store, clock: FakeClock) -> None:
    accepted = await store.accept(an_order())
    await store.settle([retried(accepted.claims[0], 300)])
    assert await store.next_due() == clock.now() + 300 * SECOND
    assert await store.claim_due(10) == []
    clock.move(300)
    (claim,) = await store.claim_due(10)
    assert (claim.attempts, claim.message_id) == (2, accepted.message_id)


async def test_what_was_no_attempt_does_not_count(store: Store, clock: FakeClock) -> None:
    accepted = await store.accept(an_order())
    await store.settle([retried(accepted.claims[0], 0, counts_as_attempt=False)])
    (claim,) = await store.claim_due(10)
    assert claim.attempts == 1


async def test_a_held_recipient_is_in_no_lane(store: Store, clock: FakeClock) -> None:
    accepted = await store.accept(an_order())
    await store.settle([retried(accepted.claims[0], 0, held=True)])
    assert await store.next_due() is None
    assert await store.claim_due(10) == []


async def test_doubt_is_remembered_until_the_next_claim(store: Store, clock: FakeClock) -> None:
    accepted = await store.accept(an_order())
    await store.settle([retried(accepted.claims[0], 0, in_doubt=True)])
    (claim,) = await store.claim_due(10)
    assert claim.in_doubt


@pytest.mark.parametrize(("origin", "counted"), [(Origin.CLIENT, 1), (Origin.RELAY, 0), (Origin.SIMULATOR, 0)])
async def test_only_what_a_client_sent_counts_in_the_accounts_bounce_rate(
    store: Store, origin: Origin, counted: int
) -> None:
    accepted = await store.accept(an_order(origin=origin, units=counted))
    bounce = Bounce(BounceType.PERMANENT, "NoEmail", "failed", "5.1.1", "smtp; 550 5.1.1 unknown", "rule")
    await store.settle([settled(accepted.claims[0], RecipientState.BOUNCED, bounce=bounce)])
    (row,) = await rows_of(store, statistics)
    assert (row.sent, row.bounced, row.hard_bounces) == (counted, 1, counted)


async def test_a_bounce_is_written_with_its_class_and_told(store: Store) -> None:
    accepted = await store.accept(an_order())
    bounce = Bounce(BounceType.PERMANENT, "NoEmail", "failed", "5.1.1", "smtp; 550 5.1.1 unknown", "rule")
    verdict = settled(
        accepted.claims[0], RecipientState.BOUNCED, smtp_response="550 5.1.1 unknown", bounce=bounce, tells_sender=True
    )
    await store.settle([verdict])
    (row,) = await rows_of(store, recipients)
    assert (row.state, row.bounce_type, row.bounce_sub_type) == (3, "Permanent", "NoEmail")
    (counted,) = await rows_of(store, statistics)
    assert (counted.bounced, counted.hard_bounces) == (1, 1)
    (mail,) = await store.due_outbox("bounce-mail", 10)
    assert (mail.message_id, mail.account_id, mail.region, mail.attempts) == (accepted.message_id, ACCOUNT, REGION, 1)
    assert '"status": "5.1.1"' in mail.payload
    assert await store.due_outbox("bounce-mail", 10) == []


async def test_the_relays_own_mail_consumes_its_outbox_row_once(store: Store) -> None:
    accepted = await store.accept(an_order())
    await store.settle([settled(accepted.claims[0], RecipientState.BOUNCED, tells_sender=True)])
    (mail,) = await store.due_outbox("bounce-mail", 10)
    await store.accept(an_order(judge=None, units=0, consumes_outbox=mail.outbox_id))
    assert await rows_of(store, outbox) == []
    with pytest.raises(Refused) as refused:
        await store.accept(an_order(judge=None, units=0, consumes_outbox=mail.outbox_id))
    assert refused.value.refusal is Refusal.ALREADY_DONE
    assert len(await rows_of(store, messages)) == 2


async def test_a_refused_message_leaves_no_trace_and_disturbs_nobody(store: Store) -> None:
    def refuse(*_: object) -> None:
        raise Refused(Refusal.NOT_VERIFIED, "us-east-1", "x@example.com")

    orders = [an_order(), an_order(judge=refuse), an_order()]
    answers = await asyncio.gather(*[store.accept(order) for order in orders], return_exceptions=True)
    assert isinstance(answers[1], Refused)
    assert answers[1].details == ("us-east-1", "x@example.com")
    assert {bytes(row.message_id) for row in await rows_of(store, messages)} == {
        orders[0].message.message_id,
        orders[2].message.message_id,
    }


async def test_an_unknown_account_is_not_subscribed(store: Store) -> None:
    with pytest.raises(Refused) as refused:
        await store.accept(an_order(account_id=OTHER))
    assert refused.value.refusal is Refusal.NOT_SUBSCRIBED


async def test_the_same_invocation_is_accepted_once(store: Store) -> None:
    first = await store.accept(an_order(invocation_id="i-1", request_hash=b"h"))
    again = await store.accept(an_order(invocation_id="i-1", request_hash=b"h"))
    assert (again.message_id, again.replayed, again.claims) == (first.message_id, True, ())
    assert len(await rows_of(store, messages)) == 1
    with pytest.raises(Refused) as refused:
        await store.accept(an_order(invocation_id="i-1", request_hash=b"other"))
    assert refused.value.refusal is Refusal.INVOCATION_REUSED


async def test_the_same_invocation_twice_in_one_batch_is_accepted_once(store: Store) -> None:
    orders = [an_order(invocation_id="i-1", request_hash=b"h") for _ in range(3)]
    answers = await asyncio.gather(*[store.accept(order) for order in orders])
    assert sorted(answer.replayed for answer in answers) == [False, True, True]
    assert len({answer.message_id for answer in answers}) == 1
    assert len(await rows_of(store, messages)) == 1


async def test_one_message_that_cannot_be_written_does_not_harm_the_others(store: Store) -> None:
    good = [an_order(), an_order(), an_order()]
    twin = an_order(message_id=good[0].message.message_id)
    answers = await asyncio.gather(*[store.accept(order) for order in [*good, twin]], return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert [refusal.refusal for refusal in refused] == [Refusal.UNAVAILABLE]
    assert len(await rows_of(store, messages)) == 3


async def test_claims_of_a_caller_that_went_away_go_back_into_the_queue(store: Store) -> None:
    task = asyncio.create_task(store.accept(an_order()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.write(lambda tx: None)
    await store.write(lambda tx: None)
    (claim,) = await store.claim_due(10)
    assert claim.attempts == 1


async def test_a_key_is_found_as_it_is_at_this_moment(store: Store, another: Callable[..., Any]) -> None:
    key = StoredKey(KEY, ACCOUNT, "mailer", KeyStatus.ACTIVE, Sealed("m1", b"nonce", b"secret"), 7)
    assert await store.find_key(KEY, REGION) is None
    sibling = await another()
    await sibling.write(partial(credentials.insert_key, key=key))
    assert await store.find_key(KEY, REGION) == FoundKey(key, 1)
    assert await store.find_key(KEY, "eu-west-1") == FoundKey(key, 0)
    await sibling.write(partial(credentials.set_key_status, access_key_id=KEY, status=KeyStatus.INACTIVE))
    found = await store.find_key(KEY, REGION)
    assert found is not None
    assert found.key.status is KeyStatus.INACTIVE

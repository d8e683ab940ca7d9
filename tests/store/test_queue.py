"""Lanes, claims and lives: who gets what to deliver, and what becomes of it when he dies."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, update

from sesrelay.model.clock import SECOND
from sesrelay.model.message import RecipientState
from sesrelay.store import Store
from sesrelay.store.queue import QUANTUM_OCTETS, RECIPIENT_OCTETS, take_turns
from sesrelay.store.schema import history, lanes, recipients
from tests.clock import FakeClock
from tests.store.samples import ACCOUNT, OTHER, an_order, open_account, retried, settled


@pytest.fixture(autouse=True)
async def account(store: Store) -> None:
    await store.write(open_account)
    await store.write(lambda tx: open_account(tx, OTHER))


async def waiting(store: Store, count: int, domain: str, account_id: str = ACCOUNT) -> None:
    orders = [an_order(f"r{n}@{domain}", account_id=account_id, claimed=False) for n in range(count)]
    await asyncio.gather(*[store.accept(order) for order in orders])


async def test_a_claim_is_shared_out_over_domains_and_accounts(store: Store) -> None:
    await waiting(store, 50, "big.example")
    await waiting(store, 2, "small.example")
    await waiting(store, 2, "big.example", OTHER)
    claims = await store.claim_due(12)
    assert sum(claim.domain == "small.example" for claim in claims) == 2
    assert sum(claim.account_id == OTHER for claim in claims) == 2
    assert len(claims) >= 8


async def test_a_lane_that_was_served_goes_behind_the_others(store: Store, clock: FakeClock) -> None:
    await waiting(store, 6, "a.example")
    await waiting(store, 6, "b.example")
    served = []
    for _ in range(4):
        clock.move(1)
        served += [claim.domain for claim in await store.claim_due(1)]
    assert served == ["a.example", "b.example", "a.example", "b.example"]


async def test_every_waiting_recipient_is_claimed_once_by_one_of_two(store: Store, another) -> None:
    await waiting(store, 40, "a.example")
    await waiting(store, 40, "b.example")
    second = await another("second")
    seen = []
    for _ in range(30):
        for claims in await asyncio.gather(store.claim_due(5), second.claim_due(5)):
            seen += [(claim.message_id, claim.number) for claim in claims]
    assert len(seen) == len(set(seen)) == 80
    assert await store.read(lambda tx: tx.execute(select(lanes))) == []


async def test_what_is_given_back_was_never_tried(store: Store, clock: FakeClock) -> None:
    await waiting(store, 1, "a.example")
    claims = await store.claim_due(1)
    await store.give_back(claims, clock.now() + 5 * SECOND)
    assert await store.next_due() == clock.now() + 5 * SECOND
    clock.move(5)
    (claim,) = await store.claim_due(1)
    assert claim.attempts == 1


async def test_a_postponed_lane_is_left_alone_until_new_mail_comes_to_it(store: Store, clock: FakeClock) -> None:
    await waiting(store, 3, "a.example")
    claims = await store.claim_due(1)
    await store.give_back(claims, clock.now() + 60 * SECOND)
    await store.postpone_lanes([(claim.domain, claim.account_id) for claim in claims], clock.now() + 60 * SECOND)
    assert await store.claim_due(10) == []
    assert await store.next_due() == clock.now() + 60 * SECOND
    await waiting(store, 1, "a.example")
    assert len(await store.claim_due(10)) == 3


async def test_giving_back_what_is_not_ours_changes_nothing(store: Store, another, clock: FakeClock) -> None:
    await waiting(store, 1, "a.example")
    claims = await store.claim_due(1)
    stranger = await another("stranger")
    await stranger.renew()
    await stranger.give_back(claims, clock.now())
    assert await store.next_due() is None
    assert await store.settle([settled(claims[0])])


async def test_a_lane_is_due_when_its_first_recipient_is(store: Store, clock: FakeClock) -> None:
    await waiting(store, 3, "a.example")
    claims = await store.claim_due(10)
    await store.settle([retried(claims[0], 600), retried(claims[1], 300), retried(claims[2], 900)])
    assert await store.next_due() == clock.now() + 300 * SECOND
    clock.move(300)
    assert [claim.message_id for claim in await store.claim_due(10)] == [claims[1].message_id]
    assert await store.next_due() == clock.now() + 300 * SECOND


async def test_a_dead_workers_claims_are_freed_with_a_note(store: Store, another) -> None:
    worker = await another("worker-two")
    accepted = await worker.accept(an_order())
    assert await store.release(["worker-two"]) == 1
    (claim,) = await store.claim_due(10)
    assert (claim.message_id, claim.attempts) == (accepted.message_id, 2)
    (row,) = await store.read(lambda tx: tx.execute(select(history)))
    assert (row.kind, row.sequence) == ("worker-died", 1)


async def test_a_worker_that_wakes_too_late_changes_nothing(store: Store, another) -> None:
    worker = await another("worker-two")
    accepted = await worker.accept(an_order())
    await store.release(["worker-two"])
    assert await worker.settle([settled(accepted.claims[0])]) == frozenset()
    assert not await worker.renew()
    assert await worker.claim_due(10) == []
    (row,) = await store.read(lambda tx: tx.execute(select(recipients)))
    assert row.state == 0


async def test_who_was_declared_dead_accepts_but_claims_nothing(store: Store, another) -> None:
    worker = await another("worker-two")
    await worker.renew()
    await store.release(["worker-two"])
    await worker.renew()
    accepted = await worker.accept(an_order())
    assert accepted.claims == ()
    assert [claim.message_id for claim in await store.claim_due(1)] == [accepted.message_id]


async def pass_time(clock: FakeClock, seconds: int, *alive: Store) -> None:
    """With the heartbeats of those who live."""
    for _ in range(seconds):
        clock.move(1)
        for worker in alive:
            assert await worker.renew()


async def test_a_worker_that_does_not_renew_itself_is_released(store: Store, another, clock: FakeClock) -> None:
    worker = await another("worker-two")
    await worker.accept(an_order())
    await pass_time(clock, 30, store)
    assert await store.release_dead() == 0
    await pass_time(clock, 1, store)
    assert await store.release_dead() == 1
    assert await store.renew()


async def test_a_clock_that_is_put_forward_kills_nobody(store: Store, another, clock: FakeClock) -> None:
    sibling, dead = await another("worker-two"), await another("worker-three")
    for worker in (sibling, dead):
        await worker.accept(an_order())
    await pass_time(clock, 20, store, sibling)
    clock.move(3600)
    assert await store.release_dead() == 0
    assert await store.renew()
    assert await store.release_dead() == 0, "the sibling did not have its turn yet"
    await pass_time(clock, 20, store, sibling)
    assert await store.release_dead() == 1
    assert await sibling.renew()


async def test_a_node_that_starts_releases_its_own_leftovers_only(store: Store, another) -> None:
    old = await another("old", "node")
    elsewhere = await another("elsewhere", "another-node")
    for worker in (old, elsewhere, store):
        await worker.accept(an_order())
    assert await store.release_node_leftovers(["worker-one"]) == 1


async def test_the_third_death_with_the_same_message_in_hand_holds_it(store: Store, another) -> None:
    await waiting(store, 1, "a.example")
    for number in range(3):
        worker = await another(f"victim-{number}")
        assert len(await worker.claim_due(1)) == 1
        await store.release([f"victim-{number}"])
    assert await store.claim_due(1) == []
    (row,) = await store.read(lambda tx: tx.execute(select(recipients)))
    assert (row.held, row.deaths, row.state) == (1, 3, 0)


async def test_an_orderly_end_is_nobodys_fault(store: Store, another) -> None:
    await waiting(store, 1, "a.example")
    for number in range(4):
        worker = await another(f"worker-{number + 2}")
        assert len(await worker.claim_due(1)) == 1
        await worker.close()
        assert await store.release_dead() == 1
    (row,) = await store.read(lambda tx: tx.execute(select(recipients)))
    assert (row.held, row.deaths) == (0, 0)
    assert len(await store.claim_due(1)) == 1


async def test_a_lane_that_was_postponed_is_no_fault(store: Store, clock: FakeClock) -> None:
    await waiting(store, 3, "a.example")
    clock.move(1)
    due_at = clock.now() + 300 * SECOND
    await store.give_back(await store.claim_due(1), due_at)
    await store.postpone_lanes({("a.example", ACCOUNT)}, due_at)
    clock.move(1)
    assert await store.verify() == []


async def test_an_outcome_makes_earlier_deaths_forgotten(store: Store, another, clock: FakeClock) -> None:
    worker = await another("victim")
    await worker.accept(an_order())
    await store.release(["victim"])
    claims = await store.claim_due(1)
    await store.settle([retried(claims[0], 0)])
    (row,) = await store.read(lambda tx: tx.execute(select(recipients)))
    assert row.deaths == 0


async def test_a_worker_that_ends_in_order_leaves_nothing_claimed(store: Store, another) -> None:
    worker = await another("worker-two")
    await worker.accept(an_order())
    await worker.close()
    assert await store.release_dead() == 1


def _row(lane: str, length: int) -> tuple:
    return (*[b"", 0, "", lane, ACCOUNT], *[0] * 12, length, 0)


def test_big_messages_cost_a_lane_its_turns() -> None:
    big, small = ("big", ACCOUNT), ("small", ACCOUNT)
    found = {
        big: [_row("big", QUANTUM_OCTETS)] * 2,
        small: [_row("small", 100)] * 3,
    }
    taken, kept = take_turns(found, {big: 0, small: 0})
    assert [row[3] for row in taken] == ["small"] * 3
    assert kept == {big: QUANTUM_OCTETS, small: 0}
    taken, kept = take_turns({big: found[big]}, {big: kept[big]})
    assert [row[3] for row in taken] == ["big"]
    assert kept == {big: QUANTUM_OCTETS - RECIPIENT_OCTETS}


def test_a_message_bigger_than_any_turn_is_served_in_the_end() -> None:
    lane = ("big", ACCOUNT)
    taken, _ = take_turns({lane: [_row("big", 20 * QUANTUM_OCTETS)]}, {lane: 0})
    assert len(taken) == 1


async def test_the_books_balance_and_show_what_is_wrong(store: Store) -> None:
    accepted = await store.accept(an_order("a@one.example", "b@two.example"))
    await waiting(store, 3, "a.example")
    await store.settle([settled(accepted.claims[0]), settled(accepted.claims[1], RecipientState.QUEUED, held=True)])
    assert await store.verify() == []
    await store.write(lambda tx: tx.change(update(recipients).where(recipients.c.number == 1).values(state=2, held=0)))
    (fault,) = await store.verify()
    assert fault.startswith(f"account {ACCOUNT}: 5 accepted, but 3 queued, 0 captured, 1 delivered")


async def test_a_lost_recipient_a_lost_lane_and_a_lost_body_are_found(store: Store) -> None:
    from sqlalchemy import delete

    from sesrelay.store.schema import bodies

    accepted = await store.accept(an_order("a@one.example", claimed=False))

    def harm(tx):
        tx.change(delete(lanes))
        tx.change(delete(bodies))

    await store.write(harm)
    faults = await store.verify()
    assert f"message {accepted.message_id}: recipient 0 waits where nobody will look in time" in faults
    assert any("body" in fault for fault in faults)
    await store.write(lambda tx: tx.change(delete(recipients)))
    assert f"message {accepted.message_id}: accepted for 1 recipients, 0 are stored" in await store.verify()

"""Limits are counted if and only if a message is accepted, exactly, however many processes write."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from sesrelay.core.accounts import set_pace
from sesrelay.model.account import AccountFacts, LimitState
from sesrelay.model.clock import DAY, MINUTE, SECOND, SKEW, Micros
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.store import Store
from sesrelay.store.schema import access_keys, account_regions, history, identities, messages, sent_minutes, statistics
from tests.clock import START, FakeClock
from tests.store.samples import ACCOUNT, OTHER, REGION, an_order, open_account, settled


@pytest.fixture(autouse=True)
async def account(store: Store) -> None:
    await store.write(lambda tx: open_account(tx, quota=10))


async def limits(store: Store):
    (row,) = await store.read(
        lambda tx: tx.execute(select(account_regions).where(account_regions.c.account_id == ACCOUNT))
    )
    return row


async def taken(*orders) -> list[bool]:
    answers = await asyncio.gather(*orders, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, Exception):
            assert isinstance(answer, Refused), answer
            assert answer.refusal is Refusal.QUOTA_EXCEEDED
    return [not isinstance(answer, Exception) for answer in answers]


async def test_a_batch_sees_the_running_count(store: Store) -> None:
    orders = [an_order(*[f"r{n}@x.example" for n in range(3)]) for _ in range(5)]
    assert await taken(*[store.accept(order) for order in orders]) == [True, True, True, False, False]
    row = await limits(store)
    assert (row.used_24_hours, row.tokens) == (9, -9)
    assert (await taken(store.accept(an_order())))[0]


async def test_a_refusal_uses_nothing(store: Store) -> None:
    before = await limits(store)
    assert await taken(store.accept(an_order(*[f"r{n}@x.example" for n in range(11)]))) == [False]
    assert await limits(store) == before
    assert await store.read(lambda tx: tx.execute(select(statistics))) == []
    assert await store.read(lambda tx: tx.execute(select(sent_minutes))) == []


async def test_what_was_sent_counts_for_24_hours_and_no_more_than_a_minute_longer(
    store: Store, clock: FakeClock
) -> None:
    clock.set_wall(START - START % MINUTE)
    assert await taken(store.accept(an_order(units=10))) == [True]
    clock.move(24 * 3600 - 1)
    assert await taken(store.accept(an_order(units=1))) == [False]
    clock.move(61)
    assert await taken(store.accept(an_order(units=10))) == [True]


async def test_the_window_moves_minute_by_minute(store: Store, clock: FakeClock) -> None:
    for _ in range(5):
        assert await taken(store.accept(an_order(units=2))) == [True]
        clock.move(3600)
    assert await taken(store.accept(an_order(units=1))) == [False]
    clock.move(19 * 3600 + 60)
    assert await taken(store.accept(an_order(units=3)), store.accept(an_order(units=2))) == [False, True]


async def test_the_time_of_a_judgment_never_goes_backwards(store: Store, clock: FakeClock) -> None:
    seen: list[Micros] = []

    def judge(facts: AccountFacts, state: LimitState, now: Micros) -> LimitState:
        seen.append(now)
        return LimitState(state.tokens, now, state.used_24_hours)

    await store.accept(an_order(judge=judge))
    clock.set_wall(clock.now() - SKEW)
    await store.accept(an_order(judge=judge))
    assert seen == [START, START]


async def test_a_clock_that_was_far_ahead_is_forgotten_but_not_what_was_sent(store: Store, clock: FakeClock) -> None:
    clock.set_wall(START + 400 * DAY)
    assert await taken(store.accept(an_order(units=4))) == [True]
    clock.move(120)
    assert await taken(store.accept(an_order(units=2))) == [True]
    clock.set_wall(START)
    assert await taken(store.accept(an_order(units=5))) == [False]
    assert await taken(store.accept(an_order(units=4))) == [True]
    row = await limits(store)
    assert (row.used_24_hours, row.used_minute, row.token_at) == (10, START // MINUTE, START)
    clock.move(24 * 3600 + 60)
    assert await taken(store.accept(an_order(units=10))) == [True]


async def test_changed_facts_are_seen_by_the_next_message_of_every_process(store: Store, another) -> None:
    seen: list[AccountFacts] = []

    def judge(facts: AccountFacts, state: LimitState, now: Micros) -> LimitState:
        seen.append(facts)
        return state

    def change(tx):
        tx.change(delete(access_keys))
        tx.change(delete(identities).where(identities.c.name == "example.com"))
        tx.change(update(account_regions).values(suspended=1, quota=7))
        tx.bump_facts(ACCOUNT)

    second = await another("second")
    for one in (store, second):
        await one.accept(an_order(judge=judge))
    await second.write(change)
    for one in (store, second):
        await one.accept(an_order(judge=judge))
    assert [(facts.suspended, facts.quota, len(facts.active_keys)) for facts in seen] == [(False, 10, 1)] * 2 + [
        (True, 7, 0)
    ] * 2
    assert seen[0].verified.domains == {"example.com"}
    assert seen[3].verified.domains == frozenset()
    assert seen[3].verified.addresses == {"a@example.net"}


async def test_cached_facts_are_at_most_a_second_old(store: Store, clock: FakeClock) -> None:
    first = await store.facts(ACCOUNT, REGION)

    def change(tx):
        tx.change(update(account_regions).values(quota=7))
        tx.bump_facts(ACCOUNT, REGION)

    await store.write(change)
    assert await store.facts(ACCOUNT, REGION) is first
    assert (await store.facts(ACCOUNT, REGION, fresh=True)).quota == 7
    clock.move(1)
    assert (await store.facts(ACCOUNT, REGION)).quota == 7


async def test_facts_of_a_version_are_no_older_than_it(store: Store) -> None:
    first = await store.facts(ACCOUNT, REGION)

    def change(tx):
        tx.change(update(account_regions).values(quota=7))
        tx.bump_facts(ACCOUNT, REGION)

    await store.write(change)
    assert await store.facts(ACCOUNT, REGION, version=first.version) is first
    second = await store.facts(ACCOUNT, REGION, version=first.version + 1)
    assert second.quota == 7
    assert await store.facts(ACCOUNT, REGION, version=first.version) is second
    with pytest.raises(LookupError):
        await store.facts(OTHER, REGION, version=0)


async def test_facts_of_nobody_are_unknown(store: Store) -> None:
    with pytest.raises(LookupError):
        await store.facts(OTHER, REGION)
    with pytest.raises(LookupError):
        await store.facts(ACCOUNT, "eu-west-1")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    quota=st.integers(1, 40),
    mails=st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(1, 5)), min_size=1, max_size=40),
)
def test_never_more_than_the_quota_over_several_processes(
    migrated, clock: FakeClock, quota: int, mails: list[tuple[int, bool, int]]
) -> None:
    """Three writers, two accounts; whatever is refused would not have fitted, whatever is taken is counted."""

    async def story() -> None:
        workers = [Store.open(migrated(), clock) for _ in range(3)]
        for worker in workers:
            await worker.start()

        def begin(tx):
            for table in (messages, sent_minutes, statistics):
                tx.change(delete(table))
            for table in (account_regions, access_keys, identities):
                tx.change(delete(table))
            from sesrelay.store.schema import accounts

            tx.change(delete(accounts))
            open_account(tx, quota=quota)
            open_account(tx, OTHER, quota=quota)

        await workers[0].write(begin)
        answers = await taken(
            *[
                workers[who].accept(an_order(units=units, account_id=OTHER if other else ACCOUNT))
                for who, other, units in mails
            ]
        )
        rows = await workers[1].read(lambda tx: tx.execute(select(account_regions)))
        for row in rows:
            mine = [
                (yes, units)
                for yes, (_, other, units) in zip(answers, mails, strict=True)
                if (OTHER if other else ACCOUNT) == row.account_id
            ]
            used = sum(units for yes, units in mine if yes)
            assert row.used_24_hours == used <= quota
            assert all(used + units > quota for yes, units in mine if not yes)
        stored = await workers[2].read(lambda tx: tx.execute(select(messages.c.message_id)))
        assert len(stored) == sum(answers)
        await asyncio.gather(*[worker.close() for worker in workers])

    asyncio.run(story())


async def test_paced_recipients_wait_in_their_lanes_and_the_others_are_claimed(store: Store, clock: FakeClock) -> None:
    def judge(facts: AccountFacts, state: LimitState, now: Micros) -> LimitState:
        return LimitState(-2, now, 3, (now, now + 2 * SECOND, now + SECOND))

    order = an_order("a@x.example", "b@x.example", "c@y.example", judge=judge)
    accepted = await store.accept(order)
    assert [claim.address for claim in accepted.claims] == ["a@x.example"]
    assert accepted.paced
    assert not (await store.accept(an_order("d@x.example"))).paced
    assert await store.claim_due(10) == []
    got: list[list[str]] = []
    for _ in range(2):
        clock.move(1)
        claims = await store.claim_due(10)
        got.append([claim.address for claim in claims])
        await store.settle([settled(claim) for claim in claims])
    assert got == [["c@y.example"], ["b@x.example"]]
    told = await store.read(lambda tx: tx.execute(select(history).where(history.c.kind == "paced")))
    assert [(row.number, row.sequence) for row in sorted(told, key=lambda row: row.number)] == [(1, 1), (2, 1)]


async def test_the_facts_say_whether_mail_is_paced(store: Store) -> None:
    assert not (await store.facts(ACCOUNT, REGION)).pace
    await store.write(lambda tx: set_pace(tx, ACCOUNT, REGION, True))
    assert (await store.facts(ACCOUNT, REGION, fresh=True)).pace

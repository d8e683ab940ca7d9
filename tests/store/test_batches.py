"""What a batch costs: a fixed number of statements, whatever its size; and what waits together goes together."""

from __future__ import annotations

import asyncio

import pytest

from sesrelay.model.message import RecipientState
from sesrelay.model.refusal import Refused
from sesrelay.store import Store
from tests.store.samples import ACCOUNT, OTHER, an_order, open_account, retried, settled


@pytest.fixture(autouse=True)
async def account(store: Store) -> None:
    await store.write(open_account)
    await store.write(lambda tx: open_account(tx, OTHER))


async def statements(store: Store) -> int:
    return await store._hot(lambda session, _: session.hot.statements)


async def count(store: Store, *doings) -> int:
    """Statements that the writer ran for these, BEGIN and COMMIT included."""
    before = await statements(store)
    await asyncio.gather(*doings)
    asking = 2  # the COMMIT of the first question and the BEGIN of the second
    return await statements(store) - before - asking


async def test_a_common_batch_takes_at_most_twelve_statements_whatever_its_size(store: Store) -> None:
    await store.accept(an_order())
    await store.accept(an_order(account_id=OTHER))
    for size in (1, 2, 60):
        accounts = [OTHER if n % 2 else ACCOUNT for n in range(size)]
        orders = [an_order("a@x.example", "b@y.example", account_id=account) for account in accounts]
        assert await count(store, *[store.accept(order) for order in orders]) <= 12
    assert await count(store, store.accept(an_order("a@x.example", "b@y.example", captured=True))) <= 12


async def test_the_fullest_batch_takes_at_most_twelve_beside_begin_and_commit(store: Store) -> None:
    first = await store.accept(an_order())
    await store.settle([settled(first.claims[0], RecipientState.BOUNCED, tells_sender=True)])
    await store.accept(an_order(account_id=OTHER))
    (mail,) = await store.due_outbox("bounce-mail", 1)
    orders = [an_order(invocation_id=f"i-{n}", claimed=n % 2 == 0) for n in range(20)]
    orders.append(an_order(judge=None, units=0, consumes_outbox=mail.outbox_id))
    assert await count(store, *[store.accept(order) for order in orders]) - 2 <= 12


async def test_accepts_and_settles_that_wait_together_share_a_transaction(store: Store) -> None:
    first = await asyncio.gather(*[store.accept(an_order()) for _ in range(10)])
    before = store._engine.batches
    sizes: list[int] = []
    store.watch_batches(sizes.append)
    await asyncio.gather(
        *[store.accept(an_order()) for _ in range(10)],
        *[store.settle([retried(answer.claims[0])]) for answer in first],
    )
    assert store._engine.batches - before <= 2
    assert sum(sizes) == 20


async def test_more_than_fits_into_a_batch_is_written_in_several(store: Store) -> None:
    sizes: list[int] = []
    store.watch_batches(sizes.append)
    addresses = [f"r{n}@x.example" for n in range(50)]
    answers = await asyncio.gather(*[store.accept(an_order(*addresses)) for _ in range(25)])
    assert max(sizes) <= 10
    claims = [claim for answer in answers for claim in answer.claims]
    applied = await store.settle([settled(claim) for claim in claims])
    assert len(applied) == 1250
    assert await store.verify() == []


async def test_a_batch_that_cannot_be_written_is_written_one_by_one(store: Store) -> None:
    first = await store.accept(an_order())
    bad = an_order(hops=2**70)
    answers = await asyncio.gather(
        store.accept(an_order()),
        store.accept(bad),
        store.settle([settled(first.claims[0])]),
        return_exceptions=True,
    )
    assert isinstance(answers[1], Refused)
    assert not isinstance(answers[0], Exception)
    assert answers[2] == {(first.message_id, 0)}

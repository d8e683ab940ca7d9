"""Work that must run once, and what has to be told."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from sqlalchemy import select

from sesrelay.model.clock import DAY, MINUTE, SECOND
from sesrelay.store import Store, leases, outbox
from sesrelay.store.errors import StoreError
from sesrelay.store.schema import incarnations
from tests.clock import FakeClock
from tests.store.samples import an_order, open_account, settled

SPAN = 10 * SECOND


async def take(store: Store, holder: str) -> int | None:
    return await store.write(partial(leases.take, name="verification", holder=holder, span=SPAN))


async def test_a_lease_that_was_never_held_goes_to_one_of_two_who_ask_at_once(store: Store, another) -> None:
    second = await another("second")
    for name in map(str, range(10)):
        asking = [one.write(partial(leases.take, name=name, holder=str(one), span=SPAN)) for one in (store, second)]
        assert sorted(await asyncio.gather(*asking), key=str) == [1, None]


async def test_a_lease_has_one_holder_until_it_expires(store: Store, clock: FakeClock) -> None:
    assert await take(store, "one") == 1
    assert await take(store, "two") is None
    assert await take(store, "one") == 1
    clock.move(11)
    assert await take(store, "two") == 2
    assert await take(store, "one") is None


async def test_an_action_under_an_old_term_is_noticed(store: Store, clock: FakeClock) -> None:
    term = await take(store, "one")
    holds = partial(leases.holds, name="verification", holder="one", term=term)
    assert await store.write(holds)
    clock.move(11)
    assert not await store.write(holds)
    await take(store, "two")
    clock.move(11)
    await take(store, "one")
    assert not await store.write(holds)


async def test_a_name_is_lived_under_once(store: Store, another) -> None:
    worker = await another("worker-two")
    await worker.renew()
    await worker.close()
    again = await another("worker-two")
    with pytest.raises(StoreError, match="worker-two"):
        await again.renew()


async def test_the_dead_are_forgotten_when_they_hold_nothing_any_more(store: Store, another, clock: FakeClock) -> None:
    await store.write(open_account)
    for name in ("holds", "empty"):
        worker = await another(name)
        await worker.renew()
        if name == "holds":
            await worker.accept(an_order())
        await worker.close()
    clock.move(8 * DAY / SECOND)
    assert await store.write(leases.bury) == 1
    (row,) = await store.read(lambda tx: tx.execute(select(incarnations.c.name)))
    assert row.name == "holds"


@pytest.fixture
async def told(store: Store) -> int:
    """The id of an outbox row, taken once."""
    await store.write(open_account)
    accepted = await store.accept(an_order())
    await store.settle([settled(accepted.claims[0], tells_sender=True)])
    (row,) = await store.due_outbox("bounce-mail", 10)
    return row.outbox_id


async def test_a_row_that_nobody_finished_comes_again(store: Store, told: int, clock: FakeClock) -> None:
    clock.move(MINUTE / SECOND)
    (row,) = await store.due_outbox("bounce-mail", 10)
    assert (row.outbox_id, row.attempts) == (told, 2)


async def test_a_postponed_row_waits_for_its_time(store: Store, told: int, clock: FakeClock) -> None:
    due = clock.now() + 10 * MINUTE
    await store.write(lambda tx: outbox.postpone(tx, told, due))
    clock.move(599)
    assert await store.due_outbox("bounce-mail", 10) == []
    clock.move(1)
    assert len(await store.due_outbox("bounce-mail", 10)) == 1


async def test_a_removed_row_is_gone(store: Store, told: int, clock: FakeClock) -> None:
    assert await store.write(lambda tx: outbox.remove(tx, told))
    assert not await store.write(lambda tx: outbox.remove(tx, told))
    clock.move(3600)
    assert await store.due_outbox("bounce-mail", 10) == []


async def test_only_rows_of_the_kind_are_given(store: Store, told: int, clock: FakeClock) -> None:
    clock.move(3600)
    assert await store.due_outbox("other", 10) == []

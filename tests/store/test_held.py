"""Held mail has two ways out: an operator lets it go on, or it expires and its sender is told."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest
from sqlalchemy import select, update

from sesrelay.core.settle import Settling
from sesrelay.model.clock import HOUR, SECOND
from sesrelay.rules.retries import DEFAULT
from sesrelay.store import Store, Transaction
from sesrelay.store.queue import DEATHS
from sesrelay.store.schema import history, lanes, outbox, recipients
from sesrelay.store.session import Session
from sesrelay.store.waiting import Selection, Shelf, hasten
from tests.clock import FakeClock
from tests.store.samples import an_order, open_account, retried


@pytest.fixture(autouse=True)
async def account(store: Store) -> None:
    await store.write(open_account)


async def hold(store: Store, another, *addresses: str) -> None:
    """Mail that workers die of."""
    await store.accept(an_order(*addresses, claimed=False))
    for number in range(DEATHS):
        worker = await another(f"victim-{number}")
        assert await worker.claim_due(10)
        await store.release([f"victim-{number}"])


async def released(store: Store, clock: FakeClock) -> int:
    since = clock.now()
    return (await store.write(lambda tx: hasten(tx, Shelf.HELD, Selection(), since, None)))[0]


async def test_an_operator_lets_held_mail_go_on_with_as_many_lives_as_new_mail(
    store: Store, another, clock: FakeClock
) -> None:
    await hold(store, another, "a@example.org", "b@example.org")
    assert await store.next_due() is None
    clock.move(60)
    assert await released(store, clock) == 2
    assert await store.next_due() == clock.now()
    worker = await another("one more")
    assert len(await worker.claim_due(10)) == 2
    await store.release(["one more"])
    assert len(await store.claim_due(10)) == 2, "one death more holds nothing"
    kinds = [row.kind for row in await store.read(lambda tx: tx.execute(select(history).order_by(history.c.sequence)))]
    assert kinds.count("released") == 2
    assert await store.verify() == []


async def test_held_mail_that_is_too_old_expires_and_its_sender_is_told(
    store: Store, another, clock: FakeClock
) -> None:
    await hold(store, another, "a@example.org")
    settling = Settling(store, clock, bytes, DEFAULT, lambda _: None)
    clock.move(DEFAULT.max_age // SECOND - 1)
    assert await settling.expire_held() == 0
    clock.move(1)
    assert await settling.expire_held() == 1
    assert await settling.expire_held() == 0
    (row,) = await store.read(lambda tx: tx.execute(select(outbox)))
    told = json.loads(row.payload)
    assert (told["state"], told["status"], told["mail_from"]) == ("expired", "4.4.7", "from@example.com")
    (one,) = await store.read(lambda tx: tx.execute(select(recipients)))
    assert (one.state, one.held, one.claimed_by) == (6, 0, None)
    assert await store.verify() == []


async def test_a_death_while_it_expires_holds_it_again(store: Store, another, clock: FakeClock) -> None:
    await hold(store, another, "a@example.org")
    clock.move(15 * 3600)
    worker = await another("dies")
    assert len(await worker.claim_held(clock.now() - 14 * HOUR, 10)) == 1
    await store.release(["dies"])
    assert await store.claim_due(10) == []
    assert len(await store.claim_held(clock.now() - 14 * HOUR, 10)) == 1


async def test_a_result_that_is_written_again_does_not_end_a_newer_claim_of_ours(
    store: Store, clock: FakeClock
) -> None:
    await store.accept(an_order(claimed=False))
    (first,) = await store.claim_due(10)
    assert await store.settle([retried(first, 0, counts_as_attempt=False)])
    (second,) = await store.claim_due(10)
    assert second.attempts == first.attempts
    assert await store.settle([retried(first, 0)]) == frozenset()
    assert await store.settle([retried(second, 0)])


async def test_what_is_given_back_again_does_not_end_a_newer_claim_of_ours(store: Store, clock: FakeClock) -> None:
    await store.accept(an_order(claimed=False))
    first = await store.claim_due(10)
    await store.give_back(first, clock.now())
    second = await store.claim_due(10)
    await store.give_back(first, clock.now())
    assert await store.claim_due(10) == []
    assert second[0].attempts == 1
    assert await store.settle([retried(second[0], 0)])


async def test_hastened_mail_finds_its_lane_again_if_it_is_gone(store: Store, clock: FakeClock) -> None:
    accepted = await store.accept(an_order())
    await store.settle([retried(accepted.claims[0], 600, held=True)])
    await store.write(lambda tx: tx.change(update(recipients).values(held=0)))
    since = clock.now()
    clock.move(1)
    found = await store.write(lambda tx: hasten(tx, Shelf.WAITING, Selection(), since, None))
    assert found == (1, None)
    assert [claim.message_id for claim in await store.claim_due(10)] == [accepted.message_id]


def somebody_waits(session: Session, folder: Path) -> bool:
    """For a lock that another transaction holds."""
    if session.dialect == "postgresql":
        return bool(session.hot.run("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
    pen = f":{(folder / 'write.lock').stat().st_ino} "
    return any("->" in line and pen in line for line in Path("/proc/locks").read_text().splitlines())


async def test_hastening_waits_for_a_claim_that_puts_the_lane_off(
    store: Store, another, clock: FakeClock, session: Session, tmp_path: Path
) -> None:
    accepted = await store.accept(an_order())
    await store.settle([retried(accepted.claims[0], 600)])
    await store.write(lambda tx: tx.change(update(lanes).values(due_at=tx.now)))
    begun, go_on = threading.Event(), threading.Event()

    def claims(tx: Transaction) -> None:
        """As a claim does that finds nobody due: the lane waits for its next recipient."""
        tx.change(update(lanes).values(due_at=tx.now + 600 * SECOND))
        begun.set()
        go_on.wait(5)

    second = await another("second")
    await second.renew()
    claiming = asyncio.create_task(second.write(claims))
    assert await asyncio.to_thread(begun.wait, 5)
    since = clock.now()
    hastening = asyncio.create_task(store.write(lambda tx: hasten(tx, Shelf.WAITING, Selection(), since, None)))
    async with asyncio.timeout(10):
        while not somebody_waits(session, tmp_path):
            await asyncio.sleep(0.001)
    go_on.set()
    await claiming
    assert (await hastening)[0] == 1
    assert await store.next_due() == clock.now()

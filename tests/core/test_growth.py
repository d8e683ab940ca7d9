"""Limits follow how an account sends: each step once, written down, told, and undone like any other change."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import insert, select, update

from sesrelay.core import growth, limits
from sesrelay.model.clock import DAY, MINUTE
from sesrelay.model.limits import Allowance, ChangeKind
from sesrelay.runtime import roles
from sesrelay.runtime.roles import Roles
from sesrelay.store import Store, Transaction
from sesrelay.store.accounts import standing
from sesrelay.store.schema import account_regions, outbox, sent_minutes, statistics
from tests.clock import FakeClock
from tests.runtime.test_roles import a_house
from tests.store.samples import ACCOUNT, OTHER, REGION, open_account

GROW = next(chore for chore in roles.CHORES if chore.name == "grow-limits")


def used(tx: Transaction, sent: int, bounced: int) -> None:
    """So many recipients an hour ago, and as many on each of the two days before."""
    tx.change(
        insert(sent_minutes).values(account_id=ACCOUNT, region=REGION, minute=tx.now // MINUTE - 60, recipients=sent)
    )
    for day in range(3):
        quarter = (tx.now - day * DAY) // (15 * MINUTE) - 4
        row = {"account_id": ACCOUNT, "region": REGION, "quarter": quarter, "sent": sent, "hard_bounces": bounced}
        tx.change(insert(statistics).values(row))


@pytest.fixture(autouse=True)
async def account(store: Store) -> None:
    def begin(tx: Transaction) -> None:
        open_account(tx, quota=30_000)
        open_account(tx, OTHER, quota=30_000)

    await store.write(begin)


async def allowed(store: Store, account_id: str = ACCOUNT) -> Allowance:
    found = await store.read(lambda tx: standing(tx, account_id, REGION))
    assert found
    return limits.allowance(found)


async def grow(*stores: Store, clock: FakeClock) -> None:
    houses = [a_house(each, clock) for each in stores]
    for house in houses:
        house.growth = True
    await asyncio.gather(
        *[Roles(house, f"worker {number}", first_of_node=True).do(GROW) for number, house in enumerate(houses)]
    )


async def test_high_use_with_few_bounces_steps_up_once_a_day(store: Store, another, clock: FakeClock) -> None:
    await store.write(lambda tx: used(tx, 20_000, 100))
    second = await another("second")
    await grow(store, second, clock=clock)
    assert await allowed(store) == Allowance(True, 45_000, 7.5)
    assert await allowed(store, OTHER) == Allowance(True, 30_000, 5)
    clock.move(3600)
    await grow(store, second, clock=clock)
    assert await allowed(store) == Allowance(True, 45_000, 7.5)
    (row,) = await store.read(lambda tx: tx.execute(select(outbox)))
    told = json.loads(row.payload)
    assert (told["tidings"], told["to"]) == ("raised", "o@example.com")
    assert "60,000 recipients; 300 bounced for good (0.5%)" in told["reason"]


async def test_many_bounces_step_down_and_an_operator_takes_it_back(store: Store, clock: FakeClock) -> None:
    await store.write(lambda tx: used(tx, 20_000, 2_000))
    await grow(store, clock=clock)
    assert await allowed(store) == Allowance(True, 20_000, 5)
    made = await store.write(lambda tx: limits.undo(tx, ACCOUNT, REGION))
    assert (made.kind, made.after) == (ChangeKind.UNDO, Allowance(True, 30_000, 5))
    clock.move(2 * 24 * 3600)
    await grow(store, clock=clock)
    assert await allowed(store) == Allowance(True, 30_000, 5)
    rows = await store.read(lambda tx: tx.execute(select(outbox).order_by(outbox.c.outbox_id)))
    assert [json.loads(row.payload)["tidings"] for row in rows] == ["lowered", "undone"]


@pytest.mark.parametrize("column", ["suspended", "opened"])
async def test_who_may_not_send_takes_no_step(store: Store, column: str) -> None:
    def story(tx: Transaction) -> tuple[list[tuple[str, str]], str | None]:
        used(tx, 20_000, 100)
        tx.change(update(account_regions).values({column: int(column == "suspended")}))
        assert growth.take_step(tx, ACCOUNT, REGION) is None
        return growth.page(tx, "")

    assert await store.write(story) == ([], None)


async def test_without_the_setting_nothing_grows(store: Store, clock: FakeClock) -> None:
    await store.write(lambda tx: used(tx, 20_000, 100))
    await Roles(a_house(store, clock), "one", first_of_node=True).do(GROW)
    assert await allowed(store) == Allowance(True, 30_000, 5)


async def test_pages_go_over_all_accounts(store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "PAGE", 1)
    await store.write(lambda tx: used(tx, 20_000, 100))
    task = asyncio.create_task(grow(store, clock=clock))
    while not task.done():
        await asyncio.sleep(0.01)  # the store works in a thread of its own
        clock.move(1)
    await task
    assert await allowed(store) == Allowance(True, 45_000, 7.5)

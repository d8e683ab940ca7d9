"""What a region does is counted in no other; and it leaves the configuration only when nothing waits in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Table, delete, select

from sesrelay.core.accounts import open_again
from sesrelay.core.limits import set_production
from sesrelay.model.message import Bounce, BounceType, RecipientState
from sesrelay.store import Store
from sesrelay.store.accounts import standings
from sesrelay.store.errors import RegionInUse
from sesrelay.store.schema import account_regions, identities, outbox, sent_minutes, statistics, suppressions
from tests.clock import FakeClock
from tests.store.samples import ACCOUNT, an_order, open_account, settled


async def test_a_region_with_mail_in_it_must_be_served(store: Store, migrated, clock: FakeClock) -> None:
    await store.write(open_account)

    def refusal(*regions: str) -> str:
        with pytest.raises(RegionInUse) as caught:
            Store.open(replace(migrated("looks"), regions=regions), clock)
        return str(caught.value)

    Store.open(replace(migrated("first"), regions=("eu-west-1",)), clock)
    accepted = await store.accept(an_order("a@example.org", "b@example.org"))
    assert "us-east-1" in refusal("eu-west-1")
    assert "2 recipients" in refusal("eu-west-1")
    Store.open(replace(migrated("second"), regions=("eu-west-1", "us-east-1")), clock)
    first, second = accepted.claims
    bounce = Bounce(BounceType.PERMANENT, "NoEmail", "failed", "5.1.1", "smtp; 550 5.1.1 unknown", "rule")
    await store.settle([settled(first), settled(second, RecipientState.BOUNCED, bounce=bounce, tells_sender=True)])
    assert "0 recipients waits in it and 1 notices" in refusal("eu-west-1")
    await store.write(lambda tx: tx.change(delete(outbox)))
    Store.open(replace(migrated("third"), regions=("eu-west-1",)), clock)


@pytest.mark.parametrize("table", [account_regions, sent_minutes, identities, statistics, suppressions], ids=str)
def test_what_is_kept_apart_by_region_has_it_in_its_key(table: Table) -> None:
    """REG-1: standing and limits, what was sent, verification, statistics, suppression."""
    assert {"region", "account_id"} <= set(table.primary_key.columns.keys())


async def test_what_one_region_does_is_counted_in_no_other(store: Store) -> None:
    await store.write(open_account)
    await store.write(lambda tx: open_again(tx, ACCOUNT, "eu-west-1"))
    await store.write(lambda tx: set_production(tx, ACCOUNT, "eu-west-1", True))

    for times, region in ((3, "us-east-1"), (1, "eu-west-1")):
        for _ in range(times):
            (claim,) = (await store.accept(an_order(region=region))).claims
            bounce = Bounce(BounceType.PERMANENT, "NoEmail", "failed", "5.1.1", "smtp; 550 5.1.1 unknown", "rule")
            await store.settle([settled(claim, RecipientState.BOUNCED, bounce=bounce)])
    counted = await store.read(lambda tx: tx.execute(select(statistics)))
    assert {row.region: (row.sent, row.bounced) for row in counted} == {"us-east-1": (3, 3), "eu-west-1": (1, 1)}
    used = {each.region: each.used_24_hours for each in await store.read(lambda tx: standings(tx, ACCOUNT))}
    assert used == {"us-east-1": 3, "eu-west-1": 1}

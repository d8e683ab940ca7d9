"""A region leaves the configuration only when nothing waits in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import delete

from sesrelay.model.message import Bounce, BounceType, RecipientState
from sesrelay.store import Store
from sesrelay.store.errors import RegionInUse
from sesrelay.store.schema import outbox
from tests.clock import FakeClock
from tests.store.samples import an_order, open_account, settled


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

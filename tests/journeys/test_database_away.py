"""PostgreSQL crashes under load and comes back: clients come again, no worker ends, and what was promised holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.journeys.books import FAST_RETRIES, assert_all_is_well, eventually, settle_down
from tests.standins.next_hop import NextHop
from tests.standins.relay import RelayStandIn
from tests.standins.senders import Senders

OUTAGES = 3
SENDERS = 6


def senders_were_put_off(senders: Senders, times: int) -> bool:
    return len(senders.promises.deferred) >= times


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_goes_away_under_load_is_waited_for(
    database_url: str, postgres_power: tuple[Callable[[], None], Callable[[], None]], tmp_path: Path
) -> None:
    stop, start = postgres_power
    with NextHop() as hop:
        delivery = {"routes": [{"domain": "*", "via": f"smtp://127.0.0.1:{hop.port}"}], "retry": FAST_RETRIES}
        settings = {"delivery": delivery}
        with RelayStandIn(tmp_path, next_hop=hop.port, database=database_url, settings=settings) as relay:
            with Senders(relay, SENDERS) as senders:
                for _ in range(OUTAGES):
                    senders.wait_for(len(senders.promises.accepted) + 30, timeout=60)
                    deferred = len(senders.promises.deferred)
                    stop()
                    senders_met_it = partial(senders_were_put_off, senders, deferred + SENDERS)
                    eventually(senders_met_it, 60, "clients are asked to come again")
                    start()
                senders.wait_for(len(senders.promises.accepted) + 30, timeout=60)
            settle_down(relay, hop, seconds=60)
        assert b"worker ended" not in relay.log.read_bytes()
        assert_all_is_well(relay, hop, senders.promises)
        assert {reply[:9] for reply in senders.promises.deferred} <= {"451 4.3.0"}

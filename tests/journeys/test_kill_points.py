"""Every place where docs/JOURNEY says that a worker may die: one dies there, and what was promised still holds.

One sender at a time, so that it is known which message the worker had in hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from sesrelay.killpoints import KillPoint
from tests.journeys.books import FAST_RETRIES, assert_all_is_well, copies_by_recipient, eventually, settle_down
from tests.standins.next_hop import NextHop
from tests.standins.relay import RelayStandIn
from tests.standins.senders import Promises, Senders

SMALL, MIDDLING, BIG = 1_500, 60_000, 400_000
"""Octets: in a row, in a segment, in a file of its own."""

NEVER_TAKEN = {"before-body-sync", "after-body-sync", "before-commit"}
"""Nobody was told anything, and nothing is left behind: the message in hand does not arrive."""
TAKEN_UNSAID = {"before-250"}
"""The message in hand is the relay's, but its sender does not know: it arrives."""
SENT_UNNOTED = {"after-final-dot", "before-settle"}
"""The next hop has a message of which the relay does not know it: a second copy goes out."""

CASES = [
    *((database, point, SMALL) for database in ("sqlite", "postgresql") for point in get_args(KillPoint)[2:]),
    # On PostgreSQL bodies are rows: there is nothing to sync.
    *(("sqlite", point, size) for point in get_args(KillPoint)[:2] for size in (MIDDLING, BIG)),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("database_url", "point", "size"), CASES, indirect=["database_url"])
def test_a_worker_may_die_at(database_url: str, point: KillPoint, size: int, tmp_path: Path) -> None:
    died = tmp_path / "died"
    with NextHop() as hop:
        routes = [{"domain": "*", "via": f"smtp://127.0.0.1:{hop.port}"}]
        delivery = {"delivery": {"routes": routes, "retry": FAST_RETRIES}}
        with RelayStandIn(
            tmp_path,
            next_hop=hop.port,
            database=database_url,
            settings=delivery,
            environment={"SESRELAY_KILL_AT": f"{point}:5@{died}"},
        ) as relay:
            with Senders(relay, 1, sizes=[(1, size)]) as senders:
                eventually(died.exists, 60, f"a worker has died {point}")
                senders.wait_for(len(senders.promises.accepted) + 10, timeout=60)
            settle_down(relay, hop, seconds=60)
        assert b"worker ended; starting another" in relay.log.read_bytes()
        assert_all_is_well(relay, hop, senders.promises)
        assert_the_message_in_hand_fared_as_it_must(point, hop, senders.promises)


def assert_the_message_in_hand_fared_as_it_must(point: KillPoint, hop: NextHop, promises: Promises) -> None:
    copies = copies_by_recipient(hop.copies)
    in_hand = {recipient for recipient in copies if recipient.partition("-")[0] in promises.unknown}
    if point in NEVER_TAKEN:
        assert not in_hand
    if point in TAKEN_UNSAID:
        assert len(promises.unknown) == 1
        assert in_hand
    if point in SENT_UNNOTED:
        assert max(copies.values()) == 2

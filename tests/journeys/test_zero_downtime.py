"""Reloads and restarts under load: nobody is refused, no answer is lost, and what got its 250 is delivered once."""

from __future__ import annotations

from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.journeys.books import copies_by_recipient, settle_down
from tests.standins.exacting import Exacting
from tests.standins.next_hop import NextHop
from tests.standins.relay import RelayStandIn

WORKERS = [2, 3, 1, 2]
"""From one reload to the next: more of them, fewer, and the same."""

LOADS = [(1_000, 4), pytest.param((10_000, 20), marks=pytest.mark.soak)]
"""Messages, and how many changes while they are sent."""


def assert_nothing_was_lost(relay: RelayStandIn, hop: NextHop, clients: Exacting, changes: int) -> None:
    settle_down(relay, hop, seconds=120)
    print(
        f"{len(clients.accepted)} messages, {clients.connections} connections, {changes} times a new set of workers, "
        f"{clients.told_to_come_again} sessions told to come again, {len(clients.amiss)} amiss"
    )
    assert Counter(clients.amiss) == {}
    arrived = copies_by_recipient(hop.copies)
    assert {recipient: arrived[recipient] for recipient in clients.accepted if arrived[recipient] != 1} == {}
    assert arrived.keys() == clients.accepted.keys()
    assert clients.told_to_come_again > 0, "nothing was tested: no session met a change"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("load", LOADS, ids=str)
@pytest.mark.parametrize("systemd", [False, True], ids=["own sockets", "sockets of systemd"])
def test_reloads_refuse_nobody_and_lose_no_answer(tmp_path: Path, load: tuple[int, int], systemd: bool) -> None:
    messages, changes = load
    with NextHop() as hop, RelayStandIn(tmp_path, next_hop=hop.port, workers=2, systemd=systemd) as relay:
        with Exacting(relay) as clients:
            for change, workers in enumerate(islice(cycle(WORKERS), changes)):
                clients.wait_for(messages * (change + 1) // (changes + 1), 300)
                relay.reconfigure(workers=workers)
                relay.reload()
            clients.wait_for(messages, 300)
        assert_nothing_was_lost(relay, hop, clients, changes)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("load", LOADS, ids=str)
def test_restarts_on_systemds_sockets_refuse_nobody_and_lose_no_answer(tmp_path: Path, load: tuple[int, int]) -> None:
    messages, changes = load
    with NextHop() as hop, RelayStandIn(tmp_path, next_hop=hop.port, workers=2, systemd=True) as relay:
        with Exacting(relay) as clients:
            for change in range(changes):
                clients.wait_for(messages * (change + 1) // (changes + 1), 300)
                assert relay.stop() == 0
                relay.start()
            clients.wait_for(messages, 300)
        assert_nothing_was_lost(relay, hop, clients, changes)

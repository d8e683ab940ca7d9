"""Four workers under load, a next hop that misbehaves, and SIGKILL for whoever it hits: nothing accepted is lost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.journeys.books import FAST_RETRIES, assert_all_is_well, settle_down
from tests.standins.next_hop import Mischief, NextHop
from tests.standins.relay import RelayStandIn
from tests.standins.senders import Senders

MISCHIEF = Mischief(
    refused_greeting=0.01,
    refused_mail=0.01,
    deferred_dot=0.03,
    cut_in_data=0.005,
    cut_after_dot=0.005,
    slow=0.1,
)


def kill_one_worker(relay: RelayStandIn, chance: random.Random) -> None:
    chance.choice(relay.workers()).kill()


def kill_all_workers(relay: RelayStandIn, chance: random.Random) -> None:
    for worker in relay.workers():
        worker.kill()


def kill_everything(relay: RelayStandIn, chance: random.Random) -> None:
    relay.kill_everything()
    relay.start()


def kill_the_supervisor(relay: RelayStandIn, chance: random.Random) -> None:
    relay.kill_supervisor()
    relay.start()


KILLINGS: list[Callable[[RelayStandIn, random.Random], None]] = [
    kill_one_worker,
    kill_everything,
    kill_all_workers,
    kill_the_supervisor,
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_whoever_is_killed_every_message_that_got_its_250_arrives(
    database_url: str, tmp_path: Path, rounds: int
) -> None:
    chance = random.Random(rounds)
    with NextHop(MISCHIEF, seed=rounds) as hop:
        routes = [{"domain": "*", "via": f"smtp://127.0.0.1:{hop.port}"}]
        delivery = {"routes": routes, "retry": FAST_RETRIES}
        relay = RelayStandIn(
            tmp_path, next_hop=hop.port, database=database_url, workers=4, settings={"delivery": delivery}
        )
        with relay:
            with Senders(relay, 8, seed=rounds) as senders:
                for kill in islice(cycle(KILLINGS), rounds):
                    senders.wait_for(len(senders.promises.accepted) + 50, timeout=60)
                    time.sleep(chance.random())  # anywhere in the life of a batch
                    kill(relay, chance)
                senders.wait_for(len(senders.promises.accepted) + 50, timeout=60)
            # On a busy machine three workers may die before a message can be tried: an operator lets it go then.
            relay.command("queue", "retry", "--state", "held")
            settle_down(relay, hop, seconds=120)
        assert_all_is_well(relay, hop, senders.promises)

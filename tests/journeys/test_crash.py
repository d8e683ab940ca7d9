"""Four workers under load, a next hop that misbehaves, and SIGKILL for whoever it hits: nothing accepted is lost."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Protocol

import psutil
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


class Family(Protocol):
    def workers(self) -> list[psutil.Process]:
        """They may have ended by the time somebody looks."""


def killed(process: psutil.Process) -> bool:
    """False: it had ended before."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def kill_one_worker(relay: Family, chance: random.Random) -> None:
    while not killed(chance.choice(relay.workers())):
        pass


def kill_all_workers(relay: Family, chance: random.Random) -> None:
    for worker in relay.workers():
        killed(worker)


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


class Pair:
    """Two, of which the first has ended while somebody looked."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", "import signal; signal.pause()"]
        self.processes = [subprocess.Popen(command) for _ in range(2)]
        self._seen = [psutil.Process(process.pid) for process in self.processes]
        self.processes[0].kill()
        self.processes[0].wait()

    def workers(self) -> list[psutil.Process]:
        return self._seen


@pytest.mark.parametrize("kill", [kill_one_worker, kill_all_workers])
def test_who_has_ended_while_somebody_looked_keeps_nobody_else_alive(
    kill: Callable[[Family, random.Random], None],
) -> None:
    pair = Pair()
    kill(pair, random.Random(1))  # whose first choice is the first one
    assert pair.processes[1].wait(10) == -signal.SIGKILL

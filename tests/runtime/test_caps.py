from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sesrelay.runtime.caps import NodeCaps

KEY = bytes(16)


@pytest.fixture
def memory() -> Iterator[int]:
    fd = NodeCaps.memory(3)
    yield fd
    os.close(fd)


def caps(fd: int, worker: int, *, connections: int = 100, per_address: int = 10, here: int = 100) -> NodeCaps:
    bounds = {"connections": connections, "connections_per_address": per_address, "connections_here": here}
    return NodeCaps(fd, 3, worker, KEY, **bounds)


def test_an_address_is_counted_over_all_workers(memory: int) -> None:
    first, second = caps(memory, 0, per_address=3), caps(memory, 1, per_address=3)
    assert [first.admit("192.0.2.1"), second.admit("192.0.2.1"), first.admit("192.0.2.1")] == [True] * 3
    assert not second.admit("192.0.2.1")
    assert second.admit("192.0.2.2")


def test_who_leaves_makes_room(memory: int) -> None:
    first, second = caps(memory, 0, per_address=1), caps(memory, 1, per_address=1)
    assert first.admit("192.0.2.1")
    assert not second.admit("192.0.2.1")
    first.leave("192.0.2.1")
    assert second.admit("192.0.2.1")


def test_the_node_has_a_bound_of_its_own(memory: int) -> None:
    first, second = caps(memory, 0, connections=4), caps(memory, 1, connections=4)
    admitted = [one.admit(f"192.0.2.{n}") for n in range(5) for one in (first, second)]
    assert admitted == [True] * 4 + [False] * 6
    assert first.connections() == second.connections() == 4


def test_a_worker_takes_no_more_than_it_has_descriptors_for(memory: int) -> None:
    one, other = caps(memory, 0, here=2), caps(memory, 1)
    assert [one.admit(f"192.0.2.{n}") for n in range(3)] == [True, True, False]
    assert other.admit("192.0.2.9")
    one.leave("192.0.2.0")
    assert one.admit("192.0.2.4")


def test_who_was_refused_is_not_counted(memory: int) -> None:
    one = caps(memory, 0, per_address=1)
    one.admit("192.0.2.1")
    one.admit("192.0.2.1")
    one.leave("192.0.2.1")
    assert one.connections() == 0
    assert one.admit("192.0.2.1")


def test_a_dead_workers_share_is_given_back_and_nobody_elses(memory: int) -> None:
    dead, living = caps(memory, 1), caps(memory, 2)
    for _ in range(5):
        dead.admit("192.0.2.1")
        living.admit("192.0.2.1")
    assert not living.admit("192.0.2.1")
    caps(memory, 0).give_back(1)
    assert living.connections() == 5
    assert [living.admit("192.0.2.1") for _ in range(6)] == [True] * 5 + [False]


def test_a_client_with_ipv6_counts_by_its_network_of_64_bits(memory: int) -> None:
    one = caps(memory, 0, per_address=1)
    assert one.admit("2001:db8:0:1::1")
    assert not one.admit("2001:db8:0:1:ffff::2")
    assert one.admit("2001:db8:0:2::1")


def test_an_ipv4_client_of_an_ipv6_socket_is_the_same_client(memory: int) -> None:
    one = caps(memory, 0, per_address=1)
    assert one.admit("192.0.2.1")
    assert not one.admit("::ffff:192.0.2.1")


@pytest.mark.parametrize("address", ["", "not an address", "fe80::1%eth0"])
def test_any_text_is_an_address(memory: int, address: str) -> None:
    one = caps(memory, 0)
    assert one.admit(address)
    one.leave(address)
    assert one.connections() == 0


HAMMER = """
import sys
from sesrelay.runtime.caps import NodeCaps
fd, worker = int(sys.argv[1]), int(sys.argv[2])
caps = NodeCaps(fd, 3, worker, bytes(16), connections=500, connections_per_address=500, connections_here=500)
admitted = 0
for turn in range(4000):
    if caps.admit("192.0.2.1"):
        admitted += 1
        if turn % 2:
            caps.leave("192.0.2.1")
            admitted -= 1
print(admitted)
"""


def test_processes_that_admit_at_once_never_admit_too_many(memory: int) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", HAMMER, str(memory), str(n)], pass_fds=[memory], stdout=subprocess.PIPE)
        for n in range(3)
    ]
    admitted = [int(process.communicate()[0]) for process in processes]
    assert sum(admitted) == 500
    assert caps(memory, 0).connections() == 500


def test_a_worker_that_dies_holding_the_lock_blocks_nobody(memory: int) -> None:
    script = """
import fcntl, os, signal, sys
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(memory)], pass_fds=[memory], check=False)
    assert caps(memory, 0).admit("192.0.2.1")

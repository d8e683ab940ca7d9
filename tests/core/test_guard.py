"""Waits before a password is looked at: who is made to wait, and who is not."""

from __future__ import annotations

import pytest

from tests.fronts.smtp.house import guard

ATTACKER, NEIGHBOUR, OWNER = "192.0.2.66", "192.0.2.7", "198.51.100.1"
KEY, OTHER_KEY = "AKIAIOSFODNN7EXAMPLE", "AKIAI44QH8DHBEXAMPLE"


def test_nobody_waits_before_anything_has_failed() -> None:
    assert guard().wait_seconds(ATTACKER, KEY) == 0


def test_an_address_waits_longer_and_longer_whichever_keys_it_tries() -> None:
    asked = guard(address=2)
    waits = []
    for number in range(8):
        waits.append(asked.wait_seconds(ATTACKER, f"AKIA{number}"))
        asked.failed(ATTACKER, f"AKIA{number}")
    assert waits == [0, 0, 1, 2, 4, 8, 16, 20]
    assert asked.wait_seconds(NEIGHBOUR, "AKIA1") == 0


def test_who_walks_through_a_network_waits_for_the_key_that_it_tries() -> None:
    asked = guard(key_in_network=3)
    for number in range(5):
        asked.failed(f"192.0.2.{number}", KEY)
    assert asked.wait_seconds(NEIGHBOUR, KEY) == 4
    assert asked.wait_seconds(NEIGHBOUR, OTHER_KEY) == 0
    assert asked.wait_seconds(OWNER, KEY) == 0


def test_the_owner_of_an_attacked_key_waits_little_wherever_the_attackers_are() -> None:
    asked = guard(key=10)
    for number in range(100):
        asked.failed(f"203.0.{number}.1", KEY)
    assert asked.wait_seconds(OWNER, KEY) == 2
    assert asked.wait_seconds(OWNER, OTHER_KEY) == 0


def test_the_owner_does_not_wait_at_all_where_the_key_is_known() -> None:
    asked = guard(key=10)
    asked.succeeded(OWNER, KEY)
    for number in range(100):
        asked.failed(f"203.0.{number}.1", KEY)
    assert asked.wait_seconds(OWNER, KEY) == 0


def test_one_with_an_old_password_keeps_nobody_behind_the_same_nat_from_what_works() -> None:
    asked = guard(address=5)
    asked.succeeded(OWNER, KEY)
    for _ in range(50):
        asked.failed(OWNER, OTHER_KEY)
    assert asked.wait_seconds(OWNER, KEY) == 0
    assert asked.wait_seconds(OWNER, OTHER_KEY) == 20


def test_failures_where_a_key_is_known_count_all_the_same() -> None:
    asked = guard(key_in_network=2)
    asked.succeeded(OWNER, KEY)
    for _ in range(4):
        asked.failed(OWNER, KEY)
    assert asked.wait_seconds(OWNER, KEY) == 4


def test_a_success_takes_back_what_failed_for_that_key_and_nothing_else() -> None:
    asked = guard(address=2, key_in_network=2)
    for _ in range(4):
        asked.failed(ATTACKER, KEY)
    asked.succeeded(ATTACKER, KEY)
    assert asked.wait_seconds(ATTACKER, KEY) == 0
    assert asked.wait_seconds(ATTACKER, OTHER_KEY) == 4, "a key of one's own does not buy guesses at others'"


@pytest.mark.parametrize("key", ["", "jürgen", "\ud800", "x" * 128])
def test_a_name_that_cannot_be_a_key_is_counted_like_one(key: str) -> None:
    asked = guard(key_in_network=1)
    asked.failed(OWNER, key)
    assert asked.wait_seconds(OWNER, key) == 1

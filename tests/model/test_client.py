"""Whom an address is counted for."""

from __future__ import annotations

import pytest

from sesrelay.model.client import customer, network

SAME_CUSTOMER = [("192.0.2.1", "::ffff:192.0.2.1"), ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2")]
SAME_NETWORK = [*SAME_CUSTOMER, ("192.0.2.1", "192.0.2.254"), ("2001:db8:0:1::1", "2001:db8:0:ffff::1")]
APART = [
    *(("192.0.2.1", "192.0.3.1"), ("2001:db8:0::1", "2001:db8:1::1"), ("fe80::1%eth0", "one text")),
    *(("one text", "another"), ("192.0.2.1", "c000:201::"), ("", "192.0.2.1")),
]


@pytest.mark.parametrize(("one", "other"), SAME_CUSTOMER)
def test_one_customer(one: str, other: str) -> None:
    assert customer(one) == customer(other)


@pytest.mark.parametrize(("one", "other"), [*APART, *SAME_NETWORK[2:]])
def test_two_customers(one: str, other: str) -> None:
    assert customer(one) != customer(other)


@pytest.mark.parametrize(("one", "other"), SAME_NETWORK)
def test_one_network(one: str, other: str) -> None:
    assert network(one) == network(other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_two_networks(one: str, other: str) -> None:
    assert network(one) != network(other)

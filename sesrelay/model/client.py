"""Whom a client's address stands for when it is counted: one customer, or the network that customers share."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

_KNOWN_ADDRESSES: Final = 4096
"""Clients come back."""


@lru_cache(_KNOWN_ADDRESSES)
def customer(address: str) -> bytes:
    """An IPv4 address, an IPv6 network of 64 bits (what one customer gets), or the text as it is."""
    return _beginning(address, of_four=4, of_six=8)


@lru_cache(_KNOWN_ADDRESSES)
def network(address: str) -> bytes:
    """The IPv4 network of 24 bits or IPv6 network of 48 bits (what one site gets) around it, or the text as it is."""
    return _beginning(address, of_four=3, of_six=6)


def _beginning(address: str, *, of_four: int, of_six: int) -> bytes:
    """So many octets of it."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address.encode()
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return mapped.packed[:of_four] if mapped else parsed.packed[:of_six]
    return parsed.packed[:of_four]

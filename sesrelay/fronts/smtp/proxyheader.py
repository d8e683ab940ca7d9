"""The PROXY protocol's header, versions 1 and 2: who the client behind a load balancer is (SMTP-13).

Reads nothing itself. ``ProxyHeader.wanted`` says how many octets may be read next, so that a reader never takes one
that lies behind the header: a ClientHello may follow at once.
"""

from __future__ import annotations

import struct
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
LONGEST: Final = 536
"""Octets of a header, type-length-values included."""
_FIXED: Final = 16
_LONGEST_V1: Final = 107
_SHORTEST_V1: Final = len(b"PROXY UNKNOWN\r\n")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _INET, _INET6, _UNIX = range(4)
_STREAM: Final = 1
_ADDRESS_OCTETS: Final = {_INET: 12, _INET6: 36}
_PORT_DIGITS: Final = 5
_LAST_PORT: Final = 65535


class ProxyHeaderError(ValueError):
    """What came is no PROXY header; nothing is to be answered to it."""


class ProxyHeader:
    """A header as it comes in."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self.wanted = _SHORTEST_V1
        """So many octets may be read next; 0 when the header is whole."""
        self.client: str | None = None
        """The client's address; None when the load balancer speaks for itself or does not know it."""

    def feed(self, octets: bytes) -> None:
        """At most ``wanted`` octets. ProxyHeaderError."""
        self._octets += octets
        if self._octets.startswith(SIGNATURE):
            self._feed_v2()
        elif SIGNATURE.startswith(self._octets):
            self.wanted = _FIXED - len(self._octets)
        elif self._octets.startswith(b"PROXY ") or b"PROXY ".startswith(self._octets):
            self._feed_v1()
        else:
            raise ProxyHeaderError("no PROXY header")

    def _feed_v2(self) -> None:
        have = len(self._octets)
        if have < _FIXED:
            self.wanted = _FIXED - have
            return
        command, family, length = struct.unpack_from("!BBH", self._octets, len(SIGNATURE))
        if command not in (_LOCAL, _PROXY):
            raise ProxyHeaderError("unknown version or command")
        if _FIXED + length > LONGEST:
            raise ProxyHeaderError("header too long")
        self.wanted = _FIXED + length - have
        if not self.wanted and command == _PROXY:
            self.client = _client_v2(family, bytes(self._octets[_FIXED:]))

    def _feed_v1(self) -> None:
        """Its end is found octet by octet once it may be near: only so is nothing behind it read."""
        if self._octets.endswith(b"\r\n"):
            self.wanted = 0
            self.client = _client_v1(bytes(self._octets[:-2]))
        elif len(self._octets) >= _LONGEST_V1 or b"\n" in self._octets:
            raise ProxyHeaderError("line without its end")
        else:
            self.wanted = max(1, _SHORTEST_V1 - len(self._octets))


def _client_v2(family: int, rest: bytes) -> str | None:
    """The source address of a PROXY command; type-length-values behind the addresses are skipped."""
    kind, transport = family >> 4, family & 15
    if kind in (_UNSPECIFIED, _UNIX):
        return None
    if kind not in _ADDRESS_OCTETS or transport != _STREAM:
        raise ProxyHeaderError("unknown family")
    if len(rest) < _ADDRESS_OCTETS[kind]:
        raise ProxyHeaderError("addresses too short")
    return _text(IPv4Address(rest[:4]) if kind == _INET else IPv6Address(rest[:16]))


def _client_v1(line: bytes) -> str | None:
    words = line.split(b" ")
    if words[1:2] == [b"UNKNOWN"]:
        return None
    kinds: dict[bytes, type[IPv4Address] | type[IPv6Address]] = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}
    try:
        _, family, source, destination, *ports = words
        kind = kinds[family]
        client = kind(source.decode("ascii"))
        kind(destination.decode("ascii"))
    except (KeyError, AddressValueError, ValueError):
        raise ProxyHeaderError("not a TCP4 or TCP6 line") from None
    if len(ports) != 2 or not all(_is_port(port) for port in ports) or b"%" in source:
        raise ProxyHeaderError("not a TCP4 or TCP6 line")
    return _text(client)


def _is_port(word: bytes) -> bool:
    return word.isdigit() and len(word) <= _PORT_DIGITS and int(word) <= _LAST_PORT


def _text(address: IPv4Address | IPv6Address) -> str:
    """IPv4 in IPv6 is IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)

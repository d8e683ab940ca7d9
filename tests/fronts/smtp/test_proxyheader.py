"""The PROXY header names the client, and nothing behind it is read."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.fronts.smtp.proxyheader import LONGEST, SIGNATURE, ProxyHeader, ProxyHeaderError

_V4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 5000, 25)
_V6 = IPv6Address("2001:db8::7").packed + IPv6Address("2001:db8::1").packed + struct.pack("!HH", 5000, 25)
_MAPPED = IPv6Address("::ffff:192.0.2.7").packed + _V6[16:]
_TLV = b"\x03\x00\x04\x01\x02\x03\x04"


def _v2(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def _read(stream: bytes, most: int = LONGEST) -> tuple[ProxyHeader, bytes]:
    """Reads as a connection does: never more than is wanted. Also what was left unread."""
    header = ProxyHeader()
    while header.wanted:
        size = min(header.wanted, most)
        assert len(stream) >= size, "the header asks for more than was sent"
        header.feed(stream[:size])
        stream = stream[size:]
    return header, stream


GOOD = [
    (_v2(0x21, 0x11, _V4), "192.0.2.7"),
    (_v2(0x21, 0x11, _V4 + _TLV), "192.0.2.7"),
    (_v2(0x21, 0x21, _V6), "2001:db8::7"),
    (_v2(0x21, 0x21, _MAPPED + _TLV), "192.0.2.7"),
    (_v2(0x21, 0x00, b""), None),
    (_v2(0x21, 0x00, _TLV), None),
    (_v2(0x21, 0x31, bytes(216)), None),
    (_v2(0x20, 0x00, b""), None),
    (_v2(0x20, 0x11, _V4), None),
    (_v2(0x21, 0x11, _V4.ljust(LONGEST - 16, b"\0")), "192.0.2.7"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n", "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 25\r\n", "2001:db8::7"),
    (b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 65535 0\r\n", "192.0.2.7"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN whatever may stand here\r\n", None),
]
BAD = [
    b"EHLO client.example\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00",
    b"\r\n\r\n\x00\r\nQUIT\r" + bytes(8),
    _v2(0x11, 0x11, _V4),
    _v2(0x22, 0x11, _V4),
    _v2(0x21, 0x12, _V4),
    _v2(0x21, 0x41, _V4),
    _v2(0x21, 0x11, _V4[:11]),
    _v2(0x21, 0x21, _V4),
    _v2(0x21, 0x11, _V4.ljust(LONGEST - 15, b"\0")),
    b"PROXY TCP4 192.0.2.7 198.51.100.1 5000\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25 1\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 65536\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 -1\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 5000 25\r\n",
    b"PROXY TCP4 192.0.2.7 nonsense 5000 25\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 5000 25\r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 5000 25\r\n",
    b"PROXY TCP4 192.0.2.7\n198.51.100.1 5000 25\r\n",
    b"PROXY UNKNOWN " + b"x" * 107 + b"\r\n",
]


@pytest.mark.parametrize(("sent", "client"), GOOD)
@pytest.mark.parametrize("most", [1, 7, LONGEST])
def test_a_header_names_the_client_and_leaves_what_follows(sent: bytes, client: str | None, most: int) -> None:
    header, left = _read(sent + b"\x16\x03\x01 hello", most)
    assert header.client == client
    assert left == b"\x16\x03\x01 hello"


@pytest.mark.parametrize("sent", BAD)
@pytest.mark.parametrize("most", [1, 7, LONGEST])
def test_what_is_no_header_is_refused(sent: bytes, most: int) -> None:
    with pytest.raises(ProxyHeaderError):
        _read(sent, most)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6), st.binary(max_size=400), st.binary(max_size=40))
def test_every_address_comes_through_version_2(address: IPv4Address | IPv6Address, extra: bytes, behind: bytes) -> None:
    family = 0x11 if address.version == 4 else 0x21
    header, left = _read(_v2(0x21, family, address.packed * 2 + b"\0\1\0\2" + extra) + behind)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    assert header.client == str(mapped or address)
    assert left == behind


@given(st.binary(max_size=700) | st.builds(bytes.__add__, st.sampled_from([SIGNATURE, b"PROXY TCP4 "]), st.binary()))
def test_no_octets_do_anything_but_name_a_client_or_be_refused(octets: bytes) -> None:
    header, read = ProxyHeader(), 0
    try:
        while header.wanted and read < len(octets):
            piece = octets[read : read + header.wanted]
            header.feed(piece)
            read += len(piece)
    except ProxyHeaderError:
        assert header.client is None
    assert read <= LONGEST

"""Behind a load balancer the client is whom the PROXY header names, and nobody else may send one."""

from __future__ import annotations

import pytest

from tests.fronts.smtp.house import GREETING, OK, Client, House

_V1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 25\r\n"
_V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x13\x88\x00\x19"
_LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
_CLIENTS = [(_V1, "192.0.2.7"), (_V2, "192.0.2.7"), (_LOCAL, "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1")]


def _last_words(client: Client) -> bytes:
    """What a client hears until it is cut off."""
    try:
        return client.rest()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(("header", "address"), _CLIENTS)
def test_the_header_names_the_client_before_starttls(house: House, header: bytes, address: str) -> None:
    client = house.connect(house.open(proxy=True)[1])
    client.send(header + b"NOOP\r\n")
    client.expect(GREETING + OK)
    client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    client.starttls(house.trust)
    client.say(b"NOOP\r\n", OK)
    assert house.made[-1]._session._client_address == address


@pytest.mark.parametrize(("header", "address"), _CLIENTS)
def test_the_header_names_the_client_before_tls(house: House, header: bytes, address: str) -> None:
    client = house.connect(house.open("tls", proxy=True)[1])
    client.send(header)
    client.starttls(house.trust)
    client.line()
    client.say(b"NOOP\r\n", OK)
    assert house.made[-1]._session._client_address == address


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_nobody_outside_the_trusted_networks_gets_a_word(house: House, mode: str) -> None:
    client = house.connect(house.open(mode, proxy=True, proxy_networks=("192.0.2.0/24",))[1])
    assert _last_words(client) == b""


def test_what_is_no_header_gets_no_word(house: House) -> None:
    client = house.connect(house.open(proxy=True)[1])
    client.send(b"EHLO client.example\r\n")
    assert _last_words(client) == b""


def test_who_sends_no_header_in_time_is_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sesrelay.fronts.smtp.arrivals.HEADER_SECONDS", 0.05)
    client = house.connect(house.open(proxy=True)[1])
    assert _last_words(client) == b""

"""TLS: mandatory, 1.2 at least, the region by its name, nothing of the clear survives, new certificates at once."""

from __future__ import annotations

import socket
import ssl
import struct

import pytest
import structlog

from sesrelay.certificates.pairs import BadPair
from sesrelay.fronts.smtp.tls import TlsContexts
from tests.fronts.smtp.house import CLEAR_EHLO, ENDPOINTS, GREETING, OK, PLAIN, SECURE_EHLO, House


@pytest.mark.parametrize("behind", [b"RSET\r\n", b"EHLO evil\r\nAUTH PLAIN " + PLAIN + b"\r\n", b"\x16\x03\x01 eager"])
def test_what_is_sent_in_clear_behind_starttls_is_never_executed(house: House, behind: bytes) -> None:
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    client.say(b"STARTTLS\r\n" + behind, b"220 Ready to start TLS\r\n")
    client.starttls(house.trust)
    client.say(b"NOOP\r\n", OK)
    client.say(b"MAIL FROM:<a@sender.example>\r\n", b"503 Error: send EHLO first\r\n")
    assert house.relay.logins == []


def test_many_upgrades_with_something_injected_never_execute_it(house: House) -> None:
    _, port = house.open()
    for _ in range(30):
        client = house.connect(port)
        client.expect(GREETING)
        client.say(b"EHLO me\r\nSTARTTLS\r\nNOOP\r\nEHLO evil\r\n", CLEAR_EHLO + b"220 Ready to start TLS\r\n")
        client.starttls(house.trust)
        client.send(b"EHLO good\r\nQUIT\r\n")
        assert client.rest() == SECURE_EHLO + b"221 Bye\r\n"


def test_ehlo_is_forgotten_after_starttls(house: House) -> None:
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    client.say(b"EHLO me\r\n", CLEAR_EHLO)
    client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    client.starttls(house.trust)
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"503 Error: send EHLO first\r\n")
    client.say(b"EHLO me\r\n", SECURE_EHLO)
    client.say(b"STARTTLS\r\n", b"503 Error: TLS is already active\r\n")
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"235 Authentication successful.\r\n")


@pytest.mark.parametrize("mode", ["starttls", "tls"])
@pytest.mark.parametrize("region", ENDPOINTS)
def test_the_name_that_the_client_asks_for_says_the_region(house: House, mode: str, region: str) -> None:
    name = ENDPOINTS[region]
    if mode == "tls":
        client = house.secure(house.open("tls")[1], name.upper())
        assert client.line().startswith(f"220 {name} ESMTP ".encode())
    else:
        client = house.connect(house.open()[1])
        client.expect(GREETING)
        client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
        client.starttls(house.trust, name)
    client.say(b"EHLO me\r\n", SECURE_EHLO.replace(ENDPOINTS["us-east-1"].encode(), name.encode()))
    client.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"235 Authentication successful.\r\n")
    assert house.relay.logins[0][2] == region


def test_a_name_of_nobodys_gets_the_default_region(house: House) -> None:
    client = house.secure(house.open("tls")[1], "localhost")
    client.expect(GREETING)


def test_older_than_tls_1_2_is_refused(house: House) -> None:
    _, port = house.open("tls")
    old = ssl.create_default_context()
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLS"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLS"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(OSError, match=r"(?i)protocol|version|reset|EOF"):
        house.connect(port).starttls(old)
    house.secure(port).expect(GREETING)


def test_every_context_asks_for_tls_1_2_at_least(house: House) -> None:
    contexts = {house.tls.default, house.tls._nameless, *house.tls._by_name.values()}
    assert len(contexts) > len(ENDPOINTS)
    assert all(context.minimum_version is ssl.TLSVersion.TLSv1_2 for context in contexts)


def serial(house: House, port: int, name: str) -> bytes:
    client = house.secure(port, name)
    certificate = client.socket.getpeercert(binary_form=True)
    client.socket.close()
    return certificate


def test_a_new_certificate_is_taken_while_the_door_is_open(house: House) -> None:
    _, port = house.open("tls")
    before = {name: serial(house, port, name) for name in (*ENDPOINTS.values(), "localhost")}
    assert not house.tls.changed()
    house.write_certificate("server")
    assert house.tls.changed()
    assert house.call(house.tls.reload)
    assert not house.tls.changed()
    after = {name: serial(house, port, name) for name in before}
    assert len({*before.values()}) == 1
    assert len({*after.values()}) == 1
    assert {*before.values()}.isdisjoint(after.values())


@pytest.mark.parametrize("harm", ["no certificate", "no key", "garbage", "another key"])
def test_a_bad_pair_leaves_the_old_one_and_says_so(house: House, harm: str) -> None:
    _, port = house.open("tls")
    before = serial(house, port, "localhost")
    house.write_certificate("other")
    if harm == "no certificate":
        (house.folder / "server.pem").unlink()
    elif harm == "no key":
        (house.folder / "server.key").unlink()
    elif harm == "garbage":
        (house.folder / "server.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n")
    else:
        (house.folder / "other.key").rename(house.folder / "server.key")
    with structlog.testing.capture_logs() as logs:
        assert not house.call(house.tls.reload)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("tls.certificate_not_loaded", "error")]
    assert serial(house, port, "localhost") == before
    assert house.tls.changed()


def test_a_pair_that_cannot_be_used_is_an_error_at_start(house: House) -> None:
    with pytest.raises(BadPair, match=r"none\.pem: No such file or directory"):
        TlsContexts(house.folder / "none.pem", house.folder / "server.key", ENDPOINTS)


def test_a_handshake_that_fails_leaves_nothing_behind(house: House) -> None:
    door, port = house.open()
    for _ in range(5):
        client = house.connect(port)
        client.expect(GREETING)
        client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
        client.send(b"this is no TLS at all\r\n\r\n")
        client.rest()
    house.until(lambda: door.connections == 0 and house.connections._by_address.total() == 0)


def test_a_client_that_vanishes_in_the_handshake_leaves_nothing_behind(house: House) -> None:
    door, port = house.open()
    client = house.connect(port)
    client.expect(GREETING)
    client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()
    house.until(lambda: door.connections == 0)


def test_a_handshake_has_its_time_limit(house: House) -> None:
    door, port = house.open(tls_handshake_seconds=0.05)
    client = house.connect(port)
    client.expect(GREETING)
    client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    assert client.rest() == b""
    house.until(lambda: door.connections == 0)

"""TLS: mandatory, 1.2 at least, the region by its name, nothing of the clear survives, new certificates at once."""

from __future__ import annotations

import socket
import ssl
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from sesrelay.certificates.pairs import BadPair, PairFiles, _names
from sesrelay.connections.handshakes import Handshakes
from sesrelay.fronts.smtp.tls import TlsContexts
from sesrelay.model.clock import DAY, SECOND
from tests.fronts.smtp.house import (
    ACCEPTED,
    CLEAR_EHLO,
    ENDPOINTS,
    ENVELOPE,
    GO,
    GREETING,
    OK,
    PLAIN,
    SECURE_EHLO,
    House,
)


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
    contexts = {house.tls.default, *house.tls._choice.contexts()}
    assert len(contexts) > len(ENDPOINTS)
    assert all(context.minimum_version is ssl.TLSVersion.TLSv1_2 for context in contexts)


def serial(house: House, port: int, name: str, *, verified: bool = True) -> bytes:
    context = house.trust
    if not verified:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = house.connect(port).starttls(context, name)
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


def shown(house: House, port: int, name: str | None, mode: str = "tls", **limits: Any) -> tuple[str, tuple[str, ...]]:
    """The kind of key and the names of the certificate that a client gets."""
    client = house.connect(port)
    if mode == "starttls":
        client.expect(GREETING)
        client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    house.authority.configure_trust(context)
    context.check_hostname = False
    if "ciphers" in limits:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(limits["ciphers"])
    connection = context.wrap_socket(client.socket, server_hostname=name)
    leaf = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    connection.close()
    kind = "RSA" if isinstance(leaf.public_key(), rsa.RSAPublicKey) else "EC"
    return kind, _names(leaf)


def further(house: House, name: str, *hosts: str, **options: Any) -> PairFiles:
    """Another certificate beside the first."""
    write(house, name, house.authority.issue_cert(*hosts, **options))
    return PairFiles(house.folder / f"{name}.pem", house.folder / f"{name}.key")


def write(house: House, name: str, leaf: trustme.LeafCert) -> None:
    leaf.private_key_pem.write_to_path(str(house.folder / f"{name}.key"))
    (house.folder / f"{name}.pem").write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))


ALL = (*ENDPOINTS.values(), "localhost")
EUROPE = ENDPOINTS["eu-west-1"]


def with_others(house: House, *others: PairFiles, kind: trustme.KeyType = trustme.KeyType.RSA) -> None:
    """The door shows these too, and a first one of that kind."""
    write(house, "server", house.authority.issue_cert(*ALL, key_type=kind))
    house.tls = TlsContexts(
        *(house.folder / "server.pem", house.folder / "server.key", ENDPOINTS, others), now=house.clock.now
    )


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_each_name_gets_its_certificate(house: House, mode: str) -> None:
    europe = further(house, "europe", EUROPE)
    aliases = further(house, "aliases", "smtp.example", "*.mail.example")
    with_others(house, europe, aliases)
    _, port = house.open(mode)
    table = {
        EUROPE: (EUROPE,),
        EUROPE.upper(): (EUROPE,),
        ENDPOINTS["us-east-1"]: ALL,
        "smtp.example": ("smtp.example", "*.mail.example"),
        "a.mail.example": ("smtp.example", "*.mail.example"),
        "a.b.mail.example": ALL,
        "nobody.test": ALL,
        None: ALL,
    }
    assert {name: shown(house, port, name, mode)[1] for name in table} == table


@pytest.mark.parametrize("name", [*ALL, None])
def test_of_two_kinds_of_key_for_a_name_the_clients_abilities_choose(house: House, name: str | None) -> None:
    with_others(house, further(house, "p256", *ALL, key_type=trustme.KeyType.ECDSA))
    _, port = house.open("tls")
    assert shown(house, port, name) == ("EC", ALL)
    assert shown(house, port, name, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384") == ("EC", ALL)
    assert shown(house, port, name, ciphers="ECDHE-RSA-AES256-GCM-SHA384") == ("RSA", ALL)


def test_a_region_keeps_its_name_with_a_certificate_of_its_own(house: House) -> None:
    with_others(house, further(house, "europe", EUROPE))
    client = house.secure(house.open("tls")[1], EUROPE)
    assert client.line().startswith(f"220 {EUROPE} ESMTP ".encode())


def test_a_new_certificate_may_have_another_kind_of_key_and_other_names(house: House) -> None:
    other = further(house, "other", "smtp.example")
    with_others(house, other)
    _, port = house.open("tls")
    assert shown(house, port, None)[0] == "RSA"
    write(house, "server", house.authority.issue_cert(*ALL, key_type=trustme.KeyType.ECDSA))
    write(house, "other", house.authority.issue_cert("mx.example"))
    assert house.call(house.tls.reload)
    assert shown(house, port, None, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384") == ("EC", ALL)
    with pytest.raises(ssl.SSLError):
        shown(house, port, None, ciphers="ECDHE-RSA-AES256-GCM-SHA384")
    assert shown(house, port, "mx.example")[1] == ("mx.example",)
    assert shown(house, port, "smtp.example")[1] == ALL


def test_one_bad_pair_does_not_keep_the_others_from_being_new(house: House) -> None:
    europe = further(house, "europe", EUROPE)
    with_others(house, europe)
    _, port = house.open("tls")
    europe.certificate.write_text("-----BEGIN CERTIFICATE-----\nhalf")
    write(house, "server", house.authority.issue_cert(*ALL, "new.example", key_type=trustme.KeyType.RSA))
    with structlog.testing.capture_logs() as logs:
        assert not house.call(house.tls.reload)
        assert not house.call(house.tls.reload)
    assert [entry["log_level"] for entry in logs] == ["info", "error"]  # complained of once
    assert shown(house, port, EUROPE)[1] == (EUROPE,)
    assert shown(house, port, "new.example")[1] == (*ALL, "new.example")
    assert house.tls.faults == (f"{europe.certificate}: has a certificate that is damaged, or not written to its end",)
    further(house, "europe", EUROPE)
    assert house.call(house.tls.reload)
    assert house.tls.faults == ()


@pytest.mark.parametrize(("begins", "ends"), [(-90, -1), (1, 90)])
def test_one_that_has_ended_or_not_begun_never_replaces_a_good_one(house: House, begins: int, ends: int) -> None:
    with_others(house)
    _, port = house.open("tls")
    house.clock.set_wall(house.tls.pairs[0].begins + DAY)
    now = datetime.fromtimestamp(house.clock.now() / SECOND, UTC)
    days = {"not_before": now + timedelta(days=begins), "not_after": now + timedelta(days=ends)}
    before = serial(house, port, "localhost")
    write(house, "server", house.authority.issue_cert(*ALL, key_type=trustme.KeyType.RSA, **days))
    assert not house.call(house.tls.reload)
    assert serial(house, port, "localhost") == before
    house.clock.set_wall(house.tls.pairs[0].ends + DAY)  # now the old one is no better
    assert house.call(house.tls.reload)
    assert serial(house, port, "localhost", verified=False) != before


def test_files_that_are_being_written_are_left_alone_until_they_stand_still(house: House) -> None:
    with_others(house)
    _, port = house.open("tls")
    before = serial(house, port, "localhost")
    new = house.authority.issue_cert(*ALL)
    assert not house.tls.look()
    new.private_key_pem.write_to_path(str(house.folder / "server.key"))
    assert not house.tls.look()
    write(house, "server", new)
    assert not house.tls.look()
    assert serial(house, port, "localhost") == before
    assert house.tls.look()
    assert house.call(house.tls.reload)
    assert not house.tls.look()
    assert serial(house, port, "localhost") != before


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


def test_where_every_name_gets_the_same_nobody_is_asked_for_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a new certificate is shown all the same."""
    region, name = next(iter(ENDPOINTS.items()))
    files = house.folder / "server.pem", house.folder / "server.key"
    house.tls = TlsContexts(*files, {region: name})
    monkeypatch.setattr(house.tls.default, "sni_callback", lambda *_: ssl.ALERT_DESCRIPTION_INTERNAL_ERROR)
    _, port = house.open("tls")
    before = serial(house, port, name)
    house.write_certificate("server")
    assert house.call(house.tls.reload)
    assert serial(house, port, "localhost") != before
    house.secure(port).expect(GREETING)


def test_where_names_matter_a_handshake_begins_with_what_asks_for_them(house: House) -> None:
    files = house.folder / "server.pem", house.folder / "server.key"
    assert house.tls.first is house.tls.default
    two = TlsContexts(*files, {"us-east-1": ENDPOINTS["us-east-1"]}, [PairFiles(*files)])
    assert two.first is two.default


def test_starttls_waits_for_its_turn(house: House) -> None:
    """And no longer than a handshake may take; nothing that is sent meanwhile in clear is executed."""
    house.handshakes = Handshakes(most_per_address=1)
    _, port = house.open(tls_handshake_seconds=1)
    first, second = house.connect(port), house.connect(port)
    for each in (first, second):
        each.expect(GREETING)
    first.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    assert house.handshakes.under_way == 1
    second.send(b"STARTTLS\r\nRSET\r\n")
    house.until(lambda: len(house.handshakes._parked) == 1)
    first.starttls(house.trust)
    first.say(b"NOOP\r\n", OK)
    second.expect(b"220 Ready to start TLS\r\n")
    second.starttls(house.trust)
    second.say(b"NOOP\r\n", OK)
    house.until(lambda: not house.handshakes.under_way)


NO_TURN = b"454 4.7.0 Too many TLS handshakes under way, please try again\r\n"


def test_starttls_that_gets_no_turn_is_told_so_and_may_come_again(house: House) -> None:
    """What came in clear behind it may have been for TLS, and is not executed."""
    house.handshakes = Handshakes(most_per_address=0)
    door, port = house.open(tls_handshake_seconds=0.05)
    client = house.connect(port)
    client.expect(GREETING)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            client.say(b"STARTTLS\r\nVRFY a\r\n", NO_TURN)
    assert [(entry["event"], entry["reason"]) for entry in logs] == [("smtp.tls_handshake_failed", "no turn in time")]
    assert not house.handshakes._ready
    client.say(b"NOOP\r\n", OK)
    house.handshakes._most_per_address = 1
    door.bounds = door.bounds.model_copy(update={"tls_handshake_seconds": 30})
    client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    client.starttls(house.trust)
    client.say(b"EHLO me\r\n", SECURE_EHLO)


def test_starttls_again_and_again_is_no_way_to_stay_without_a_login(house: House) -> None:
    house.handshakes = Handshakes(most_per_address=0)
    door, port = house.open()
    client = house.connect(port)
    client.expect(GREETING)
    client.send(b"STARTTLS\r\n")
    house.until(lambda: len(house.handshakes._parked) == 1)
    house.advance(door.bounds.login_seconds)
    (waiting,) = house.handshakes._parked["127.0.0.1"]
    house.call(waiting.cut)  # its time is over
    assert client.rest() == NO_TURN + b"421 Connection closed by server. No authentication in time.\r\n"
    house.until(lambda: not door.connections)


def test_starttls_whose_client_goes_while_it_waits_leaves_nothing_behind(house: House) -> None:
    house.handshakes = Handshakes(most_per_address=0)
    door, port = house.open()
    client = house.connect(port)
    client.expect(GREETING)
    client.send(b"STARTTLS\r\n")
    house.until(lambda: len(house.handshakes._parked) == 1)
    client.socket.close()
    house.until(lambda: not door.connections and not any(house.handshakes._parked.values()))


def test_a_session_that_has_sent_much_is_here_to_stay(house: House) -> None:
    """Ten messages, and the next one counts."""
    client = house.logged_in()
    for number in range(11):
        assert house.handshakes._working is False, number
        client.say(ENVELOPE, OK + OK + GO)
        client.say(b"x\r\n.\r\n", ACCEPTED)
    house.until(lambda: house.handshakes._working)


def test_starttls_that_never_goes_on_makes_room(house: House) -> None:
    house.handshakes = Handshakes(most=1)
    door, port = house.open()
    slow = house.connect(port)
    slow.expect(GREETING)
    slow.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    client = house.connect(port)
    client.expect(GREETING)
    client.say(b"STARTTLS\r\n", b"220 Ready to start TLS\r\n")
    assert slow.rest() == b""
    client.starttls(house.trust)
    client.say(b"NOOP\r\n", OK)
    house.until(lambda: door.connections == 1 and not house.handshakes.under_way)

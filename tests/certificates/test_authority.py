"""The relay's own CA: what it has signed it renews, and nothing else; a crash leaves a pair that fits."""

from __future__ import annotations

import os
import ssl
from datetime import datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sesrelay.certificates.authority import AUTHORITY_VALID, RENEW_DAYS, SERVER_VALID, Authority, Renewal, renew
from sesrelay.certificates.pairs import BadPair, PairFiles, read
from sesrelay.model.clock import DAY, SECOND, Micros
from sesrelay.model.failure import Failed

NOW: Micros = 1_790_000_000 * SECOND
DOMAIN = "relay.test"
REGIONS = ("us-east-1", "eu-west-1")


def set_up(folder: Path, regions: tuple[str, ...] = REGIONS[:1]) -> Renewal:
    """As ``init`` does it."""
    files = PairFiles(folder / "server.pem", folder / "server.key")
    Authority.of(folder, NOW).server(DOMAIN, regions, NOW).write(files.certificate, files.private_key)
    return Renewal((files,), DOMAIN, regions)


def leaf(files: PairFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes())


def test_a_server_certificate_lasts_as_long_as_apple_takes_it_and_the_ca_much_longer(tmp_path: Path) -> None:
    (files,) = set_up(tmp_path).files
    made = leaf(files)
    ca = Authority.found(tmp_path).certificate
    assert made.not_valid_after_utc - made.not_valid_before_utc == SERVER_VALID
    assert ca.not_valid_after_utc - ca.not_valid_before_utc == AUTHORITY_VALID


def test_a_renewed_certificate_keeps_its_key_and_is_of_the_same_ca(tmp_path: Path) -> None:
    renewal = set_up(tmp_path)
    (files,) = renewal.files
    before, key = leaf(files), files.private_key.read_bytes()
    assert renew(renewal, tmp_path, NOW + 800 * DAY) == [files]
    after = leaf(files)
    assert files.private_key.read_bytes() == key
    assert after.serial_number != before.serial_number
    assert after.not_valid_after_utc > before.not_valid_after_utc
    after.verify_directly_issued_by(Authority.found(tmp_path).certificate)
    assert read(files).holds(NOW + 900 * DAY)


def test_a_new_key_is_made_when_it_is_wanted(tmp_path: Path) -> None:
    renewal = set_up(tmp_path)
    (files,) = renewal.files
    key = files.private_key.read_bytes()
    renew(renewal, tmp_path, NOW, new_key=True)
    assert files.private_key.read_bytes() != key
    assert files.private_key.stat().st_mode & 0o777 == 0o600
    assert files.certificate.stat().st_mode & 0o777 == 0o644
    read(files)


def test_added_regions_get_their_names_and_a_cn_for_perl(tmp_path: Path) -> None:
    (files,) = set_up(tmp_path).files
    renewal = Renewal((files,), DOMAIN, REGIONS)
    assert renewal.due(read(files), NOW)
    renew(renewal, tmp_path, NOW, only_due=True)
    names = read(files).names
    assert {f"{service}.{region}.relay.test" for service in ("email-smtp", "email") for region in REGIONS} <= {*names}
    common = [each.value for each in leaf(files).subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    assert common == [f"email.{region}.relay.test" for region in REGIONS]
    assert not renewal.due(read(files), NOW)
    assert renew(renewal, tmp_path, NOW, only_due=True) == []


def test_no_name_is_taken_away(tmp_path: Path) -> None:
    (files,) = set_up(tmp_path).files
    renew(Renewal((files,), "other.test", REGIONS), tmp_path, NOW)
    names = read(files).names
    assert "email-smtp.us-east-1.relay.test" in names
    assert "email-smtp.eu-west-1.other.test" in names


def test_a_further_certificate_keeps_its_own_names_and_kind_of_key(tmp_path: Path) -> None:
    (default,) = set_up(tmp_path).files
    authority = Authority.found(tmp_path)
    alias = PairFiles(tmp_path / "alias.pem", tmp_path / "alias.key")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "smtp.example")])
    key = ec.generate_private_key(ec.SECP256R1())
    made = authority.sign(subject, [x509.DNSName("smtp.example")], NOW, key)
    made.write(alias.certificate, alias.private_key)
    renewal = Renewal((default, alias), DOMAIN, REGIONS[:1])
    assert not renewal.due(read(alias), NOW)
    assert renew(renewal, tmp_path, NOW + 800 * DAY, only_due=True) == [default, alias]
    assert (read(alias).names, read(alias).kind) == (("smtp.example",), "EC")


@pytest.mark.parametrize(("days", "due"), [(RENEW_DAYS + 1, False), (RENEW_DAYS - 1, True)])
def test_it_is_renewed_before_anybody_is_warned(tmp_path: Path, days: int, due: bool) -> None:
    renewal = set_up(tmp_path)
    pair = read(renewal.files[0])
    now = pair.ends - days * DAY
    assert renewal.due(pair, now) == due
    assert bool(renew(renewal, tmp_path, now, only_due=True)) == due


def test_a_certificate_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    renewal = set_up(tmp_path)
    (files,) = renewal.files
    other = trustme.CA().issue_cert("email.us-east-1.relay.test")
    other.private_key_pem.write_to_path(str(files.private_key))
    other.cert_chain_pems[0].write_to_path(str(files.certificate))
    before = files.certificate.read_bytes()
    assert renew(renewal, tmp_path, NOW + 800 * DAY) == []
    assert files.certificate.read_bytes() == before


def test_one_that_only_says_that_our_ca_has_signed_it_is_left_alone(tmp_path: Path) -> None:
    renewal = set_up(tmp_path)
    (files,) = renewal.files
    files.certificate.unlink()
    files.private_key.unlink()
    (tmp_path / "theirs").mkdir()
    Authority.of(tmp_path / "theirs", NOW).server(DOMAIN, REGIONS, NOW).write(files.certificate, files.private_key)
    assert renew(renewal, tmp_path, NOW) == []


def test_a_renewal_that_was_interrupted_between_key_and_certificate_is_mended_by_the_next(tmp_path: Path) -> None:
    renewal = set_up(tmp_path)
    (files,) = renewal.files
    certificate = files.certificate.read_bytes()
    renew(renewal, tmp_path, NOW, new_key=True)
    files.certificate.write_bytes(certificate)
    with pytest.raises(BadPair):
        read(files)
    renew(renewal, tmp_path, NOW)
    read(files)


def test_a_renewal_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renewal = set_up(tmp_path)
    (files,) = renewal.files
    before = files.certificate.read_bytes()

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        renew(renewal, tmp_path, NOW)
    assert files.certificate.read_bytes() == before
    monkeypatch.undo()
    renew(renewal, tmp_path, NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.key", "ca.pem", "server.key", "server.pem"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    renewal = set_up(tmp_path)
    (files,) = renewal.files
    (tmp_path / "live").mkdir()
    files.certificate.rename(tmp_path / "live" / "1.pem")
    files.certificate.symlink_to("live/1.pem")
    renew(renewal, tmp_path, NOW)
    assert files.certificate.is_symlink()
    read(files)


def test_a_certificate_never_outlives_its_ca(tmp_path: Path) -> None:
    renewal = set_up(tmp_path)
    ca = Authority.found(tmp_path).certificate
    ends = round(ca.not_valid_after_utc.timestamp()) * SECOND
    renew(renewal, tmp_path, ends - 200 * DAY)
    assert leaf(renewal.files[0]).not_valid_after_utc == ca.not_valid_after_utc
    with pytest.raises(Failed, match=f"the CA itself ends on {ca.not_valid_after_utc:%Y-%m-%d}"):
        renew(renewal, tmp_path, ends - 30 * DAY)


def test_without_the_cas_key_nothing_can_be_renewed(tmp_path: Path) -> None:
    renewal = set_up(tmp_path)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(FileNotFoundError):
        renew(renewal, tmp_path, NOW)


def test_clients_that_trust_the_ca_take_the_renewed_certificate_by_strict_rules(tmp_path: Path) -> None:
    now = round(datetime.now().timestamp()) * SECOND
    renewal = set_up(tmp_path)
    (files,) = renewal.files
    renew(Renewal(renewal.files, DOMAIN, REGIONS), tmp_path, now)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(files.certificate, files.private_key)
    theirs = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    theirs.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ours.wrap_bio(up, down, server_side=True)
    client = theirs.wrap_bio(down, up, server_hostname="email-smtp.eu-west-1.relay.test")
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() == "TLSv1.3"

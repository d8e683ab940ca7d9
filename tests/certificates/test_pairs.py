"""A certificate and its key: what cannot be used and why, and which of several a name gets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.certificates.pairs import BadPair, Pair, PairFiles, for_name, read, remarks, uncovered
from sesrelay.model.clock import DAY, HOUR, SECOND

NOW = 1_790_000_000 * SECOND


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def write(folder: Path, leaf: trustme.LeafCert) -> PairFiles:
    files = PairFiles(folder / "server.pem", folder / "server.key")
    leaf.private_key_pem.write_to_path(str(files.private_key))
    files.certificate.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
    return files


def test_a_pair_tells_what_is_in_it(tmp_path: Path, authority: trustme.CA) -> None:
    ends = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    leaf = authority.issue_cert("A.example", "*.b.example", not_after=ends, key_type=trustme.KeyType.RSA)
    pair = read(write(tmp_path, leaf))
    assert pair.names == ("a.example", "*.b.example")
    assert pair.kind == "RSA"
    assert pair.ends == round(ends.timestamp()) * SECOND
    assert "trustme" in pair.issuer
    assert read(write(tmp_path, authority.issue_cert("a.example", key_type=trustme.KeyType.ECDSA))).kind == "EC"


def test_a_chain_ends_with_the_first_of_it(tmp_path: Path, authority: trustme.CA) -> None:
    soon, later = (datetime(year, 1, 1, tzinfo=UTC) for year in (2027, 2028))
    files = write(tmp_path, authority.issue_cert("a.example", not_after=later))
    with files.certificate.open("ab") as file:
        file.write(authority.issue_cert("between", not_after=soon).cert_chain_pems[0].bytes())
    assert read(files).ends == round(soon.timestamp()) * SECOND


def lock(file: Path) -> None:
    key = load_pem_private_key(file.read_bytes(), None)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


def break_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-70])


@pytest.mark.parametrize(
    ("part", "harm", "words"),
    [
        ("certificate", Path.unlink, "No such file or directory"),
        ("private_key", Path.unlink, "No such file or directory"),
        ("certificate", lambda file: file.write_text("x"), "is no PEM file with a certificate"),
        ("private_key", lambda file: file.write_text("x"), "is no PEM file with a private key"),
        ("certificate", break_off, "not written to its end"),
        ("private_key", break_off, "not written to its end"),
        ("private_key", lock, "has a password"),
    ],
)
def test_a_pair_that_cannot_be_used_says_which_file_and_why(
    tmp_path: Path, authority: trustme.CA, part: str, harm: Callable[[Path], object], words: str
) -> None:
    files = write(tmp_path, authority.issue_cert("a.example"))
    harm(getattr(files, part))
    with pytest.raises(BadPair, match=words) as caught:
        read(files)
    assert caught.value.part == part
    assert str(caught.value).startswith(f"{getattr(files, part)}: ")


def test_a_certificate_of_another_key_is_no_pair(tmp_path: Path, authority: trustme.CA) -> None:
    files = write(tmp_path, authority.issue_cert("a.example"))
    authority.issue_cert("a.example").private_key_pem.write_to_path(str(files.private_key))
    with pytest.raises(BadPair, match=f"is not the certificate of the key {files.private_key}") as caught:
        read(files)
    assert caught.value.part == "certificate"


@pytest.fixture(scope="module")
def leaf(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Pair:
    return read(write(tmp_path_factory.mktemp("leaf"), authority.issue_cert("a.example")))


def made(leaf: Pair, kind: str, *names: str, days: int = 100) -> Pair:
    return Pair(leaf.files, names, kind, NOW - DAY, NOW + days * DAY, "", leaf.leaf, b"")


def test_which_certificates_a_name_gets(leaf: Pair) -> None:
    default = made(leaf, "RSA", "a.example", "b.example")
    p256 = made(leaf, "EC", "a.example", "b.example", "c.example")
    alias = made(leaf, "RSA", "c.example")
    wild = made(leaf, "RSA", "*.example")
    others = [p256, alias, wild]
    table = {
        "a.example": (default, p256),
        "c.example": (p256, alias),
        "d.example": (wild,),
        "a.d.example": (default, p256),
        "nobody.test": (default, p256),
        None: (default, p256),
    }
    for name, shown in table.items():
        assert set(for_name(name, default, others)) == set(shown), name


def test_without_a_name_no_certificate_is_shown_that_is_for_less_than_the_default_one(leaf: Pair) -> None:
    default, p256 = made(leaf, "RSA", "a.example", "b.example"), made(leaf, "EC", "a.example")
    assert for_name(None, default, [p256]) == (default,)
    assert set(for_name("a.example", default, [p256])) == {default, p256}
    assert for_name("b.example", default, [p256]) == (default,)


NAMES = ["a.example", "b.example", "*.example", "x.a.example", "*.a.example", "other.test"]


@given(st.lists(st.tuples(st.sampled_from(["RSA", "EC"]), st.sets(st.sampled_from(NAMES), min_size=1)), min_size=1))
def test_whoever_can_be_content_is_and_each_kind_is_shown_once(leaf: Pair, drawn: list[tuple[str, set[str]]]) -> None:
    default, *others = [made(leaf, kind, *sorted(names), days=n) for n, (kind, names) in enumerate(drawn)]
    for name in [*NAMES, None]:
        shown = for_name(name, default, others)
        assert len({pair.kind for pair in shown}) == len(shown) > 0
        fitting = [pair for pair in (default, *others) if name and pair.covers(name)]
        if fitting:
            assert all(pair in fitting for pair in shown)
            assert {pair.kind for pair in shown} == {pair.kind for pair in fitting}
        else:
            assert default in shown


def test_a_wildcard_is_for_one_label(leaf: Pair) -> None:
    wild = made(leaf, "RSA", "*.b.example")
    assert wild.covers("a.b.example")
    assert not any(wild.covers(name) for name in ("b.example", "x.a.b.example", "a.c.example"))
    assert uncovered(["A.b.example", "b.example"], [wild]) == ["b.example"]


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (timedelta(days=31), []),
        (timedelta(days=29, hours=1), [("expires in 29 days", False)]),
        (timedelta(days=7, hours=1), [("expires in 7 days", False)]),
        (timedelta(days=6, hours=1), [("expires in 6 days", True)]),
        (timedelta(days=1, hours=1), [("expires tomorrow", True)]),
        (timedelta(hours=3), [("expires within a day", True)]),
        (timedelta(0), [("has expired: clients refuse it", True)]),
        (timedelta(days=-3), [("has expired: clients refuse it", True)]),
    ],
)
def test_what_is_said_of_a_certificate_that_ends(leaf: Pair, left: timedelta, expected: list[tuple[str, bool]]) -> None:
    pair = made(leaf, "RSA", "a.example", days=1000)
    assert list(remarks(pair, pair.ends - round(left.total_seconds()) * SECOND)) == expected


def test_a_certificate_that_has_not_begun_is_urgent(leaf: Pair) -> None:
    pair = made(leaf, "RSA", "a.example")
    assert [urgent for _, urgent in remarks(pair, pair.begins - HOUR)] == [True]
    assert [pair.holds(at) for at in (pair.begins - 1, pair.begins, pair.ends - 1, pair.ends)] == [
        *(False, True, True, False)
    ]

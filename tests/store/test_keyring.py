"""The keyring file: private, whole, the right one; and secrets that open only in their own row."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.store import keyring as rings
from sesrelay.store.errors import WrongKeyring
from sesrelay.store.keyring import Keyring, KeyringDamaged, KeyringError, KeyringMissing, KeyringTooOpen
from sesrelay.store.secrets import Sealed, SecretUnreadable, seal, unseal


@pytest.fixture
def keyring() -> Keyring:
    return rings.new_keyring(os.urandom)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring"


def test_a_keyring_reads_back_and_is_private(keyring: Keyring, path: Path) -> None:
    rings.create(path, keyring)
    assert rings.load(path) == keyring
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_existing_keyring_is_never_written_over(keyring: Keyring, path: Path) -> None:
    rings.create(path, keyring)
    with pytest.raises(FileExistsError):
        rings.create(path, rings.new_keyring(os.urandom))
    assert rings.load(path) == keyring


def test_a_keyring_that_could_not_be_written_leaves_no_file(
    keyring: Keyring, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError("injected")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="injected"):
        rings.create(path, keyring)
    assert not path.exists()


def test_a_missing_keyring_says_what_it_means(path: Path) -> None:
    with pytest.raises(KeyringMissing, match=f"^keyring {path} is missing: without it no stored secret can be read$"):
        rings.load(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_keyring_that_others_may_touch_is_refused(keyring: Keyring, path: Path, mode: int) -> None:
    rings.create(path, keyring)
    path.chmod(mode)
    with pytest.raises(KeyringTooOpen, match=f"has mode {mode:04o}: chmod 600 it$"):
        rings.load(path)


KEY = {"id": "a", "key": "A" * 43 + "="}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps({"format": 1, "keys": []}),
        json.dumps({"format": 2, "keys": [KEY]}),
        json.dumps({"format": 1, "keys": [KEY, KEY]}),
        json.dumps({"format": 1, "keys": ["a"]}),
        json.dumps({"format": 1, "keys": [{"id": "a"}]}),
        json.dumps({"format": 1, "keys": [{"id": "", "key": KEY["key"]}]}),
        json.dumps({"format": 1, "keys": [{"id": 1, "key": KEY["key"]}]}),
        json.dumps({"format": 1, "keys": [{"id": "a", "key": "AAAA"}]}),
        json.dumps({"format": 1, "keys": [{"id": "a", "key": "!" + KEY["key"]}]}),
        "\udcff",
    ],
)
def test_a_damaged_keyring_is_refused(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(KeyringDamaged, match=r"is damaged: restore it from its backup$"):
        rings.load(path)


def test_a_folder_is_no_keyring(path: Path) -> None:
    path.mkdir(mode=0o700)
    with pytest.raises(KeyringDamaged, match="is not a file"):
        rings.load(path)


def test_whatever_else_the_system_says_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyringError, match="Not a directory"):
        rings.load(tmp_path / "file" / "keyring")


def test_no_key_is_ever_shown(keyring: Keyring) -> None:
    assert keyring.newest.key.hex() not in repr(keyring)
    assert repr(keyring.newest.key) not in repr(keyring)


def test_after_a_rotation_the_newest_encrypts_and_the_older_still_decrypts(keyring: Keyring, path: Path) -> None:
    rings.create(path, keyring)
    sealed = seal(keyring, "access_keys", "AKIA1", b"secret", os.urandom)
    rings.replace(path, keyring.rotated(os.urandom))
    rotated = rings.load(path)
    assert len(rotated.keys) == 2
    assert unseal(rotated, "access_keys", "AKIA1", sealed) == b"secret"
    again = seal(rotated, "access_keys", "AKIA1", b"secret", os.urandom)
    assert again.master_key_id == rotated.newest.key_id != sealed.master_key_id
    with pytest.raises(SecretUnreadable, match=f"master key {again.master_key_id} is not in the keyring"):
        unseal(keyring, "access_keys", "AKIA1", again)


def test_a_replacement_left_half_done_is_no_obstacle(keyring: Keyring, path: Path) -> None:
    rings.create(path, keyring)
    path.with_name("keyring.new").write_text("half")
    rings.replace(path, keyring.rotated(os.urandom))
    assert len(rings.load(path).keys) == 2
    assert sorted(p.name for p in path.parent.iterdir()) == ["keyring"]


def test_the_check_value_knows_its_keyring_through_rotations(keyring: Keyring) -> None:
    value = rings.check_value(keyring)
    rings.verify(keyring, value)
    rings.verify(keyring.rotated(os.urandom), value)
    assert keyring.newest.key.hex() not in value


@pytest.mark.parametrize("value", ["", "nonsense", ":"])
def test_a_value_that_no_keyring_made_is_wrong(keyring: Keyring, value: str) -> None:
    with pytest.raises(WrongKeyring):
        rings.verify(keyring, value)


def test_another_keyring_is_wrong_even_with_the_same_key_ids(keyring: Keyring) -> None:
    stranger = rings.new_keyring(os.urandom)
    namesake = Keyring((rings.MasterKey(keyring.newest.key_id, stranger.newest.key),))
    for wrong in (stranger, namesake):
        with pytest.raises(WrongKeyring, match="not the one that this database was made with"):
            rings.verify(wrong, rings.check_value(keyring))


def test_keys_for_different_purposes_and_epochs_differ(keyring: Keyring) -> None:
    places = [("verp", 0), ("verp", 1), ("cookie", 0), ("verp 1", 0)]
    assert len({keyring.derive(*place) for place in places} | {keyring.newest.key}) == 5
    assert keyring.derive("verp", 0) == keyring.derive("verp", 0)


def test_what_was_derived_before_a_rotation_is_still_known(keyring: Keyring) -> None:
    rotated = keyring.rotated(os.urandom)
    assert rotated.derived("verp", 0) == (rotated.derive("verp", 0), keyring.derive("verp", 0))


def test_a_derived_key_stays_the_same_from_release_to_release() -> None:
    keyring = Keyring((rings.MasterKey("a", bytes(range(32))),))
    assert keyring.derive("verp", 7).hex() == "1025975ae48ca0ef980f246192e49b54cd5683504b7f69fe92d6cb56374b5940"


@given(secret=st.binary(), row_id=st.text(min_size=1))
def test_a_secret_opens_in_its_own_row_only(secret: bytes, row_id: str) -> None:
    keyring = rings.new_keyring(os.urandom)
    sealed = seal(keyring, "access_keys", row_id, secret, os.urandom)
    assert unseal(keyring, "access_keys", row_id, sealed) == secret
    for place in (("access_keys", row_id + "x"), ("users", row_id)):
        with pytest.raises(SecretUnreadable, match="damaged"):
            unseal(keyring, *place, sealed)


@pytest.mark.parametrize("part", ["nonce", "secret"])
def test_a_damaged_secret_does_not_open(keyring: Keyring, part: str) -> None:
    sealed = seal(keyring, "access_keys", "AKIA1", b"secret", os.urandom)
    fields = {"nonce": sealed.nonce, "secret": sealed.secret}
    for damaged in (fields[part][:-1], bytes([fields[part][0] ^ 1]) + fields[part][1:], b""):
        with pytest.raises(SecretUnreadable, match=r"^access_keys AKIA1: the stored secret is damaged$"):
            unseal(keyring, "access_keys", "AKIA1", Sealed(sealed.master_key_id, **{**fields, part: damaged}))

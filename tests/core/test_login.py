from __future__ import annotations

import contextlib
import os

import pytest

from sesrelay.core import login
from sesrelay.core.login import LoginDesk
from sesrelay.model.account import KeyStatus, Login
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules.credentials import smtp_password, smtp_password_v4
from sesrelay.store.credentials import StoredKey
from sesrelay.store.errors import DatabaseAway
from sesrelay.store.keyring import new_keyring
from sesrelay.store.secrets import seal
from tests.clock import FakeClock
from tests.core.fakes import ACCOUNT, KEY, REGION, FakeStore, facts, holder
from tests.rules.test_policy import statement, text

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEYRING = new_keyring(os.urandom)
INACTIVE = "AKIAINACTIVE22222222"


@pytest.fixture
def store(clock: FakeClock) -> FakeStore:
    keys = {
        key_id: StoredKey(
            key_id, ACCOUNT, "mailer", status, seal(KEYRING, "access_keys", key_id, SECRET.encode(), os.urandom), 0
        )
        for key_id, status in ((KEY, KeyStatus.ACTIVE), (INACTIVE, KeyStatus.INACTIVE))
    }
    store = FakeStore(clock, facts())
    store.keys = keys
    return store


@pytest.fixture
def desk(store: FakeStore) -> LoginDesk:
    return LoginDesk(store, KEYRING, os.urandom)


async def refusal(desk: LoginDesk, key_id: str, password: str, region: str = REGION) -> Refusal:
    with pytest.raises(Refused) as caught:
        await desk.login(key_id, password.encode(), region)
    return caught.value.refusal


@pytest.mark.parametrize("password", [smtp_password(SECRET), smtp_password_v4(SECRET, REGION)])
async def test_both_versions_of_the_password_open(desk: LoginDesk, password: str) -> None:
    assert await desk.login(KEY, password.encode(), REGION) == Login(ACCOUNT, "mailer", KEY)


WRONG = [
    (KEY, "wrong"),
    (KEY, ""),
    (KEY, SECRET),
    (KEY, smtp_password_v4(SECRET, "eu-west-1")),
    (INACTIVE, smtp_password(SECRET)),
    ("AKIAUNKNOWN222222222", smtp_password(SECRET)),
    ("AKIA2222222222222222", smtp_password(SECRET)),
    ("", ""),
    ("a\0b", "x"),
    ("\udcff", "x"),
]


@pytest.mark.parametrize(("key_id", "password"), WRONG)
async def test_whatever_is_wrong_the_answer_is_the_same(desk: LoginDesk, key_id: str, password: str) -> None:
    assert await refusal(desk, key_id, password) is Refusal.BAD_CREDENTIALS


@pytest.mark.parametrize(("key_id", "password"), [(KEY, smtp_password(SECRET)), *WRONG])
async def test_every_answer_costs_one_decryption_and_one_derivation(
    desk: LoginDesk, monkeypatch: pytest.MonkeyPatch, key_id: str, password: str
) -> None:
    done: list[str] = []
    unseal, matches = login.secrets.unseal, login.password_matches
    monkeypatch.setattr(login.secrets, "unseal", lambda *a: (done.append("unseal"), unseal(*a))[1])
    monkeypatch.setattr(login, "password_matches", lambda *a: (done.append("derive"), matches(*a))[1])
    with contextlib.suppress(Refused):
        await desk.login(key_id, password.encode(), REGION)
    assert done == ["unseal", "derive"]


SENDS_FROM_THE_OFFICE = text(statement(Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}))


async def test_who_may_never_send_from_here_is_told_so_after_the_right_password(
    desk: LoginDesk, store: FakeStore
) -> None:
    store.known = facts(active_keys={KEY: holder(SENDS_FROM_THE_OFFICE)})
    password = smtp_password(SECRET).encode()
    assert await desk.login(KEY, password, REGION, "192.0.2.7")
    with pytest.raises(Refused, match="may-not-send"):
        await desk.login(KEY, password, REGION, "198.51.100.7")
    with pytest.raises(Refused, match="bad-credentials"):
        await desk.login(KEY, b"wrong", REGION, "198.51.100.7")


async def test_a_permission_that_has_just_been_given_counts(desk: LoginDesk, store: FakeStore) -> None:
    store.known = facts(active_keys={KEY: holder(text(statement(action="ses:GetSendQuota")))})
    assert await refusal(desk, KEY, smtp_password(SECRET)) is Refusal.MAY_NOT_SEND
    store.binding = facts(version=2)
    assert await desk.login(KEY, smtp_password(SECRET).encode(), REGION)


async def test_a_permission_that_has_just_been_taken_opens_no_more(desk: LoginDesk, store: FakeStore) -> None:
    assert await desk.login(KEY, smtp_password(SECRET).encode(), REGION)
    store.binding = facts(version=2, active_keys={KEY: holder(text(statement(action="ses:GetSendQuota")))})
    assert await refusal(desk, KEY, smtp_password(SECRET)) is Refusal.MAY_NOT_SEND


async def test_a_key_that_is_taken_back_while_it_is_looked_at_is_wrong(desk: LoginDesk, store: FakeStore) -> None:
    store.known = facts(active_keys={})
    assert await refusal(desk, KEY, smtp_password(SECRET)) is Refusal.BAD_CREDENTIALS


async def test_a_key_that_has_just_been_made_opens(desk: LoginDesk, store: FakeStore) -> None:
    store.known = facts(active_keys={})
    store.binding = facts(version=2)
    assert await desk.login(KEY, smtp_password(SECRET).encode(), REGION)


async def test_a_closed_account_is_told_only_to_who_has_the_password(desk: LoginDesk, store: FakeStore) -> None:
    store.known = facts(closed=True)
    assert await refusal(desk, KEY, smtp_password(SECRET)) is Refusal.NOT_SUBSCRIBED
    assert await refusal(desk, KEY, "wrong") is Refusal.BAD_CREDENTIALS


async def test_a_region_that_is_not_opened_is_not_subscribed(desk: LoginDesk, store: FakeStore) -> None:
    store.known = None
    assert await refusal(desk, KEY, smtp_password(SECRET)) is Refusal.NOT_SUBSCRIBED


async def test_our_own_trouble_never_says_that_a_password_is_wrong(desk: LoginDesk, store: FakeStore) -> None:
    store.trouble = DatabaseAway("away")
    assert await refusal(desk, KEY, "wrong") is Refusal.LOGIN_UNAVAILABLE


async def test_without_the_master_key_nobody_is_told_that_a_password_is_wrong(store: FakeStore) -> None:
    assert await refusal(LoginDesk(store, None, os.urandom), KEY, "wrong") is Refusal.LOGIN_UNAVAILABLE
    other = LoginDesk(store, new_keyring(os.urandom), os.urandom)
    assert await refusal(other, KEY, smtp_password(SECRET)) is Refusal.LOGIN_UNAVAILABLE

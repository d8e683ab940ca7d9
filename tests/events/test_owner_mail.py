"""What owners of accounts read, and that each notice is told once."""

from __future__ import annotations

import email
import email.policy
import os
from dataclasses import replace

import pytest
from sqlalchemy import select

from sesrelay.core import limits
from sesrelay.core.relay import Relay
from sesrelay.events.owner_mail import owner_mail
from sesrelay.events.owners import OwnerTeller
from sesrelay.model.limits import Allowance, OwnerNotice, Tidings
from sesrelay.model.message import MessageId, OutboxRow
from sesrelay.store import Store
from sesrelay.store.schema import outbox, recipients
from tests.clock import START, FakeClock
from tests.core.fakes import NAMING, FakeHandOver
from tests.rules.test_limit_requests import WISH
from tests.store.samples import ACCOUNT, REGION, open_account

NOTICE = OwnerNotice(
    7, 1, ACCOUNT, REGION, START, "owner@example.com", Tidings.GRANTED,
    Allowance(False, 200, 1.0), Allowance(True, 50_000, 14.5), 3,
)  # fmt: skip


def text_of(notice: OwnerNotice) -> str:
    mail = owner_mail(notice, "relay.example.net")
    assert all(len(line) <= 998 for line in mail.split(b"\r\n"))
    assert b"\n" not in mail.replace(b"\r\n", b"")
    read = email.message_from_bytes(mail, policy=email.policy.default)
    assert not read.defects
    assert (read["From"], read["To"]) == ("postmaster@relay.example.net", "owner@example.com")
    assert read["Auto-Submitted"] == "auto-generated"
    return f"{read['Subject']}\n{read.get_content()}".replace("\r\n", "\n")


def test_a_grant_says_what_was_and_what_is() -> None:
    words = text_of(NOTICE)
    assert words.startswith("Your request for higher sending limits was granted (us-east-1)")
    for line in (
        "Request: 3",
        "sandbox",
        "24 hours:    200",
        "production",
        "24 hours:    50,000",
        "second:       14.5",
    ):
        assert line in words


def test_a_request_is_confirmed_to_its_owner_and_the_operator_reads_how_to_answer() -> None:
    asked = replace(NOTICE, reason="Receipts of our shop.")
    owner, operator = (text_of(replace(asked, tidings=each)) for each in (Tidings.RECEIVED, Tidings.WAITING))
    for words in (owner, operator):
        assert "Request: 3\n" in words
        assert "Receipts of our shop.\n" in words
        assert words.index("Now:") < words.index("24 hours:    200") < words.index("24 hours:    50,000")
    assert ("If you have questions" in owner, "If you have questions" in operator) == (True, False)
    assert "    sesrelay limits grant 3\n    sesrelay limits deny 3 --reason TEXT\n" in operator


def test_a_denial_says_why_in_the_words_of_the_operator() -> None:
    reason = "Wo melden sich die Empfänger an?\n\n.\n" + "x" * 3000
    words = text_of(replace(NOTICE, tidings=Tidings.DENIED, before=None, after=None, reason=reason))
    assert "Empfänger an?\n\n.\nxxx" in words


def test_unlimited_is_a_word() -> None:
    words = text_of(replace(NOTICE, tidings=Tidings.CHANGED, after=Allowance(True, -1, -1)))
    assert words.count("unlimited") == 2


@pytest.mark.parametrize("tidings", Tidings)
def test_everything_that_is_told_has_its_words(tidings: Tidings) -> None:
    assert ACCOUNT in text_of(replace(NOTICE, tidings=tidings, address="new@example.com"))


async def test_every_change_is_told_once_by_the_relays_own_queue(store: Store, another, clock: FakeClock) -> None:
    def story(tx):
        asked = limits.request(tx, ACCOUNT, REGION, WISH, operator="postmaster@relay.example.net")
        limits.grant(tx, asked.request_id, None, None)

    await store.write(open_account)
    await store.write(story)
    tellers = []
    for one in (store, await another("second")):
        relay = Relay(one, clock, os.urandom, NAMING, FakeHandOver(), keyring=None)
        tellers.append(OwnerTeller(relay.owners, "relay.example.net"))
    assert sorted([await each.tell_due() for each in tellers]) == [0, 3]
    clock.move(120)
    assert [await each.tell_due() for each in tellers] == [0, 0]
    assert await store.read(lambda tx: tx.execute(select(outbox))) == []
    rows = await store.read(lambda tx: tx.execute(select(recipients)))
    assert sorted(row.address for row in rows) == ["o@example.com", "o@example.com", "postmaster@relay.example.net"]


class FakeNotices:
    def __init__(self, *due: OutboxRow) -> None:
        self.waiting = list(due)
        self.told: list[OwnerNotice] = []

    async def due(self, limit: int) -> list[OutboxRow]:
        return self.waiting[:limit]

    def notice(self, row: OutboxRow) -> OwnerNotice:
        if not row.payload:
            raise ValueError("no JSON")
        return NOTICE

    async def tell(self, notice: OwnerNotice, mail: bytes) -> MessageId | None:
        self.told.append(notice)
        return None


async def test_one_that_fails_stops_nobody() -> None:
    row = OutboxRow(7, "owner-mail", ACCOUNT, REGION, MessageId(b""), "", 5, 1)
    notices = FakeNotices(row, replace(row, payload="{}"))
    assert await OwnerTeller(notices, "relay.example.net").tell_due() == 2
    assert notices.told == [NOTICE]

"""The verbs on a real store, on both databases: what they promise together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from sesrelay.core import accounts, credentials, identities, limits, policies, users
from sesrelay.core.relay import Relay
from sesrelay.events.publisher import Publisher
from sesrelay.model.account import AccessKey, KeyStatus
from sesrelay.model.message import AttemptResult, Claim, Origin, RecipientState, Submission
from sesrelay.model.policy import Owner
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.model.reply import Reply, Scope, Stage
from sesrelay.rules.credentials import smtp_password
from sesrelay.store import Store, messages
from sesrelay.store.keyring import new_keyring
from sesrelay.store.transaction import Transaction
from tests.clock import FakeClock
from tests.core.fakes import ACCOUNT, NAMING, REGION, FakeHandOver, submission
from tests.rules.test_policy import statement, text

KEYRING = new_keyring(os.urandom)


class Process:
    """A relay of its own on the store that all share."""

    def __init__(self, store: Store, clock: FakeClock, key: AccessKey) -> None:
        self.store = store
        self.clock = clock
        self.key = key
        self.hand_over = FakeHandOver()
        self.relay = Relay(store, clock, os.urandom, NAMING, self.hand_over, keyring=KEYRING)
        self.publisher = Publisher(self.relay.notices, clock, NAMING.service_domain, NAMING.endpoints)

    def submission(self, content: bytes = b"From: me@example.com\r\n\r\nHello\r\n", **changes: Any) -> Submission:
        return submission(
            content, **({"access_key_id": self.key.access_key_id, "mail_from": "me@example.com"} | changes)
        )

    async def outcome(self, **changes: Any) -> Refusal | None:
        try:
            await self.relay.accept(self.submission(**changes))
        except Refused as refused:
            return refused.refusal
        return None

    @property
    def claims(self) -> list[Claim]:
        return [claim for claims, _ in self.hand_over.taken for claim in claims]


def prepare(tx: Transaction) -> AccessKey:
    accounts.create(tx, ACCOUNT, "owner@example.com", (REGION,))
    limits.set_production(tx, ACCOUNT, REGION, production=True)
    limits.set_limits(tx, ACCOUNT, REGION, 10, 1000)
    identities.add(tx, ACCOUNT, REGION, "me@example.com", verified=True, most=1000, chance=os.urandom)
    return credentials.create(
        tx, ACCOUNT, "mailer", credentials.new_key(os.urandom), keyring=KEYRING, chance=os.urandom
    )


@pytest.fixture
async def key(store: Store, clock: FakeClock) -> AccessKey:
    made = await store.write(prepare)
    clock.move(1)  # the bucket fills to its new rate
    return made


@pytest.fixture
def process(store: Store, clock: FakeClock, key: AccessKey) -> Process:
    return Process(store, clock, key)


async def test_who_has_the_password_is_let_in_until_the_key_is_switched_off(process: Process) -> None:
    password = smtp_password(process.key.secret).encode()
    login = await process.relay.login(process.key.access_key_id, password, REGION)
    assert (login.account_id, login.user_name) == (ACCOUNT, "mailer")
    with pytest.raises(Refused, match="not-subscribed"):
        await process.relay.login(process.key.access_key_id, password, "eu-west-1")
    await process.store.write(lambda tx: credentials.switch(tx, ACCOUNT, process.key.access_key_id, KeyStatus.INACTIVE))
    with pytest.raises(Refused, match="bad-credentials"):
        await process.relay.login(process.key.access_key_id, password, REGION)


async def test_what_changed_counts_at_the_next_message_of_an_open_session(process: Process) -> None:
    assert await process.outcome() is None
    await process.store.write(lambda tx: accounts.suspend(tx, ACCOUNT, REGION, suspended=True))
    assert await process.outcome() is Refusal.SUSPENDED
    await process.store.write(lambda tx: accounts.suspend(tx, ACCOUNT, REGION, suspended=False))
    assert await process.outcome() is None
    await process.store.write(lambda tx: identities.remove(tx, ACCOUNT, REGION, "me@example.com"))
    assert await process.outcome() is Refusal.NOT_VERIFIED
    await process.store.write(lambda tx: credentials.delete(tx, ACCOUNT, process.key.access_key_id))
    assert await process.outcome() is Refusal.NOT_AUTHORIZED


async def test_a_key_that_was_brought_along_opens_with_both_of_its_old_passwords(process: Process) -> None:
    """BEY-1: both passwords are SES's own of that secret (ses-facts §2)."""
    brought = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    await process.store.write(
        lambda tx: credentials.create(tx, ACCOUNT, "old-app", brought, keyring=KEYRING, chance=os.urandom)
    )
    for password in (
        b"An60U4ZD3sd4fg+FvXUjayOipTt8LO4rUUmhpdX6ctDy",
        b"BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9",
    ):
        login = await process.relay.login(brought[0], password, REGION, "192.0.2.1")
        assert login.user_name == "old-app"
    assert await process.outcome(access_key_id=brought[0]) is None


async def test_a_key_that_another_process_deletes_stops_at_the_next_message(
    process: Process, another: Callable[..., Awaitable[Store]]
) -> None:
    assert await process.outcome() is None
    operator = await another()
    await operator.write(lambda tx: credentials.delete(tx, ACCOUNT, "mailer"))
    assert await process.outcome() is Refusal.NOT_AUTHORIZED


async def test_what_another_process_does_to_policies_counts_at_the_next_message(
    process: Process, another: Callable[..., Awaitable[Store]]
) -> None:
    operator = await another()
    user, group = Owner("mailer"), Owner("Everybody", is_group=True)
    to_us = text(statement(Condition={"ForAllValues:StringLike": {"ses:Recipients": "*@example.net"}}))
    elsewhere = {"recipients": ("to@example.org",)}
    assert await process.outcome(**elsewhere) is None
    await operator.write(lambda tx: policies.put(tx, ACCOUNT, user, None, to_us))
    assert await process.outcome(**elsewhere) is Refusal.NOT_AUTHORIZED
    assert await process.outcome() is None
    await operator.write(lambda tx: users.create_group(tx, ACCOUNT, "Everybody"))
    deny = text(statement("Deny", resource="arn:aws:ses:*:*:identity/me@example.com"))
    await operator.write(lambda tx: policies.put(tx, ACCOUNT, group, "NotMe", deny))
    assert await process.outcome() is None
    await operator.write(lambda tx: users.add_to_group(tx, ACCOUNT, "everybody", "mailer"))
    assert await process.outcome() is Refusal.NOT_AUTHORIZED
    await operator.write(lambda tx: policies.remove(tx, ACCOUNT, group, "NotMe"))
    assert await process.outcome() is None
    await operator.write(lambda tx: users.remove_from_group(tx, ACCOUNT, "Everybody", "mailer"))
    await operator.write(lambda tx: policies.remove(tx, ACCOUNT, user, None))
    assert await process.outcome() is Refusal.NOT_AUTHORIZED


async def test_the_client_s_address_is_what_a_policy_is_asked_about(process: Process) -> None:
    office = text(statement(Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}))
    await process.store.write(lambda tx: policies.put(tx, ACCOUNT, Owner("mailer"), None, office))
    assert await process.outcome(client_address="192.0.2.1") is None
    assert await process.outcome(client_address="198.51.100.1") is Refusal.NOT_AUTHORIZED
    password = smtp_password(process.key.secret).encode()
    assert await process.relay.login(process.key.access_key_id, password, REGION, "192.0.2.1")
    with pytest.raises(Refused, match="may-not-send"):
        await process.relay.login(process.key.access_key_id, password, REGION, "198.51.100.1")


async def test_a_change_by_another_process_counts_at_once(
    process: Process, another: Callable[..., Awaitable[Store]]
) -> None:
    assert await process.outcome() is None
    operator = await another()
    await operator.write(lambda tx: identities.remove(tx, ACCOUNT, REGION, "me@example.com"))
    assert await process.outcome() is Refusal.NOT_VERIFIED


async def test_the_quota_holds_exactly_over_processes(
    process: Process, another: Callable[..., Awaitable[Store]]
) -> None:
    other = Process(await another(), process.clock, process.key)
    outcomes = await asyncio.gather(*[(process, other)[n % 2].outcome() for n in range(30)])
    assert outcomes.count(None) == 10
    assert outcomes.count(Refusal.QUOTA_EXCEEDED) == 20
    assert len(process.claims) + len(other.claims) == 10


async def test_the_rate_holds_exactly_over_processes(
    process: Process, another: Callable[..., Awaitable[Store]], clock: FakeClock
) -> None:
    await process.store.write(lambda tx: limits.set_limits(tx, ACCOUNT, REGION, -1, 4))
    other = Process(await another(), clock, process.key)
    clock.move(10)
    for taken in (4, 4):
        outcomes = await asyncio.gather(*[(process, other)[n % 2].outcome() for n in range(12)])
        assert (outcomes.count(None), outcomes.count(Refusal.RATE_EXCEEDED)) == (taken, 12 - taken)
        clock.move(1)
    clock.move(0.25)
    assert await process.outcome(recipients=tuple(f"{n}@example.net" for n in range(9))) is None
    clock.move(1.49)
    assert await other.outcome() is Refusal.RATE_EXCEEDED
    clock.move(0.01)
    assert await other.outcome() is None


async def test_the_same_invocation_is_one_message_also_over_processes(
    process: Process, another: Callable[..., Awaitable[Store]]
) -> None:
    other = Process(await another(), process.clock, process.key)
    ids = {str(await one.relay.accept(one.submission(invocation_id="i"))) for one in (process, other, process)}
    assert len(ids) == 1
    assert len(process.claims) + len(other.claims) == 1
    assert await other.outcome(invocation_id="i", recipients=("someone@else.example",)) is Refusal.INVOCATION_REUSED
    standing = await process.store.read(lambda tx: accounts.show(tx, ACCOUNT, REGION))
    assert standing.used_24_hours == 1


def answered(claim: Claim, code: int, status: str) -> AttemptResult:
    return AttemptResult(claim, Stage.RCPT, Scope.RECIPIENT, Reply(code, status, ("user unknown",)), "")


async def test_a_bounce_is_told_to_the_sender_once_and_its_own_failure_ends_there(process: Process) -> None:
    message_id = await process.relay.accept(process.submission())
    await process.relay.settle([answered(claim, 550, "5.1.1") for claim in process.claims])
    assert await process.publisher.publish_due() == 1
    assert await process.publisher.publish_due() == 0

    (mail,) = [claim for claim in process.claims if claim.origin is Origin.RELAY]
    assert (mail.address, mail.mail_from) == ("me@example.com", "")
    content = await process.store.body(mail.message_id, mail.body)
    assert b"Diagnostic-Code: smtp; 550 5.1.1 user unknown\r\n" in content
    original = await process.store.body(message_id, process.claims[0].body)
    assert original in content
    assert f"Message-ID: <{mail.message_id}@us-east-1.relay.example.net>\r\n".encode() in content

    await process.relay.settle([answered(mail, 550, "5.1.1")])
    assert await process.publisher.publish_due() == 0
    story = await process.store.read(lambda tx: messages.find(tx, mail.message_id))
    assert story is not None
    assert [recipient.state for recipient in story.recipients] == [RecipientState.BOUNCED]


async def test_two_processes_tell_a_bounce_once(process: Process, another: Callable[..., Awaitable[Store]]) -> None:
    await process.relay.accept(process.submission())
    await process.relay.settle([answered(claim, 550, "5.1.1") for claim in process.claims])
    (row,) = await process.relay.notices.due_bounces(20)
    other = Process(await another(), process.clock, process.key)
    assert await other.relay.notices.due_bounces(20) == []
    process.clock.move(61)
    (again,) = await other.relay.notices.due_bounces(20)
    assert replace(again, attempts=1) == row
    notices = [(one.relay.notices, await one.relay.notices.notice(row)) for one in (process, other)]
    told = [await desk.tell(notice, b"Subject: told\r\n\r\n") for desk, notice in notices]
    assert told.count(None) == 1


async def test_a_temporary_failure_is_due_again_when_the_schedule_says(process: Process) -> None:
    await process.relay.accept(process.submission())
    await process.relay.settle([answered(process.claims[0], 450, "4.2.0")])
    assert await process.publisher.publish_due() == 0
    process.clock.move(3 * 60)
    assert await process.store.claim_due(10) == []
    process.clock.move(4 * 60)
    (claim,) = await process.store.claim_due(10)
    assert claim.attempts == 2


async def test_a_message_of_fifty_recipients_has_fifty_outcomes(process: Process) -> None:
    await process.store.write(lambda tx: limits.set_limits(tx, ACCOUNT, REGION, 50, 1000))
    recipients = tuple(f"r{n}@d{n % 7}.example" for n in range(50))
    message_id = await process.relay.accept(process.submission(recipients=recipients))
    codes = (250, 450, 550)
    await process.relay.settle(
        [replace(answered(c, codes[c.number % 3], ""), stage=Stage.END_OF_DATA) for c in process.claims]
    )
    story = await process.store.read(lambda tx: messages.find(tx, message_id))
    assert story is not None
    states = (RecipientState.DELIVERED, RecipientState.QUEUED, RecipientState.BOUNCED)
    assert [(r.address, r.state) for r in story.recipients] == [(a, states[n % 3]) for n, a in enumerate(recipients)]


async def test_a_spooled_message_is_stored_with_its_new_header(process: Process) -> None:
    body = b"A line of text.\r\n" * 20_000
    writer = process.store.spool(b"From: me@example.com\r\nBcc: x@y.z\r\n\r\n")
    writer.write(body)
    await process.relay.accept(process.submission(content=writer.finish()))
    (claim,) = process.claims
    content = await process.store.body(claim.message_id, claim.body)
    assert content[claim.header_length :] == body
    assert content.startswith(b"Received: ")
    assert b"Bcc" not in content[: claim.header_length]

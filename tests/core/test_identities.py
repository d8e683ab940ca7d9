"""The life of identities, on both databases."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sesrelay.core import accounts, identities
from sesrelay.model.clock import DAY, HOUR, SECOND
from sesrelay.model.failure import Failed, Failure
from sesrelay.model.identity import AddressLink, DnsAnswer, Identity, LinkState, VerificationStatus
from sesrelay.rules.identity_life import ASKING
from sesrelay.store import Store
from sesrelay.store import identities as rows
from tests.clock import FakeClock
from tests.store.samples import ACCOUNT, OTHER, REGION, open_account

DOMAIN = "shop.example"
ADDRESS = "Ann@shop.example"


class Desk:
    """The verbs, each in its transaction."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock

    async def add(self, name: str, *, verified: bool = False, most: int = 1000, account: str = ACCOUNT) -> Identity:
        verb = partial(
            identities.add, account_id=account, region=REGION, name=name, verified=verified, most=most,
            chance=os.urandom,
        )  # fmt: skip
        return await self.store.write(verb)

    async def call(self, verb: Callable[..., Any], name: str) -> Any:
        return await self.store.write(partial(verb, account_id=ACCOUNT, region=REGION, name=name))

    async def show(self, name: str) -> Identity:
        found: Identity = await self.call(identities.show, name)
        return found

    async def mails(self) -> list[str]:
        """What has been put into the outbox, told at once."""
        due = await self.store.due_outbox(identities.IDENTITY_MAIL, 100)
        for row in due:
            await self.store.write(partial(identities.outbox.remove, outbox_id=row.outbox_id))
        return [json.loads(row.payload)["mail"] for row in due]

    async def ask(self, answer: DnsAnswer) -> int:
        """One round of the worker that asks the DNS; how many domains were due."""
        due = await self.store.write(partial(rows.take_due, limit=10))
        for one in due:
            verb = partial(identities.answered, asked=one, answer=answer, spread=0.5, mistakes=())
            assert await self.store.write(verb)
        return len(due)

    async def verified(self) -> frozenset[str]:
        known = (await self.store.facts(ACCOUNT, REGION, fresh=True)).verified
        return (known.addresses | known.domains) - {"example.com", "a@example.net"}


@pytest.fixture
async def desk(store: Store, clock: FakeClock) -> Desk:
    await store.write(open_account)
    return Desk(store, clock)


async def test_a_domain_is_pending_until_its_record_is_found(desk: Desk) -> None:
    added = await desk.add("Shop.Example")
    assert (added.name, added.status) == (DOMAIN, VerificationStatus.PENDING)
    assert len(added.token) == 44
    assert await desk.ask(DnsAnswer.ABSENT) == 1
    assert await desk.ask(DnsAnswer.FOUND) == 0  # its next question is a minute away
    assert await desk.verified() == frozenset()
    desk.clock.move(61)
    assert await desk.ask(DnsAnswer.FOUND) == 1
    assert await desk.verified() == {DOMAIN}
    assert await desk.mails() == ["success"]


async def test_after_72_hours_it_has_failed_and_a_retry_begins_anew_with_the_same_token(desk: Desk) -> None:
    added = await desk.add(DOMAIN)
    for _ in range(72):
        await desk.ask(DnsAnswer.ABSENT)
        desk.clock.move(3601)
    await desk.ask(DnsAnswer.ABSENT)
    assert (await desk.show(DOMAIN)).status is VerificationStatus.FAILED
    assert await desk.mails() == ["failure"]
    desk.clock.move(3 * 86400)
    assert await desk.ask(DnsAnswer.FOUND) == 0
    again = await desk.call(identities.retry, DOMAIN)
    assert (again.status, again.token) == (VerificationStatus.PENDING, added.token)
    assert again.life.asked_at == desk.clock.now()
    assert await desk.ask(DnsAnswer.FOUND) == 1
    assert await desk.mails() == ["success"]


async def test_adding_a_domain_that_failed_tries_again_and_a_pending_one_is_looked_at_now(desk: Desk) -> None:
    added = await desk.add(DOMAIN)
    await desk.ask(DnsAnswer.ABSENT)
    again = await desk.add(DOMAIN)
    assert (again.token, again.life.asked_at) == (added.token, added.life.asked_at)
    assert await desk.ask(DnsAnswer.ABSENT) == 1
    desk.clock.move(ASKING / SECOND)
    await desk.ask(DnsAnswer.ABSENT)
    assert (await desk.add(DOMAIN)).status is VerificationStatus.PENDING


async def test_a_lost_record_is_warned_of_and_revoked_after_72_hours(desk: Desk) -> None:
    await desk.add(DOMAIN)
    await desk.ask(DnsAnswer.FOUND)
    desk.clock.move(1.25 * 86400)
    await desk.ask(DnsAnswer.ABSENT)
    assert await desk.mails() == ["success", "revocation-warning"]
    for _ in range(71):
        desk.clock.move(3600)
        await desk.ask(DnsAnswer.ABSENT)
    assert await desk.verified() == {DOMAIN}
    desk.clock.move(3600)
    await desk.ask(DnsAnswer.TROUBLE)
    assert await desk.verified() == {DOMAIN}  # silence says nothing, also at the end
    desk.clock.move(2 * 3600)
    await desk.ask(DnsAnswer.ABSENT)
    assert await desk.verified() == frozenset()
    assert await desk.mails() == ["revocation"]
    with pytest.raises(Failed, match="has no identity"):
        await desk.show(DOMAIN)


async def test_a_record_that_comes_back_cancels_the_revocation(desk: Desk) -> None:
    await desk.add(DOMAIN)
    for answer in (DnsAnswer.FOUND, DnsAnswer.ABSENT, DnsAnswer.FOUND):
        await desk.ask(answer)
        desk.clock.move(1.25 * 86400)
    assert await desk.mails() == ["success", "revocation-warning", "revocation-cancellation"]
    assert (await desk.show(DOMAIN)).life.missing_since == 0


async def test_silence_shows_but_mail_goes_on(desk: Desk) -> None:
    await desk.add(DOMAIN)
    await desk.ask(DnsAnswer.FOUND)
    desk.clock.move(1.25 * 86400)
    for _ in range(30):
        await desk.ask(DnsAnswer.TROUBLE)
        desk.clock.move(2 * 3600)
    assert (await desk.show(DOMAIN)).status is VerificationStatus.TEMPORARY_FAILURE
    assert await desk.verified() == {DOMAIN}
    assert await desk.mails() == ["success"]


async def test_an_answer_counts_once_and_only_when_nothing_happened_meanwhile(desk: Desk) -> None:
    await desk.add(DOMAIN)
    (asked,) = await desk.store.write(partial(rows.take_due, limit=10))
    assert await desk.store.write(partial(rows.take_due, limit=10)) == []
    verb = partial(identities.answered, asked=asked, answer=DnsAnswer.FOUND, spread=0.5, mistakes=())
    assert await desk.store.write(verb)
    assert not await desk.store.write(verb)
    assert await desk.mails() == ["success"]
    (await desk.call(identities.remove, DOMAIN))
    assert not await desk.store.write(verb)
    await desk.add(DOMAIN)
    assert not await desk.store.write(verb)
    assert await desk.verified() == frozenset()


async def test_whoever_died_while_asking_is_replaced_after_five_minutes(desk: Desk) -> None:
    await desk.add(DOMAIN)
    assert len(await desk.store.write(partial(rows.take_due, limit=10))) == 1
    desk.clock.move(299)
    assert await desk.ask(DnsAnswer.FOUND) == 0
    desk.clock.move(1)
    assert await desk.ask(DnsAnswer.FOUND) == 1


async def test_nothing_is_taken_from_a_closed_account_and_its_domains_are_looked_at_when_it_opens(desk: Desk) -> None:
    await desk.add(DOMAIN)
    await desk.ask(DnsAnswer.FOUND)
    await desk.store.write(partial(accounts.close, account_id=ACCOUNT))
    desk.clock.move(30 * DAY / SECOND)
    assert await desk.ask(DnsAnswer.ABSENT) == 0
    await desk.store.write(partial(accounts.open_again, account_id=ACCOUNT, region=REGION))
    assert (await desk.show(DOMAIN)).status is VerificationStatus.SUCCESS
    assert await desk.ask(DnsAnswer.FOUND) == 1
    assert await desk.mails() == ["success"]


async def test_an_operators_word_ends_the_watching_of_a_domain(desk: Desk) -> None:
    await desk.add(DOMAIN)
    await desk.ask(DnsAnswer.FOUND)
    assert (await desk.add(DOMAIN, verified=True)).life.next_check_at == 0
    desk.clock.move(30 * 86400)
    assert await desk.ask(DnsAnswer.ABSENT) == 0


async def test_a_verified_domain_that_is_added_again_is_looked_at_now(desk: Desk) -> None:
    await desk.add(DOMAIN)
    for answer in (DnsAnswer.FOUND, DnsAnswer.ABSENT):
        await desk.ask(answer)
        desk.clock.move(1.25 * 86400)
    await desk.ask(DnsAnswer.ABSENT)
    await desk.call(identities.retry, DOMAIN)
    assert await desk.ask(DnsAnswer.FOUND) == 1
    assert await desk.mails() == ["success", "revocation-warning", "revocation-cancellation"]


async def test_an_operators_word_is_asked_about_never(desk: Desk) -> None:
    await desk.add(DOMAIN)
    await desk.add(DOMAIN, verified=True)
    desk.clock.move(30 * 86400)
    assert (await desk.add(DOMAIN)).status is VerificationStatus.SUCCESS
    assert (await desk.call(identities.retry, DOMAIN)).status is VerificationStatus.SUCCESS
    assert await desk.ask(DnsAnswer.ABSENT) == 0
    assert await desk.mails() == []
    assert await desk.verified() == {DOMAIN}


def link(identity: Identity) -> AddressLink:
    return AddressLink(identity.account_id, identity.region, identity.name, identity.life.asked_at)


async def test_an_address_is_verified_by_its_link_once(desk: Desk) -> None:
    added = await desk.add(ADDRESS)
    assert (added.status, added.token) == (VerificationStatus.PENDING, "")
    assert await desk.mails() == ["confirm-address"]
    look = partial(identities.look_at_link, link=link(added))
    confirm = partial(identities.confirm, link=link(added))
    assert await desk.store.read(look) is LinkState.OPEN
    assert await desk.verified() == frozenset()
    assert await desk.store.write(confirm) is LinkState.CONFIRMED
    assert await desk.verified() == {ADDRESS}
    assert await desk.store.read(look) is LinkState.USED
    assert await desk.store.write(confirm) is LinkState.USED


async def test_an_expired_link_leaves_pending_and_asking_again_sends_another(desk: Desk) -> None:
    old = await desk.add(ADDRESS)
    desk.clock.move(DAY / SECOND)
    assert await desk.store.write(partial(identities.confirm, link=link(old))) is LinkState.EXPIRED
    assert (await desk.show(ADDRESS)).status is VerificationStatus.PENDING
    new = await desk.call(identities.retry, ADDRESS)
    assert await desk.mails() == ["confirm-address"] * 2
    assert await desk.store.write(partial(identities.confirm, link=link(new))) is LinkState.CONFIRMED
    assert await desk.add(ADDRESS) == await desk.show(ADDRESS)
    assert await desk.mails() == []


async def test_nobodys_mailbox_is_filled(desk: Desk) -> None:
    first = await desk.add(ADDRESS)
    assert await desk.add(ADDRESS) == first
    with pytest.raises(Failed, match="less than a minute ago") as caught:
        await desk.call(identities.retry, ADDRESS)
    assert caught.value.failure is Failure.CONFLICT
    assert await desk.mails() == ["confirm-address"]


async def test_a_link_to_what_was_removed_is_unknown_also_when_it_was_added_again(desk: Desk) -> None:
    added = await desk.add(ADDRESS)
    await desk.call(identities.remove, ADDRESS)
    confirm = partial(identities.confirm, link=link(added))
    assert await desk.store.write(confirm) is LinkState.UNKNOWN
    desk.clock.move(HOUR / SECOND)
    await desk.add(ADDRESS)
    assert await desk.store.write(confirm) is LinkState.UNKNOWN


async def test_accounts_have_tokens_of_their_own_and_are_verified_by_themselves(desk: Desk) -> None:
    await desk.store.write(partial(open_account, account_id=OTHER))
    one, other = await desk.add(DOMAIN), await desk.add(DOMAIN, account=OTHER)
    assert one.token != other.token
    asked = {each.account_id: each for each in await desk.store.write(partial(rows.take_due, limit=10))}
    verb = partial(identities.answered, asked=asked[OTHER], answer=DnsAnswer.FOUND, spread=0.5, mistakes=())
    assert await desk.store.write(verb)
    assert await desk.verified() == frozenset()
    assert DOMAIN in (await desk.store.facts(OTHER, REGION)).verified.domains


async def test_the_identity_too_many_is_refused_and_nothing_is_mailed(desk: Desk) -> None:
    await desk.add(DOMAIN, most=3)
    with pytest.raises(Failed, match="has 3 identities over all regions") as caught:
        await desk.add(ADDRESS, most=3)
    assert caught.value.failure is Failure.LIMIT
    assert await desk.mails() == []
    assert (await desk.add(DOMAIN, most=3)).name == DOMAIN

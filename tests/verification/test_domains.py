"""Asking about domains: who asks, how often, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import pytest

from sesrelay.core import identities
from sesrelay.core.verifying import Verifying
from sesrelay.model.clock import HOUR
from sesrelay.model.identity import DnsAnswer, Identity, VerificationStatus
from sesrelay.resolver import DnsTroubleError, NoSuchNameError, Resolver
from sesrelay.store import Store, outbox
from sesrelay.verification.domains import DomainWatch, ask, find_mistakes
from tests.clock import FakeClock
from tests.standins.nameserver import NameServer
from tests.store.samples import ACCOUNT, REGION, open_account

DOMAIN = "shop.example"
RECORD = f"_amazonses.{DOMAIN}"


class FakeDns:
    """Answers from a table that tests change; a name whose value is None makes trouble."""

    def __init__(self, table: Mapping[str, tuple[str, ...] | None]) -> None:
        self.table = dict(table)
        self.asked: Counter[str] = Counter()

    async def published_txt(self, name: str) -> tuple[str, ...]:
        self.asked[name] += 1
        await asyncio.sleep(0)
        if name not in self.table:
            raise NoSuchNameError(name)
        values = self.table[name]
        if values is None:
            raise DnsTroubleError(name)
        return values


@pytest.mark.parametrize(
    ("table", "answer"),
    [
        ({RECORD: ("T",)}, DnsAnswer.FOUND),
        ({f"amazonses.{DOMAIN}": ("T",)}, DnsAnswer.FOUND),
        ({RECORD: ("other", "T")}, DnsAnswer.FOUND),
        ({RECORD: None, f"amazonses.{DOMAIN}": ("T",)}, DnsAnswer.FOUND),
        ({}, DnsAnswer.ABSENT),
        ({RECORD: ("other",)}, DnsAnswer.ABSENT),
        ({RECORD: ()}, DnsAnswer.ABSENT),
        ({RECORD: None}, DnsAnswer.TROUBLE),
        ({f"amazonses.{DOMAIN}": None}, DnsAnswer.TROUBLE),
        ({DOMAIN: ("T",)}, DnsAnswer.ABSENT),
    ],
)
async def test_either_name_will_do_and_absence_must_be_certain(
    table: Mapping[str, tuple[str, ...] | None], answer: DnsAnswer
) -> None:
    found = await ask(FakeDns(table), DOMAIN, "T")
    assert (found.answer, bool(found.trouble)) == (answer, answer is DnsAnswer.TROUBLE)


async def test_mistakes_are_found_also_when_other_names_make_trouble() -> None:
    (sentence,) = await find_mistakes(FakeDns({DOMAIN: ("T",), RECORD: None}), DOMAIN, "T")
    assert "its place is the name" in sentence


async def add(store: Store, *names: str) -> list[Identity]:
    return [
        await store.write(
            partial(
                identities.add, account_id=ACCOUNT, region=REGION, name=name, verified=False, most=1000,
                chance=os.urandom,
            )
        )
        for name in names
    ]  # fmt: skip


async def state_of(store: Store, name: str) -> Identity:
    return await store.read(partial(identities.show, account_id=ACCOUNT, region=REGION, name=name))


async def mails(store: Store) -> list[dict[str, object]]:
    """What is to be told since the last time."""
    due = await store.due_outbox(identities.IDENTITY_MAIL, 100)
    for row in due:
        await store.write(partial(outbox.remove, outbox_id=row.outbox_id))
    return [json.loads(row.payload) for row in due]


async def test_with_ten_workers_each_domain_is_asked_once(
    store: Store, another: Callable[..., Awaitable[Store]], clock: FakeClock
) -> None:
    await store.write(open_account)
    names = [f"d{number}.example" for number in range(30)]
    await add(store, *names)
    stores = [store, *[await another(f"w{number}") for number in range(9)]]
    dns = FakeDns({})
    watches = [DomainWatch(Verifying(one, None), dns, clock, lambda: 0.5) for one in stores]
    done = await asyncio.gather(*(watch.round() for watch in watches))
    assert sum(done) == 30
    assert dns.asked == Counter(f"{label}.{name}" for name in names for label in ("_amazonses", "amazonses"))


class SilentDns(FakeDns):
    """Some names' servers say nothing until they are let."""

    def __init__(self, *silent: str) -> None:
        super().__init__({})
        self.silent = silent
        self.let = asyncio.Event()

    async def published_txt(self, name: str) -> tuple[str, ...]:
        if name.endswith(self.silent):
            await self.let.wait()
        return await super().published_txt(name)


async def test_silent_servers_do_not_keep_other_domains_waiting(store: Store, clock: FakeClock) -> None:
    await store.write(open_account)
    names = [f"d{number:02}.example" for number in range(45)]
    await add(store, *names)
    dns = SilentDns(*names[:19])
    watching = asyncio.create_task(DomainWatch(Verifying(store, None), dns, clock, lambda: 0.5).round())
    async with asyncio.timeout(30):
        while dns.asked.total() < 2 * 26:
            await asyncio.sleep(0)
    assert not watching.done()
    dns.let.set()
    assert await watching == 45


async def test_a_round_that_is_broken_off_leaves_nothing_behind(store: Store, clock: FakeClock) -> None:
    await store.write(open_account)
    await add(store, DOMAIN)
    before = asyncio.all_tasks()
    watching = asyncio.create_task(DomainWatch(Verifying(store, None), SilentDns(DOMAIN), clock, lambda: 0.5).round())
    async with asyncio.timeout(30):
        while len(asyncio.all_tasks() - before) < 3:
            await asyncio.sleep(0)
    watching.cancel()
    async with asyncio.timeout(30):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0)


async def test_three_days_pass_in_milliseconds(store: Store, clock: FakeClock) -> None:
    """Added, found too late, tried again, found, lost, told, silent, lost for good."""
    await store.write(open_account)
    (added,) = await add(store, DOMAIN)
    dns = FakeDns({DOMAIN: (added.token,)})  # at the apex: a mistake
    watch = DomainWatch(Verifying(store, None), dns, clock, lambda: 0.5)

    async def hours(number: float) -> None:
        for _ in range(round(number * 4)):
            await watch.round()
            clock.move(900)

    await hours(71.5)
    assert (await state_of(store, DOMAIN)).status is VerificationStatus.PENDING
    await hours(1)
    assert (await state_of(store, DOMAIN)).status is VerificationStatus.FAILED
    assert 60 < dns.asked[RECORD] < 130
    (failure,) = await mails(store)
    assert failure["mail"] == "failure"
    assert "its place is the name" in str(failure["mistakes"])

    await store.write(partial(identities.retry, account_id=ACCOUNT, region=REGION, name=DOMAIN))
    dns.table[RECORD] = (added.token,)
    await hours(0.25)
    assert (await state_of(store, DOMAIN)).status is VerificationStatus.SUCCESS
    assert [mail["mail"] for mail in await mails(store)] == ["success"]

    del dns.table[RECORD]
    await hours(26)
    warned = await state_of(store, DOMAIN)
    assert warned.status is VerificationStatus.SUCCESS
    assert warned.life.missing_since
    (warning,) = await mails(store)
    assert warning["mail"] == "revocation-warning"
    assert warning["until"] == warned.life.missing_since + 72 * HOUR
    dns.table[RECORD] = None
    await hours(80)
    assert (await state_of(store, DOMAIN)).status is VerificationStatus.TEMPORARY_FAILURE
    del dns.table[RECORD]
    await hours(2)
    with pytest.raises(identities.Failed, match="has no identity"):
        await state_of(store, DOMAIN)
    assert [mail["mail"] for mail in await mails(store)] == ["revocation"]


async def test_one_domain_that_cannot_be_looked_after_does_not_stop_the_others(store: Store, clock: FakeClock) -> None:
    class Half(FakeDns):
        async def published_txt(self, name: str) -> tuple[str, ...]:
            if "broken" in name:
                raise ValueError(name)
            return await super().published_txt(name)

    await store.write(open_account)
    broken, good = await add(store, "broken.example", "good.example")
    dns = Half({"_amazonses.good.example": (good.token,)})
    assert await DomainWatch(Verifying(store, None), dns, clock, lambda: 0.5).round() == 2
    assert (await state_of(store, "good.example")).status is VerificationStatus.SUCCESS
    assert (await state_of(store, broken.name)).status is VerificationStatus.PENDING


async def test_a_real_name_server_is_asked_the_domains_own_one(store: Store, clock: FakeClock) -> None:
    """The usual server remembers that there is no record; the domain's own one has it, behind a CNAME."""
    await store.write(open_account)
    (added,) = await add(store, DOMAIN)
    own = {
        (RECORD, "CNAME"): ["tokens.host.example."],
        ("tokens.host.example", "TXT"): [f'"{added.token}"', '"another"'],
    }
    usual = {
        (DOMAIN, "NS"): [f"ns1.{DOMAIN}."],
        ("host.example", "NS"): [f"ns1.{DOMAIN}."],
        (f"ns1.{DOMAIN}", "A"): ["127.0.0.1"],
    }
    async with NameServer(own) as owner, NameServer(usual) as server:
        port = owner.port
        watch = DomainWatch(
            Verifying(store, None), Resolver([server.address], clock, owners_port=port), clock, lambda: 0.5
        )
        owner.failing.add(RECORD)
        await watch.round()
        assert (await state_of(store, DOMAIN)).life.trouble_since == clock.now()
        owner.failing.clear()
        clock.move(120)
        await watch.round()
        assert (await state_of(store, DOMAIN)).status is VerificationStatus.SUCCESS
        assert (RECORD, "TXT") not in server.asked

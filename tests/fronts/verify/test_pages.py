"""The pages behind links, as a browser and as a link scanner meet them; and the mail that they come from."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import os
import re
from collections.abc import AsyncIterator
from functools import partial
from html.parser import HTMLParser

import httpx
import pytest
from starlette.applications import Starlette

from sesrelay.core import accounts, identities, limits
from sesrelay.core.relay import Relay
from sesrelay.core.verifying import LinkFate
from sesrelay.events.identities import IdentityTeller
from sesrelay.events.identity_mail import Letterhead
from sesrelay.events.publisher import Publisher
from sesrelay.fronts.verify.pages import routes
from sesrelay.model.clock import DAY, SECOND
from sesrelay.model.identity import Identity, LinkState
from sesrelay.model.message import Origin
from sesrelay.store import Store
from sesrelay.store.errors import DatabaseAway
from sesrelay.store.keyring import Keyring, new_keyring
from tests.clock import FakeClock
from tests.core.fakes import NAMING, FakeHandOver
from tests.store.samples import ACCOUNT, REGION

ANN = "Ann.O'Neil@shop.example"
HEAD = Letterhead("Acme & Sons", "relay.example.net", "https://relay.example.net")


class Reading(HTMLParser):
    """What is on a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


class Desk:
    """A relay with its mail and its pages."""

    def __init__(self, store: Store, clock: FakeClock, keyring: Keyring) -> None:
        self.store = store
        self.clock = clock
        self.out = FakeHandOver()
        self.relay = Relay(store, clock, os.urandom, NAMING, self.out, keyring=keyring)
        teller = IdentityTeller(self.relay.identity_notices, HEAD)
        self.publisher = Publisher(self.relay.notices, clock, NAMING.service_domain, NAMING.endpoints, (teller,))
        app = Starlette(routes=routes(self.relay.verifying, HEAD.product))
        self.browser = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HEAD.public_url)

    async def add(self, name: str) -> Identity:
        verb = partial(
            identities.add, account_id=ACCOUNT, region=REGION, name=name, verified=False, most=9, chance=os.urandom
        )
        return await self.store.write(verb)

    async def show(self, name: str) -> Identity:
        return await self.store.read(partial(identities.show, account_id=ACCOUNT, region=REGION, name=name))

    async def mails(self) -> list[email.message.EmailMessage]:
        """What has gone out since the last time."""
        await self.publisher.publish_due()
        taken, self.out.taken = self.out.taken, []
        for claims, _ in taken:
            (claim,) = claims
            assert (claim.origin, claim.mail_from) == (Origin.RELAY, "")
        return [email.message_from_bytes(content or b"", policy=email.policy.default) for _, content in taken]

    async def link(self) -> str:
        """Out of the mail that was just sent."""
        (mail,) = await self.mails()
        (url,) = re.findall(r"https://\S+/verify/\S+", mail.get_content())
        return str(url)


@pytest.fixture
async def desk(store: Store, clock: FakeClock) -> AsyncIterator[Desk]:
    await store.write(lambda tx: accounts.create(tx, ACCOUNT, "owner@example.com", (REGION,)))
    made = Desk(store, clock, new_keyring(os.urandom))
    yield made
    await made.browser.aclose()


async def test_the_button_confirms_and_looking_does_not(desk: Desk) -> None:
    await desk.add(ANN)
    url = await desk.link()
    for _ in range(3):  # scanners come first
        seen = await desk.browser.get(url)
        assert seen.status_code == 200
        assert "button" in Reading(seen.text).tags
        assert (await desk.browser.head(url)).status_code == 200
    assert (await desk.show(ANN)).status.value == "Pending"
    done = await desk.browser.post(url)
    assert done.status_code == 200
    assert "your address is confirmed" in done.text
    assert (await desk.show(ANN)).status.value == "Success"
    for again in (await desk.browser.get(url), await desk.browser.post(url)):
        assert (again.status_code, "confirmed already" in again.text) == (200, True)
        assert "button" not in Reading(again.text).tags
    assert ANN in (await desk.store.facts(ACCOUNT, REGION, fresh=True)).verified.addresses


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_expired_link_says_so_and_changes_nothing(desk: Desk, method: str) -> None:
    await desk.add(ANN)
    url = await desk.link()
    desk.clock.move(DAY / SECOND)
    seen = await desk.browser.request(method, url)
    assert (seen.status_code, "has expired" in seen.text) == (410, True)
    assert (await desk.show(ANN)).status.value == "Pending"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_forged_link_says_so_and_changes_nothing(desk: Desk, store: Store, method: str) -> None:
    await desk.add(ANN)
    url = await desk.link()
    others = Desk(store, desk.clock, new_keyring(os.urandom))
    for wrong in (url[:-3], url + "x", HEAD.public_url + "/verify/", HEAD.public_url + "/verify/a/b?c=%00"):
        seen = await desk.browser.request(method, wrong)
        assert (seen.status_code, "is not valid" in seen.text) == (404, True)
    seen = await others.browser.request(method, url)
    assert seen.status_code == 404
    assert (await desk.show(ANN)).status.value == "Pending"
    await others.browser.aclose()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_link_to_what_was_removed_says_so(desk: Desk, method: str) -> None:
    await desk.add(ANN)
    url = await desk.link()
    await desk.store.write(partial(identities.remove, account_id=ACCOUNT, region=REGION, name=ANN))
    seen = await desk.browser.request(method, url)
    assert (seen.status_code, "taken off the list" in seen.text) == (404, True)


async def test_a_page_needs_nothing_from_elsewhere_and_gives_nothing_away(desk: Desk) -> None:
    await desk.add(ANN)
    seen = await desk.browser.get(await desk.link())
    page = Reading(seen.text)
    assert not {"script", "img", "link", "iframe", "a"} & set(page.tags)
    assert not [value for name, value in page.attributes if name.startswith("on") or name in {"href", "src", "action"}]
    assert ("name", "viewport") in page.attributes
    assert ("lang", "en") in page.attributes
    assert any("Acme & Sons" in words for words in page.words)
    assert ANN in "".join(page.words)
    headers = seen.headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-type"] == "text/html; charset=utf-8"


async def test_other_methods_are_refused(desk: Desk) -> None:
    assert (await desk.browser.put("/verify/x")).status_code == 405


async def test_when_the_store_is_away_the_page_asks_for_patience() -> None:
    class Away:
        async def look(self, text: str) -> LinkFate:
            raise DatabaseAway("away")

        confirm = look

    app = Starlette(routes=routes(Away(), "Acme"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://x") as browser:
        seen = await browser.get("/verify/x")
    assert (seen.status_code, seen.headers["retry-after"]) == (503, "60")
    assert "stays as it is" in seen.text


async def test_mails_of_identities_use_no_quota_and_go_once(desk: Desk, store: Store) -> None:
    await store.write(lambda tx: limits.set_limits(tx, ACCOUNT, REGION, 0, 1))
    await desk.add(ANN)
    other = Desk(store, desk.clock, new_keyring(os.urandom))
    assert len([*await desk.mails(), *await other.mails()]) == 1
    desk.clock.move(120)
    assert await desk.mails() == []
    await other.browser.aclose()


async def test_a_mail_that_nobody_needs_any_more_is_not_sent(desk: Desk) -> None:
    await desk.add(ANN)
    await desk.store.write(partial(identities.remove, account_id=ACCOUNT, region=REGION, name=ANN))
    assert await desk.mails() == []
    desk.clock.move(120)
    assert await desk.relay.identity_notices.due(10) == []


async def test_the_news_of_a_domain_goes_to_the_account(desk: Desk) -> None:
    added = await desk.add("shop.example")
    (asked,) = await desk.relay.verifying.due(10)
    assert asked.token == added.token
    assert await desk.relay.verifying.answered(asked, identities.DnsAnswer.FOUND, 0.5, ())
    (mail,) = await desk.mails()
    assert mail["To"] == "owner@example.com"
    assert mail["Subject"].startswith("Acme & Sons Domain Verification SUCCESS")


def test_every_state_of_a_link_has_its_page() -> None:
    from sesrelay.fronts.verify.pages import STATUS
    from sesrelay.fronts.verify.words import page

    titles = {re.search("<h1>(.*)</h1>", page(LinkFate(state, None), "x"))[1] for state in LinkState}  # type: ignore[index]
    assert len(titles) == len(LinkState) == len(STATUS)


async def test_the_policy_allows_the_pages_own_style(desk: Desk) -> None:
    seen = await desk.browser.get("/verify/x")
    (style,) = re.findall("<style>(.*)</style>", seen.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in seen.headers["content-security-policy"]

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from sesrelay.core.accept import Acceptance, Naming
from sesrelay.model.account import VerifiedIdentities
from sesrelay.model.clock import SECOND
from sesrelay.model.message import Origin, SpooledBody
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import mailboxes, permission
from sesrelay.rules.policy import Permissions
from sesrelay.store.errors import DatabaseAway
from sesrelay.store.spool import SpoolWriter
from tests.clock import FakeClock
from tests.core.fakes import ACCOUNT, KEY, NAMING, REGION, FakeHandOver, FakeStore, facts, holder, submission
from tests.rules.test_policy import statement, text


class Bench:
    def __init__(self, clock: FakeClock, naming: Naming = NAMING, room: int = 1000, **known: Any) -> None:
        self.clock = clock
        self.store = FakeStore(clock, facts(**known))
        self.hand_over = FakeHandOver(room)
        self.captured: list[int] = []
        self.acceptance = Acceptance(
            self.store, clock, os.urandom, naming, self.hand_over, captured=self.captured.append
        )

    async def refusal(self, **changes: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            await self.acceptance.accept(submission(**changes))
        return caught.value


@pytest.fixture
def bench(clock: FakeClock) -> Bench:
    return Bench(clock)


async def test_an_accepted_message_has_an_id_of_its_region_and_time(bench: Bench) -> None:
    message_id = await bench.acceptance.accept(submission(region="eu-west-1"))
    assert re.fullmatch(
        r"0101[0-9a-f]{12}-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}-000000", str(message_id)
    )
    assert message_id.at == bench.clock.now() // 1000 * 1000


async def test_what_is_stored_is_the_rewritten_message(bench: Bench) -> None:
    content = b"From: Some One <sender@example.com>\r\nSubject: Hello\r\n\tWorld\r\nBcc: x@y.z\r\n\r\nBody\r\n"
    message_id = await bench.acceptance.accept(submission(content, eight_bit=True))
    message = bench.store.orders[0].message
    assert isinstance(message.content, bytes)
    assert message.content[message.header_length :] == b"Body\r\n"
    assert f"Message-ID: <{message_id}@us-east-1.relay.example.net>\r\n".encode() in message.content
    assert b"Bcc" not in message.content
    assert (message.header_from, message.subject) == ("sender@example.com", "Hello\tWorld")
    assert (message.accepted_at, message.eight_bit, message.hops) == (bench.clock.now(), True, 0)
    assert message.mail_from == "sender@example.com"


async def test_what_the_route_keeps_here_is_neither_claimed_nor_handed_over_but_counted(bench: Bench) -> None:
    bench.hand_over.captured = {"kept.example"}
    await bench.acceptance.accept(submission(recipients=("a@Kept.example", "b@away.example", "c@kept.example")))
    (order,) = bench.store.orders
    assert [(r.captured, r.claimed) for r in order.message.recipients] == [(True, False), (False, True), (True, False)]
    ((claims, _),) = bench.hand_over.taken
    assert [claim.address for claim in claims] == ["b@away.example"]
    assert bench.hand_over.asked == [(ACCOUNT, "away.example", len(order.message.content))]
    assert bench.captured == [2]


async def test_what_was_accepted_before_is_not_counted_as_kept_again(bench: Bench) -> None:
    bench.hand_over.captured = {"kept.example"}
    once = submission(recipients=("a@kept.example",), invocation_id="once")
    assert await bench.acceptance.accept(once) == await bench.acceptance.accept(once)
    assert bench.captured == [1]


async def test_what_is_admitted_is_handed_over_after_the_commit_and_the_rest_left_in_its_lane(clock: FakeClock) -> None:
    bench = Bench(clock, room=1)
    await bench.acceptance.accept(submission(recipients=("a@one.example", "b@TWO.example")))
    message = bench.store.orders[0].message
    assert [(r.number, r.domain, r.claimed) for r in message.recipients] == [
        (0, "one.example", True),
        (1, "two.example", False),
    ]
    ((claims, content),) = bench.hand_over.taken
    assert [c.address for c in claims] == ["a@one.example"]
    assert content == message.content
    assert isinstance(content, bytes)
    assert bench.hand_over.asked[0] == (ACCOUNT, "one.example", len(content))


async def test_what_was_admitted_is_withdrawn_when_the_store_refuses(bench: Bench) -> None:
    bench.store.trouble = Refused(Refusal.STORAGE_FULL)
    assert (await bench.refusal()).refusal is Refusal.STORAGE_FULL
    assert [w[:2] for w in bench.hand_over.withdrawn] == [(ACCOUNT, "example.net")]
    assert not bench.hand_over.taken


async def test_what_was_admitted_is_withdrawn_when_this_process_may_claim_nothing(bench: Bench) -> None:
    bench.store.claims = False
    await bench.acceptance.accept(submission())
    assert [w[:2] for w in bench.hand_over.withdrawn] == [(ACCOUNT, "example.net")]
    assert not bench.hand_over.taken


async def test_an_address_that_is_named_twice_gets_one_copy_and_counts_once(bench: Bench) -> None:
    await bench.acceptance.accept(submission(recipients=("a@b.example", "a@b.example")))
    assert len(bench.store.orders[0].message.recipients) == 1
    assert bench.store.limits.used_24_hours == 1


BAD_CONTENT = b"From: sender@example.com\r\nContent-Disposition: attachment; filename=evil.exe\r\n\r\nMZ"
REFUSALS = [
    (Refusal.NOT_SUBSCRIBED, {"closed": True, "suspended": True}, {}),
    (Refusal.NOT_AUTHORIZED, {"active_keys": {}, "suspended": True}, {}),
    (Refusal.NOT_AUTHORIZED, {"active_keys": {KEY: holder(text(statement("Deny")))}, "suspended": True}, {}),
    (Refusal.SUSPENDED, {"suspended": True}, {"recipients_named": 51}),
    (Refusal.TOO_MANY_RECIPIENTS, {}, {"recipients_named": 51, "mail_from": "no@where.example"}),
    (Refusal.TOO_MANY_RECIPIENTS, {}, {"recipients": tuple(f"{n}@example.net" for n in range(51))}),
    (Refusal.NO_RECIPIENTS, {}, {"recipients": ()}),
    (Refusal.NOT_VERIFIED, {"quota": 0}, {"mail_from": "no@where.example"}),
    (Refusal.NOT_VERIFIED, {"quota": 0, "production": False}, {}),
    (Refusal.QUOTA_EXCEEDED, {"quota": 0, "rate": 0.0}, {}),
    (Refusal.MALFORMED, {"closed": True}, {"content": b"From: a@\r\n\r\n"}),
    (Refusal.DUPLICATE_HEADER, {"closed": True}, {"content": b"Subject: a\r\nSubject: b\r\n\r\n"}),
    (Refusal.MALFORMED, {"closed": True}, {"content": b"To: \r\n\r\n"}),
    (Refusal.NON_ASCII_ADDRESS, {"closed": True}, {"content": b"Cc: \xc3\xbc@b.example\r\n\r\n"}),
    (Refusal.NOT_VERIFIED, {"quota": 0}, {"mail_from": "no@where.example", "content": BAD_CONTENT}),
    (Refusal.UNSUPPORTED_ATTACHMENT, {"quota": 0, "rate": 0.0}, {"content": BAD_CONTENT}),
]


@pytest.mark.parametrize(("refusal", "known", "sent"), REFUSALS, ids=lambda v: v if isinstance(v, str) else "")
async def test_the_first_reason_in_the_order_of_the_rules_is_given_and_nothing_is_used_up(
    clock: FakeClock, refusal: Refusal, known: dict[str, Any], sent: dict[str, Any]
) -> None:
    bench = Bench(clock, **known)
    before = bench.store.limits
    assert (await bench.refusal(**sent)).refusal is refusal
    assert bench.store.limits == before
    assert not bench.store.orders
    assert bench.hand_over.room == 1000


FROM_NEWS_TO_US = text(
    statement(
        Condition={
            "StringEquals": {"ses:FromAddress": "news@example.org", "ses:FromDisplayName": "The News"},
            "ForAllValues:StringLike": {"ses:Recipients": "*@example.net"},
            "IpAddress": {"aws:SourceIp": "192.0.2.0/24"},
            "DateGreaterThan": {"aws:CurrentTime": "2014-01-01T00:00:00Z"},
        }
    )
)


async def test_policies_are_asked_about_everything_that_is_known_of_the_message(clock: FakeClock) -> None:
    bench = Bench(clock, active_keys={KEY: holder(FROM_NEWS_TO_US)})
    right = {
        "content": b'From: "The News" <news@example.org>\r\n\r\n',
        "mail_from": "bounces+1@example.org",
        "recipients": ("a@example.net", "b@example.net"),
        "client_address": "192.0.2.1",
    }
    await bench.acceptance.accept(submission(**right))
    for wrong in (
        {"content": b"From: The News <old@example.org>\r\n\r\n"},
        {"content": b"From: Old News <news@example.org>\r\n\r\n"},
        {"content": b"From: The News <news@example.org>, The News <old@example.org>\r\n\r\n"},
        {"recipients": ("a@example.net", "b@example.com")},
        {"client_address": "198.51.100.1"},
    ):
        refused = await bench.refusal(**(right | wrong))
        assert refused.refusal is Refusal.NOT_AUTHORIZED, wrong
        assert refused.details == (
            f"arn:aws:iam::{ACCOUNT}:user/mailer",
            "ses:SendRawEmail",
            f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/example.org",
        )
    clock.set_wall(1_300_000_000 * SECOND)
    assert (await bench.refusal(**right)).refusal is Refusal.NOT_AUTHORIZED


async def test_a_message_without_from_is_its_envelope_senders(clock: FakeClock) -> None:
    own = text(statement(Condition={"StringEquals": {"ses:FromAddress": "sender@example.com"}}))
    bench = Bench(clock, active_keys={KEY: holder(own)})
    await bench.acceptance.accept(submission(b"Subject: x\r\n\r\n"))
    assert (await bench.refusal(content=b"Subject: x\r\n\r\n", mail_from="a@example.org")).details[0].endswith("mailer")


async def test_a_policy_that_changed_meanwhile_is_judged_again_in_the_transaction(bench: Bench) -> None:
    bench.store.binding = facts(version=2, active_keys={KEY: holder(text(statement("Deny")))})
    assert (await bench.refusal()).refusal is Refusal.NOT_AUTHORIZED


async def test_nothing_is_asked_for_a_user_who_may_always_send(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot path: no context is built, no statement looked at."""

    def fail(*_: Any) -> None:
        raise AssertionError

    await bench.acceptance.accept(submission())
    monkeypatch.setattr(permission, "check", fail)
    monkeypatch.setattr(Permissions, "decide", fail)
    await bench.acceptance.accept(submission())


async def test_all_failing_identities_are_named_together_as_they_were_spelled(clock: FakeClock) -> None:
    bench = Bench(clock, production=False)
    refused = await bench.refusal(
        content=b'From: "Big, Boss" <boss@example.com>,\r\n clerk@sub.example.org\r\n'
        b"Sender: x@elsewhere.example\r\n\r\n",
        mail_from="boss@example.com",
        recipients=("to@example.net", "Success+tag@simulator.amazonses.com", "you@example.org"),
    )
    assert refused.details == (
        REGION, '"Big, Boss" <boss@example.com>', "x@elsewhere.example", "boss@example.com", "to@example.net",
    )  # fmt: skip


async def test_facts_that_changed_meanwhile_are_judged_again_in_the_transaction(bench: Bench) -> None:
    bench.store.binding = facts(version=2, verified=VerifiedIdentities(frozenset(), frozenset()))
    assert (await bench.refusal()).refusal is Refusal.NOT_VERIFIED
    assert bench.hand_over.room == 1000


async def test_a_no_is_only_given_by_fresh_facts(clock: FakeClock) -> None:
    bench = Bench(clock, suspended=True)
    bench.store.binding = facts(version=2)
    await bench.acceptance.accept(submission())
    assert len(bench.store.orders) == 1


async def test_simulator_recipients_use_rate_but_no_quota(clock: FakeClock) -> None:
    bench = Bench(clock, quota=1)
    recipients = ("to@example.net", "bounce@simulator.relay.example.net", "OOTO@Simulator.AmazonSES.com")
    await bench.acceptance.accept(submission(recipients=recipients))
    assert bench.store.orders[0].quota_units == 1
    assert bench.store.limits.used_24_hours == 1
    assert bench.store.limits.tokens == 7_000_000


async def test_the_relays_own_mail_is_judged_by_nobody(clock: FakeClock) -> None:
    bench = Bench(clock, suspended=True, quota=0)
    mail = submission(
        b"From: MAILER-DAEMON@us-east-1.relay.example.net\r\n\r\n",
        origin=Origin.RELAY,
        mail_from="",
        access_key_id="",
        consumes_outbox=7,
    )
    await bench.acceptance.accept(mail)
    (order,) = bench.store.orders
    assert (order.judge, order.quota_units, order.consumes_outbox) == (None, 0, 7)
    assert order.message.header_from == "MAILER-DAEMON@us-east-1.relay.example.net"


async def test_the_same_invocation_is_accepted_once_and_answered_with_the_first_id(bench: Bench) -> None:
    content = b"From: sender@example.com\r\nX-SESRelay-Invocation-Id: abc\r\n\r\n"
    first = await bench.acceptance.accept(submission(content))
    assert await bench.acceptance.accept(submission(content)) == first
    assert len(bench.store.orders) == 1
    assert bench.store.orders[0].invocation_id == "abc"
    assert b"nvocation" not in bytes(bench.store.orders[0].message.content)  # type: ignore[arg-type]
    assert len(bench.hand_over.withdrawn) == 1
    other = await bench.refusal(content=content, recipients=("other@example.net",))
    assert other.refusal is Refusal.INVOCATION_REUSED


async def test_the_sdks_invocation_id_comes_before_the_header_field(bench: Bench) -> None:
    await bench.acceptance.accept(
        submission(b"From: sender@example.com\r\nX-SESRELAY-INVOCATION-ID: abc\r\n\r\n", invocation_id="sdk")
    )
    assert bench.store.orders[0].invocation_id == "sdk"


async def test_tags_are_kept_as_json_and_taken_off(bench: Bench) -> None:
    await bench.acceptance.accept(submission(b"From: sender@example.com\r\nX-Ses-Message-Tags: a=b,\r\n c=d\r\n\r\nx"))
    assert json.loads(bench.store.orders[0].message.tags) == {"X-SES-MESSAGE-TAGS": "a=b, c=d"}


async def test_a_spooled_body_gets_its_header_rewritten_and_stays_where_it_is(bench: Bench) -> None:
    spooled = SpooledBody(b"From: sender@example.com\r\nno field\r\n\r\n", "/spool/1", 4096, 300_000, 7)
    await bench.acceptance.accept(submission(content=spooled))
    message = bench.store.orders[0].message
    assert isinstance(message.content, SpooledBody)
    assert message.content.header[: message.header_length].endswith(b"\r\n\r\n")
    assert message.content.header[message.header_length :] == b"no field\r\n\r\n"
    assert (message.content.path, message.content.body_length) == ("/spool/1", 300_000)
    ((_, handed),) = bench.hand_over.taken
    assert handed is None
    assert bench.hand_over.asked[0][2] == len(message.content.header) + 300_000


async def test_a_spooled_message_whose_header_never_ends_is_refused(bench: Bench) -> None:
    refused = await bench.refusal(content=SpooledBody(b"A: b\r\n" * 50_000, "/spool/1", 4096, 300_000, 7))
    assert refused.refusal is Refusal.HEADER_TOO_LONG


def of_two_parts(octets: int, extension: str) -> bytes:
    """A multipart, without its header."""
    text = b"\r\n" + b"text\r\n" * (octets // 6)
    return (
        b"--b\r\n"
        + text
        + b"--b\r\nContent-Disposition: a; filename=x."
        + extension.encode()
        + b"\r\n\r\nx\r\n--b--\r\n"
    )


MULTIPART = b"From: sender@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n"


@pytest.mark.parametrize("octets", [100, 100_000])
async def test_what_must_not_be_in_a_message_is_found_in_memory(bench: Bench, octets: int) -> None:
    refused = await bench.refusal(content=MULTIPART + b"\r\n" + of_two_parts(octets, "exe"))
    assert (refused.refusal, refused.details) == (Refusal.UNSUPPORTED_ATTACHMENT, ("exe", "part 2"))
    await bench.acceptance.accept(submission(MULTIPART + b"\r\n" + of_two_parts(octets, "pdf")))


@pytest.mark.parametrize("between", [b"", b"no field\r\n"])
async def test_and_in_the_spool(bench: Bench, tmp_path: Path, between: bytes) -> None:
    def spooled(extension: str) -> SpooledBody:
        writer = SpoolWriter(tmp_path / extension, MULTIPART + between + b"\r\n")
        writer.write(of_two_parts(300_000, extension))
        return writer.finish()

    refused = await bench.refusal(content=spooled("exe"))
    assert (refused.refusal, refused.details) == (Refusal.UNSUPPORTED_ATTACHMENT, ("exe", "part 2"))
    await bench.acceptance.accept(submission(content=spooled("pdf")))


async def test_a_spooled_message_without_a_body_has_no_parts_and_one_that_is_gone_is_our_trouble(bench: Bench) -> None:
    empty = SpooledBody(MULTIPART + b"\r\n", "/spool/gone", 4096, 0, 0)
    assert (await bench.refusal(content=empty)).refusal is Refusal.MISSING_START_BOUNDARY
    gone = SpooledBody(MULTIPART + b"\r\n", "/spool/gone", 4096, 300_000, 7)
    assert (await bench.refusal(content=gone)).refusal is Refusal.UNAVAILABLE


async def test_the_relays_own_reports_may_hold_a_delivery_status(bench: Bench) -> None:
    report = b"From: MAILER-DAEMON@x.example\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n"
    assert (await bench.refusal(content=report.replace(b"MAILER-DAEMON@x.example", b"sender@example.com"))).refusal is (
        Refusal.DELIVERY_STATUS
    )
    await bench.acceptance.accept(submission(report, origin=Origin.RELAY, mail_from="", access_key_id=""))


async def test_a_huge_header_is_read_all_the_same(bench: Bench) -> None:
    content = b"From: sender@example.com\r\n" + b"X-Long: " + b"\r\n\tword" * 20_000 + b"\r\n\r\nBody"
    await bench.acceptance.accept(submission(content))
    stored = bench.store.orders[0].message
    assert bytes(stored.content).endswith(b"\r\n\r\nBody")  # type: ignore[arg-type]


async def test_the_clients_address_is_shown_only_when_configured(clock: FakeClock) -> None:
    sent = submission(client_address="192.0.2.1", client_name="app.example (evil\r\nBcc: x")
    hidden, shown = Bench(clock), Bench(clock, Naming(**{**_fields(NAMING), "received_shows_client": True}))
    await hidden.acceptance.accept(sent)
    await shown.acceptance.accept(sent)
    assert b"192.0.2.1" not in bytes(hidden.store.orders[0].message.content)  # type: ignore[arg-type]
    content = bytes(shown.store.orders[0].message.content)  # type: ignore[arg-type]
    assert content.startswith(
        b"Received: from app.example??evil??Bcc:?x ([192.0.2.1]) by email-smtp.us-east-1.relay.example.net"
        b" with ESMTPSA id 0100"
    )


async def test_an_account_that_is_gone_and_a_store_that_is_away_have_their_names(bench: Bench) -> None:
    bench.store.known = None
    assert (await bench.refusal()).refusal is Refusal.NOT_SUBSCRIBED

    async def away(account_id: str, region: str, *, fresh: bool) -> None:
        raise DatabaseAway("away")

    bench.store.facts = away  # type: ignore[method-assign,assignment]
    assert (await bench.refusal()).refusal is Refusal.UNAVAILABLE


def _fields(naming: Naming) -> dict[str, Any]:
    return {name: getattr(naming, name) for name in naming.__slots__}


async def test_a_message_without_from_is_judged_by_its_envelope_sender(bench: Bench) -> None:
    await bench.acceptance.accept(submission(b""))
    message = bench.store.orders[0].message
    assert message.header_from == "sender@example.com"
    assert b"\r\nFrom: sender@example.com\r\n" in bytes(message.content)  # type: ignore[arg-type]
    assert message.access_key_id == KEY


@pytest.mark.parametrize("other", ["Sender", "To", "Resent-Cc"])
@pytest.mark.parametrize(("length", "aside"), [(100, False), (3000, True)])
async def test_a_long_list_of_addresses_is_not_read_on_the_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, length: int, aside: bool, other: str
) -> None:
    threads: set[int] = set()
    parse = mailboxes.parse

    def watched(field: bytes) -> tuple[mailboxes.Mailbox, ...]:
        threads.add(threading.get_ident())
        return parse(field)

    monkeypatch.setattr(mailboxes, "parse", watched)
    addresses = ", ".join(["sender@example.com"] * (length // 20))
    header = f"From: sender@example.com\r\n{other}: {addresses}\r\n".encode()
    await bench.acceptance.accept(submission(header + b"\r\nBody\r\n"))
    assert (threading.get_ident() in threads) is not aside
    assert bench.store.orders[0].message.header_from == "sender@example.com"


async def test_what_was_admitted_and_must_wait_for_its_pace_is_withdrawn(bench: Bench) -> None:
    bench.store.paced = {1}
    await bench.acceptance.accept(submission(recipients=("a@one.example", "b@two.example", "c@three.example")))
    ((claims, _),) = bench.hand_over.taken
    assert [claim.address for claim in claims] == ["a@one.example", "c@three.example"]
    assert [w[:2] for w in bench.hand_over.withdrawn] == [(ACCOUNT, "two.example")]

"""A store in memory and a delivery that only takes notes, for the verbs' tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sesrelay.core.accept import Naming
from sesrelay.core.credentials import GIVEN, SMTP_POLICY
from sesrelay.model.account import AccountFacts, LimitState, VerifiedIdentities
from sesrelay.model.clock import Clock
from sesrelay.model.message import (
    BodyLocation,
    Claim,
    MessageId,
    NewMessage,
    NewRecipient,
    Origin,
    Settlement,
    Submission,
)
from sesrelay.model.policy import KeyHolder, PolicyDocument
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.store.accepting import Accepted, AcceptOrder
from sesrelay.store.credentials import FoundKey, StoredKey
from sesrelay.store.errors import UnknownAccount

REGION = "us-east-1"
ACCOUNT = "123456789012"
KEY = "AKIAIOSFODNN7EXAMPLE"
NAMING = Naming(
    "relay.example.net", (REGION, "eu-west-1"), {r: f"email-smtp.{r}.relay.example.net" for r in (REGION, "eu-west-1")}
)


def holder(*documents: str, user_name: str = "mailer") -> KeyHolder:
    """A user with these policies; without any with the one that `credentials create` gives."""
    texts = documents or (GIVEN[SMTP_POLICY],)
    return KeyHolder(user_name, tuple(PolicyDocument(f"p{number}", text) for number, text in enumerate(texts)))


def facts(**changes: Any) -> AccountFacts:
    """A production account with one address and one domain verified."""
    values: dict[str, Any] = {
        "account_id": ACCOUNT,
        "region": REGION,
        "version": 1,
        "closed": False,
        "suspended": False,
        "production": True,
        "quota": 200,
        "rate": 10.0,
        "verified": VerifiedIdentities(frozenset({"sender@example.com"}), frozenset({"example.org"})),
        "active_keys": {KEY: holder()},
    }
    return AccountFacts(**(values | changes))


def submission(content: bytes = b"From: sender@example.com\r\n\r\nHello\r\n", **changes: Any) -> Submission:
    values: dict[str, Any] = {
        "account_id": ACCOUNT,
        "region": REGION,
        "origin": Origin.CLIENT,
        "access_key_id": KEY,
        "mail_from": "sender@example.com",
        "recipients": ("to@example.net",),
        "content": content,
    }
    return Submission(**(values | changes))


class FakeStore:
    """Judges and keeps what it is given, one order at a time."""

    def __init__(self, clock: Clock, known: AccountFacts | None = None) -> None:
        self.clock = clock
        self.known = known
        self.binding: AccountFacts | None = None
        """What the transaction finds; None: what was cached still stands."""
        self.limits = LimitState(10_000_000, clock.now(), 0)
        self.orders: list[AcceptOrder] = []
        self.invocations: dict[tuple[str, str], tuple[bytes, MessageId]] = {}
        self.settled: list[Settlement] = []
        self.lost: set[tuple[MessageId, int]] = set()
        self.trouble: Exception | None = None
        self.keys: dict[str, StoredKey] = {}
        self.claims = True
        """False: as a worker that was declared dead, which may claim nothing."""
        self.paced: set[int] = set()
        """Recipients by number that must wait although they could be claimed."""

    async def facts(
        self, account_id: str, region: str, *, fresh: bool = False, version: int | None = None
    ) -> AccountFacts:
        if self.known is None:
            raise UnknownAccount("no such account")
        if (fresh or (version or 0) > self.known.version) and self.binding is not None:
            self.known = self.binding
        return self.known

    async def find_key(self, access_key_id: str, region: str) -> FoundKey | None:
        if self.trouble:
            raise self.trouble
        key, now = self.keys.get(access_key_id), self.binding or self.known
        return None if key is None else FoundKey(key, now.version if now else 0)

    async def accept(self, order: AcceptOrder) -> Accepted:
        if self.trouble:
            raise self.trouble
        message = order.message
        invocation = (message.access_key_id, order.invocation_id)
        if order.invocation_id and invocation in self.invocations:
            request_hash, known = self.invocations[invocation]
            if request_hash != order.request_hash:
                raise Refused(Refusal.INVOCATION_REUSED)
            return Accepted(known, (), replayed=True)
        if order.judge:
            found = self.binding or self.known
            assert found
            self.limits = order.judge(found, self.limits, self.clock.now())
        self.invocations[invocation] = (order.request_hash, message.message_id)
        self.orders.append(order)
        claimed = [r for r in message.recipients if r.claimed and self.claims and r.number not in self.paced]
        return Accepted(message.message_id, tuple(claim(message, r) for r in claimed), paced=bool(self.paced))

    async def settle(self, settlements: Sequence[Settlement]) -> frozenset[tuple[MessageId, int]]:
        self.settled += settlements
        return frozenset((s.claim.message_id, s.claim.number) for s in settlements) - self.lost


def claim(message: NewMessage, recipient: NewRecipient, attempts: int = 1) -> Claim:
    return Claim(
        message.message_id,
        recipient.number,
        recipient.address,
        recipient.domain,
        message.account_id,
        message.region,
        message.origin,
        message.mail_from,
        message.header_from,
        message.accepted_at,
        attempts,
        False,
        message.eight_bit,
        message.hops,
        message.header_length,
        BodyLocation("", 0, 0, 0),
    )


class FakeHandOver:
    """Has room for as many recipients as it is told."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.captured: set[str] = set()
        self.taken: list[tuple[tuple[Claim, ...], bytes | None]] = []
        self.asked: list[tuple[str, str, int]] = []
        self.withdrawn: list[tuple[str, str, int]] = []

    def captures(self, domain: str) -> bool:
        return domain in self.captured

    def admits(self, account_id: str, domain: str, octets: int) -> bool:
        self.asked.append((account_id, domain, octets))
        self.room -= 1
        return self.room >= 0

    def take(self, claims: tuple[Claim, ...], content: bytes | None) -> None:
        self.taken.append((claims, content))

    def withdraw(self, account_id: str, domain: str, octets: int) -> None:
        self.withdrawn.append((account_id, domain, octets))
        self.room += 1

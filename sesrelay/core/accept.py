"""Taking responsibility for a message: the only way into the queue, for clients and for the relay itself.

Gather what is known of message and account, judge by pure rules, apply in one transaction. The judgment is made
twice: on cached facts before anything is written, and, binding, by the store inside the transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sesrelay.model.account import AccountFacts, LimitState
from sesrelay.model.address import domain_of
from sesrelay.model.clock import Clock, Micros
from sesrelay.model.message import (
    Claim,
    MessageId,
    NewMessage,
    NewRecipient,
    Origin,
    SpooledBody,
    Submission,
)
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import acceptance, content, headers, mailboxes
from sesrelay.rules.mailboxes import Mailbox
from sesrelay.rules.sandbox import is_simulated, simulator_domains
from sesrelay.store import spool
from sesrelay.store.accepting import Accepted, AcceptOrder, Judge
from sesrelay.store.errors import StoreError, UnknownAccount

LONG_LISTS: Final = 2048
"""Octets of addresses, of senders or of others, beyond which they are not read on the event loop: few have more."""
BIG_HEADER: Final = 65_536
"""Octets of header beyond which reading it goes to a thread: the loop serves others meanwhile."""
UNIQUES_AT_ONCE: Final = 64
"""So many messages are named by what one call of the system's randomness gives."""
BIG_BODY: Final = 65_536
"""The same for a message whose parts must be looked through."""
_CLIENT: Final = Origin.CLIENT  # before Python 3.12 a member is looked up by a call
_UUID_VERSION: Final = (0x4 << 76) | (0x2 << 62)
_UUID_CHANCE: Final = (1 << 128) - 1 ^ (0xF << 76) ^ (0x3 << 62)


class AcceptStore(Protocol):
    """What acceptance needs of the store."""

    async def accept(self, order: AcceptOrder) -> Accepted: ...

    async def facts(self, account_id: str, region: str, *, fresh: bool = False) -> AccountFacts: ...


class HandOver(Protocol):
    """This worker's own delivery: takes new mail from memory, without a way through the database."""

    def captures(self, domain: str) -> bool:
        """Whether mail to that domain is kept here: it is finished with its acceptance."""

    def admits(self, account_id: str, domain: str, octets: int) -> bool:
        """Whether there is room for one more recipient of that destination and account; if so, it is taken."""

    def take(self, claims: tuple[Claim, ...], content: bytes | None) -> None:
        """Committed and ours: deliver now. ``content`` None: read it from the store."""

    def withdraw(self, account_id: str, domain: str, octets: int) -> None:
        """What was admitted will not come."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What the relay calls itself in the mail that it accepts."""

    service_domain: str
    regions: tuple[str, ...]
    """In the order of the configuration; a region's place is in its message ids."""
    endpoints: Mapping[str, str]
    """By region, the SMTP endpoint's host name."""
    outgoing_address: str = "127.0.0.1"
    received_shows_client: bool = False


class Acceptance:
    """The way in: ``accept`` is all of it."""

    def __init__(
        self,
        store: AcceptStore,
        clock: Clock,
        chance: Callable[[int], bytes],
        naming: Naming,
        hand_over: HandOver,
        *,
        burst_seconds: float = 1.0,
        captured: Callable[[int], None] = lambda _: None,
    ) -> None:
        """``captured`` hears how many recipients of an accepted message are kept here, for counting."""
        self._captured = captured
        self._store = store
        self._clock = clock
        self._chance = chance
        self._naming = naming
        self._hand_over = hand_over
        self._burst_seconds = burst_seconds
        self._numbers = {region: number for number, region in enumerate(naming.regions)}
        self._simulator = simulator_domains(naming.service_domain)
        self._uniques: list[bytes] = []

    async def accept(self, submission: Submission) -> MessageId:
        """The id under which the message is now durable and will be delivered or bounced. Raises Refused.

        Must run to its end once begun: a caller whose client may go away runs it in a task of its own.
        """
        stamp = self._stamp(submission)
        octets = submission.content
        if isinstance(octets, bytes) and _has_small_header(octets):
            read = headers.rewrite(octets, stamp)
        else:
            read = await self._read(submission, stamp)
        judge: Judge | None = None
        candidate: acceptance.Candidate | None = None
        quota_units = 0
        if submission.origin is _CLIENT:
            candidate = await self._candidate_of(submission, read, stamp.at)
            quota_units = candidate.quota_units
            judge = await self._advised(submission, candidate)
            if not content.is_decided(read.content):
                await self._check_content(submission.content, read)
        message = self._message(submission, stamp, read, candidate)
        invocation_id = submission.invocation_id or read.invocation_id
        order = AcceptOrder(
            message,
            judge,
            quota_units,
            invocation_id,
            _request_hash(submission) if invocation_id else b"",
            submission.consumes_outbox,
        )
        return await self._apply(order)

    def _stamp(self, submission: Submission) -> headers.Stamp:
        naming = self._naming
        now = self._clock.now()
        return headers.Stamp(
            MessageId.make(self._numbers[submission.region], now, self._unique()),
            now,
            submission.account_id,
            submission.region,
            naming.service_domain,
            naming.endpoints[submission.region],
            submission.protocol,
            submission.mail_from,
            naming.outgoing_address,
            submission.client_name,
            submission.client_address if naming.received_shows_client else "",
        )

    def _unique(self) -> bytes:
        """A UUID of version 4 (RFC 9562 §5.4)."""
        if not self._uniques:
            octets = self._chance(16 * UNIQUES_AT_ONCE)
            self._uniques = [octets[at : at + 16] for at in range(0, len(octets), 16)]
        return (int.from_bytes(self._uniques.pop(), "big") & _UUID_CHANCE | _UUID_VERSION).to_bytes(16, "big")

    async def _read(self, submission: Submission, stamp: headers.Stamp) -> headers.Rewritten:
        """What ``headers.rewrite`` says of a header that is big, or lies apart from its body: read in a thread."""
        octets = submission.content
        if isinstance(octets, bytes):
            return await asyncio.to_thread(headers.rewrite, octets, stamp)
        block = octets.header
        read = await asyncio.to_thread(headers.rewrite, block, stamp)
        if read.consumed == len(block) and not block.endswith(b"\r\n\r\n") and block != b"\r\n":
            raise Refused(Refusal.HEADER_TOO_LONG)
        return read

    async def _check_content(self, message: bytes | SpooledBody, read: headers.Rewritten) -> None:
        """A big one in a thread: the loop serves others meanwhile."""
        if isinstance(message, SpooledBody):
            await asyncio.to_thread(_check_spooled, message, read)
        elif len(message) > BIG_BODY:
            await asyncio.to_thread(content.check, message, read.consumed, read.content)
        else:
            content.check(message, read.consumed, read.content)

    async def _candidate_of(self, submission: Submission, read: headers.Rewritten, at: Micros) -> acceptance.Candidate:
        senders = len(read.header_from or b"") + len(read.sender or b"")
        if senders <= LONG_LISTS and sum([len(body) for _, body in read.addresses]) <= LONG_LISTS:
            return self._candidate(submission, read, at)
        return await asyncio.to_thread(self._candidate, submission, read, at)

    def _candidate(self, submission: Submission, read: headers.Rewritten, at: Micros) -> acceptance.Candidate:
        envelope = Mailbox(submission.mail_from, submission.mail_from)
        authors = (envelope,) if read.header_from is None else mailboxes.parse(read.header_from)
        sender = () if read.sender is None else mailboxes.parse(read.sender)
        mailboxes.check_lists(read.addresses)
        recipients = _distinct(submission.recipients)
        simulated = sum([is_simulated(address, self._simulator) for address in recipients])
        return acceptance.Candidate(
            submission.access_key_id,
            authors[0].address,
            (*authors, *sender, envelope),
            recipients,
            submission.recipients_named,
            self._simulator,
            len(recipients) - simulated,
            len(authors),
            submission.client_address,
            at,
        )

    async def _advised(self, submission: Submission, candidate: acceptance.Candidate) -> Judge:
        """Judges on what is known already, so that a body that is refused is not written; and again when it counts.

        Known facts may be a second old: a no is only given by fresh ones.
        """
        advised = await self._facts(submission, fresh=False)
        try:
            acceptance.check(candidate, advised)
        except Refused:
            advised = await self._facts(submission, fresh=True)
            acceptance.check(candidate, advised)
        burst_seconds = self._burst_seconds

        def judge(facts: AccountFacts, state: LimitState, now: Micros) -> LimitState:
            return acceptance.judge(candidate, facts, state, now, checked=advised, burst_seconds=burst_seconds)

        return judge

    async def _facts(self, submission: Submission, *, fresh: bool) -> AccountFacts:
        try:
            return await self._store.facts(submission.account_id, submission.region, fresh=fresh)
        except UnknownAccount:
            raise Refused(Refusal.NOT_SUBSCRIBED) from None
        except StoreError as error:
            raise Refused(Refusal.UNAVAILABLE) from error

    def _message(
        self,
        submission: Submission,
        stamp: headers.Stamp,
        read: headers.Rewritten,
        candidate: acceptance.Candidate | None,
    ) -> NewMessage:
        header_length = len(read.header)
        content, length = _rewritten(submission.content, read)
        return NewMessage(
            stamp.message_id,
            submission.account_id,
            submission.region,
            submission.origin,
            submission.access_key_id,
            submission.mail_from,
            candidate.header_from if candidate else _author(submission, read),
            headers.text(read.subject, headers.SUBJECT_LENGTH),
            stamp.at,
            content,
            header_length,
            submission.eight_bit,
            read.hops,
            headers.body_hash(content, header_length) if isinstance(content, bytes) else b"",
            json.dumps(read.tags) if read.tags else "",
            self._recipients(submission, length),
        )

    def _recipients(self, submission: Submission, octets: int) -> tuple[NewRecipient, ...]:
        """Each address once, in the client's order; as many as there is room for go straight to our own delivery."""
        hand_over, account_id = self._hand_over, submission.account_id
        recipients: list[NewRecipient] = []
        for number, address in enumerate(_distinct(submission.recipients)):
            domain = domain_of(address)
            captured = hand_over.captures(domain)
            claimed = not captured and hand_over.admits(account_id, domain, octets)
            recipients.append(NewRecipient(number, address, domain, claimed, captured))
        return tuple(recipients)

    async def _apply(self, order: AcceptOrder) -> MessageId:
        message = order.message
        content = message.content
        try:
            accepted = await self._store.accept(order)
        except BaseException:
            self._withdraw(message)
            raise
        if accepted.claims:
            if accepted.paced:
                self._withdraw(message, {claim.number for claim in accepted.claims})
            self._hand_over.take(accepted.claims, content if isinstance(content, bytes) else None)
        else:  # accepted before, or this process may claim nothing at present
            self._withdraw(message)
        captured = sum([recipient.captured for recipient in message.recipients])
        if captured and not accepted.replayed:
            self._captured(captured)
        return accepted.message_id

    def _withdraw(self, message: NewMessage, but: Container[int] = ()) -> None:
        """What was admitted will not come; ``but`` the recipients of these numbers."""
        octets = _length(message.content)
        for recipient in message.recipients:
            if recipient.claimed and recipient.number not in but:
                self._hand_over.withdraw(message.account_id, recipient.domain, octets)


def _has_small_header(octets: bytes) -> bool:
    return len(octets) <= BIG_HEADER or octets.find(b"\r\n\r\n", 0, BIG_HEADER) >= 0


def _author(submission: Submission, read: headers.Rewritten) -> str:
    """Of mail that no client sent."""
    return submission.mail_from if read.header_from is None else mailboxes.parse(read.header_from)[0].address


def _check_spooled(spooled: SpooledBody, read: headers.Rewritten) -> None:
    behind_header = spooled.header[read.consumed :]  # not empty when a line that is no field ended the header
    if not spooled.body_length:
        content.check(behind_header, 0, read.content)
        return
    try:
        with spool.mapped(spooled) as octets:
            if behind_header:
                content.check(behind_header + octets[spooled.reserved :], 0, read.content)
            else:
                content.check(octets, spooled.reserved, read.content)
    except OSError as error:
        raise Refused(Refusal.UNAVAILABLE) from error


def _distinct(recipients: tuple[str, ...]) -> tuple[str, ...]:
    """An address that was named twice gets one copy."""
    return recipients if len(recipients) < 2 else tuple(dict.fromkeys(recipients))


def _rewritten(content: bytes | SpooledBody, read: headers.Rewritten) -> tuple[bytes | SpooledBody, int]:
    """The message with its new header, and its length."""
    if isinstance(content, bytes):
        whole = b"".join((read.header, memoryview(content)[read.consumed :]))
        return whole, len(whole)
    spooled = replace(content, header=read.header + content.header[read.consumed :])
    return spooled, _length(spooled)


def _length(content: bytes | SpooledBody) -> int:
    return len(content) if isinstance(content, bytes) else len(content.header) + content.body_length


def _request_hash(submission: Submission) -> bytes:
    """Tells whether an invocation id came again with the same request (BEY-5): envelope and message as they came."""
    envelope = "\0".join((submission.mail_from, *submission.recipients, "", ""))
    digest = hashlib.sha256(envelope.encode("utf-8", "surrogateescape"))
    content = submission.content
    if isinstance(content, bytes):
        digest.update(content)
    else:
        digest.update(content.header)
        digest.update(b"%d %d" % (content.body_length, content.body_crc32))
    return digest.digest()

"""A message on its way: from the submission of a client to the state of each recipient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from sesrelay.model.clock import Micros
from sesrelay.model.reply import Reply, Scope, Stage


class MessageId(bytes):
    """24 octets: region prefix (2), milliseconds since 1970 (6), a UUID (16). Sorted by time within a region.

    Written as SES writes it: ``0100019a…-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx-000000``.
    """

    __slots__ = ()
    LENGTH: Final = 24

    @classmethod
    def make(cls, region_number: int, at: Micros, unique: bytes) -> MessageId:
        """A new id: the region's place in the configuration, the time, and 16 octets of chance."""
        return cls((0x0100 + region_number).to_bytes(2, "big") + (at // 1000).to_bytes(6, "big") + unique)

    @classmethod
    def parse(cls, text: str) -> MessageId:
        """The id that ``str`` wrote. ValueError when it is none."""
        digits = text.removesuffix("-000000").replace("-", "")
        if len(digits) != 2 * cls.LENGTH or len(text) != 60:
            raise ValueError(f"not a message id: {text!r}")
        return cls(bytes.fromhex(digits))

    def __str__(self) -> str:
        return _written(self)

    __repr__ = __str__

    @property
    def at(self) -> Micros:
        """When it was made, to the millisecond."""
        return int.from_bytes(self[2:8], "big") * 1000


@lru_cache(maxsize=256)
def _written(message_id: bytes) -> str:
    """Asked for twice at least within milliseconds: for the header, and for the client."""
    h = message_id.hex()
    return f"{h[:16]}-{h[16:24]}-{h[24:28]}-{h[28:32]}-{h[32:36]}-{h[36:]}-000000"


class Origin(StrEnum):
    """Who sent it. The relay's own mail has a null envelope sender and uses no quota."""

    CLIENT = "client"
    RELAY = "relay"
    SIMULATOR = "simulator"


@dataclass(frozen=True, slots=True)
class SpooledBody:
    """A message too big for memory: its header block here, what follows the header in a file.

    The file at ``path`` (in the store's spool folder) has ``reserved`` free octets in front of the body, so that
    the rewritten header can be put there, ending where the body begins.
    """

    header: bytes
    """From the first octet up to and including the empty line that ends the header."""
    path: str
    reserved: int
    body_length: int
    body_crc32: int


class Submission(NamedTuple):
    """One message as a front took it: dots removed, CRLF line ends, nothing rewritten."""

    account_id: str
    region: str
    origin: Origin
    access_key_id: str
    """"" for the relay's own mail."""
    mail_from: str
    """Envelope sender; "" (null) only for the relay's own mail."""
    recipients: tuple[str, ...]
    content: bytes | SpooledBody
    eight_bit: bool = False
    """BODY=8BITMIME was said."""
    recipients_named: int = 0
    """How many the client named; beyond 50 they are counted but not kept (SMTP-8). 0: as many as kept."""
    client_address: str = ""
    client_name: str = ""
    """What the client called itself in EHLO."""
    protocol: str = "ESMTPSA"
    """RFC 3848: for the Received field."""
    invocation_id: str = ""
    """Idempotent sending (BEY-5); "": none."""
    consumes_outbox: int = 0
    """The outbox row that this mail was made of; it is deleted in the same transaction. 0: none."""


class RecipientState(StrEnum):
    """Where a recipient's copy stands. Held, claimed and in doubt are flags of queued, not states.

    A recipient begins as queued; as captured where the route says so when the message is accepted.
    """

    QUEUED = "queued"
    CAPTURED = "captured"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    SUPPRESSED = "suppressed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


TRANSITIONS: Final[Mapping[RecipientState, Mapping[RecipientState, str]]] = {
    RecipientState.QUEUED: {
        RecipientState.QUEUED: "an attempt failed for now, or an operator held or released it",
        RecipientState.CAPTURED: "the route says to keep it here",
        RecipientState.DELIVERED: "the next hop took responsibility: 250 after the final dot",
        RecipientState.BOUNCED: "the next hop, or we, refused for good",
        RecipientState.SUPPRESSED: "the address is on the suppression list",
        RecipientState.REJECTED: "a scanner found something in it after acceptance",
        RecipientState.EXPIRED: "no next hop took it before it was too old",
        RecipientState.CANCELLED: "an operator removed it",
    },
}
"""What can happen to a recipient and why. What is absent cannot happen: every other state is final."""


class BodyLocation(NamedTuple):
    """Where the bytes of a message lie. ``segment`` "": in the database, by message id."""

    segment: str
    offset: int
    length: int
    crc32: int


class NewRecipient(NamedTuple):
    """A recipient of a message that is being accepted. ``number`` counts from 0 and never changes."""

    number: int
    address: str
    domain: str
    """Lower case; the lane's name."""
    claimed: bool
    """True: handed to this worker's own delivery in memory; False: left in its lane for any worker."""
    captured: bool = False
    """True: its copy is kept here and goes nowhere; its state is final from the first moment on."""
    due_at: Micros = 0
    """Not sent before: the account's mail is paced (BEY-2); 0: at once."""


class NewMessage(NamedTuple):
    """A judged message with everything that is written about it when it is accepted."""

    message_id: MessageId
    account_id: str
    region: str
    origin: Origin
    access_key_id: str
    mail_from: str
    header_from: str
    """The mailbox whose identity's settings count (ID-5)."""
    subject: str
    """Raw field body, at most 255 characters; for lists."""
    accepted_at: Micros
    content: bytes | SpooledBody
    """As it is sent but for DKIM signatures: header rewritten (MSG-2, MSG-6), CRLF, dots not doubled."""
    header_length: int
    """Octets of content up to and including the empty line."""
    eight_bit: bool
    hops: int
    """Received fields it came with (loop detection)."""
    body_hash: bytes
    """SHA-256 of the body in DKIM's simple canonical form."""
    tags: str
    """JSON object of what MSG-7 took off; "" without any."""
    recipients: tuple[NewRecipient, ...]


class Claim(NamedTuple):
    """One recipient of one message in a worker's hands: what an attempt needs to know."""

    message_id: MessageId
    number: int
    address: str
    domain: str
    account_id: str
    region: str
    origin: Origin
    mail_from: str
    header_from: str
    accepted_at: Micros
    attempts: int
    """This attempt's number, from 1."""
    in_doubt: bool
    eight_bit: bool
    hops: int
    header_length: int
    body: BodyLocation
    sequence: int = 0
    """How much its story had when it was claimed. What is written about the claim counts only while that is so: a
    newer claim of the same worker is another one."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What became of one claim in one attempt: the remote's reply, or our own words where it gave none."""

    claim: Claim
    stage: Stage
    scope: Scope
    reply: Reply | None
    trouble: str
    """Why there is no reply (``connection timed out``), or "" when there is one."""
    captured: bool = False
    not_tried: bool = False
    """We chose to wait (rate, back-off, drain): this was no attempt."""
    permanent: bool = False
    """Our own final no (null MX, loop); ``trouble`` has the diagnostic with an SMTP code in front."""
    in_doubt: bool = False
    """The final dot was sent and its answer never came."""
    remote: str = ""
    """``mx.example.com [192.0.2.1]:25``"""
    local_address: str = ""
    tls: str = ""
    """``TLSv1.3 TLS_AES_256_GCM_SHA384``, "" in clear."""
    started_at: Micros = 0
    finished_at: Micros = 0


class BounceType(StrEnum):
    """In SES's words (guide, "Bounce Types")."""

    UNDETERMINED = "Undetermined"
    PERMANENT = "Permanent"
    TRANSIENT = "Transient"


@dataclass(frozen=True, slots=True)
class Bounce:
    """How a failure is classified, and by which rule."""

    type: BounceType
    sub_type: str
    action: str
    """RFC 3464: failed, delayed."""
    status: str
    """RFC 3463: 5.1.1"""
    diagnostic: str
    """``smtp; 550 5.1.1 user unknown``"""
    rule: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything that settling one claim does, as values; settle applies it and decides nothing."""

    state: RecipientState
    smtp_response: str
    history: str
    """JSON object: the row of the message's story (attempt, stage, remote, tls, reply, rule)."""
    counts_as_attempt: bool = True
    next_attempt_at: Micros = 0
    """With state queued: when it is due again."""
    in_doubt: bool = False
    held: bool = False
    bounce: Bounce | None = None
    tells_sender: bool = False
    """Make an outbox row for a bounce mail to the envelope sender."""


class Settlement(NamedTuple):
    """A claim and what has to be written about it."""

    claim: Claim
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """Something that somebody must be told; deleted in the transaction that made sure of it."""

    outbox_id: int
    kind: str
    """``bounce-mail``"""
    account_id: str
    region: str
    message_id: MessageId
    payload: str
    """JSON object; its shape belongs to the kind."""
    created_at: Micros
    attempts: int

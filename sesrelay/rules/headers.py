"""What the relay does to a header, in one pass over its octets: a few fields change, everything else stays as it came.

Date and Message-ID are replaced in place, Return-Path, Bcc and the X-SES- family are taken off, what is missing of
Date, Message-ID and From is added at the end (MSG-2, MSG-7); Received goes on top, Feedback-ID and X-SES-Outgoing to
the end (MSG-6). A signature that the client made over other fields still verifies (MSG-5).

The header ends at the first empty line. A line that is no field ends it, too: an empty line is put in front of it, so
that every reader behind us sees the same header as we do.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final, NamedTuple

from sesrelay.model.clock import SECOND, Micros
from sesrelay.model.message import MessageId
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules.content import Fields
from sesrelay.rules.fields import (
    ACTIONS,
    COUNT_HOP,
    NOTE,
    PASS,
    READ_ADDRESSES,
    READ_DISPOSITION,
    READ_ENCODING,
    READ_FROM,
    READ_REPLY_TO,
    READ_SENDER,
    READ_SUBJECT,
    READ_TYPE,
    REPLACE_DATE,
    REPLACE_MESSAGE_ID,
    TAKE_OFF,
    TAKE_OFF_INVOCATION,
    TAKE_OFF_TAG,
)

_FIELD: Final = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*+)(?:\r\n|\Z)")
"""A field with its folded lines: name, raw body. Possessive, so that no header makes it slow or hungry."""
_FOLD: Final = re.compile(rb"\r\n(?=[ \t])")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_CRLF: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
SUBJECT_LENGTH: Final = 255


class Stamp(NamedTuple):
    """What acceptance writes into a header."""

    message_id: MessageId
    at: Micros
    account_id: str
    region: str
    service_domain: str
    host: str
    """The region's endpoint name, for Received."""
    protocol: str
    """RFC 3848, for Received; "": the relay made the mail itself."""
    mail_from: str
    outgoing_address: str
    """The address that mail leaves from, for X-SES-Outgoing."""
    client_name: str = ""
    """What the client called itself."""
    client_address: str = ""
    """When Received shall show it; "": client and address stay away."""


class Rewritten(NamedTuple):
    """A header as it is sent, and everything that was read on the way."""

    header: bytes
    """Up to and including the empty line."""
    consumed: int
    """Octets of the original that ``header`` stands for; the body follows them."""
    header_from: bytes | None
    """Field bodies are raw: folded, with blanks. None: no such field."""
    sender: bytes | None
    subject: bytes
    hops: int
    """Received fields it came with."""
    tags: Mapping[str, str]
    """X-SES- fields that were taken off, by upper-case name."""
    invocation_id: str
    content: Fields = Fields(None, None, None)
    addresses: Sequence[tuple[bytes, bytes]] = ()
    """Name and body of every other field that lists addresses."""


def rewrite(block: bytes, stamp: Stamp) -> Rewritten:
    """The header at the start of ``block`` (a whole message, or its header alone), rewritten.

    Raises Refused(DUPLICATE_HEADER) with the name of the field as it was spelled.
    """
    stop, behind = _extent(block)
    message_id = str(stamp.message_id).encode("ascii")
    parts = [_received(stamp, message_id)]
    found: dict[int, bytes] = {}
    tags: dict[str, str] = {}
    addresses: list[tuple[bytes, bytes]] = []
    seen: set[bytes] = set()
    hops = copied = end = 0
    while match := _FIELD.match(block, end, stop):
        start, end = end, match.end()
        name = match[1].lower()
        action = ACTIONS.get(name)
        if action is None:
            continue
        if action < TAKE_OFF:
            if name in seen:
                raise Refused(Refusal.DUPLICATE_HEADER, match[1].decode("ascii"))
            seen.add(name)
            if action == PASS:
                continue
            if action < REPLACE_DATE:
                found[action] = match[2]
                continue
        elif action == COUNT_HOP:
            hops += 1
            continue
        elif action == NOTE:
            seen.add(name)
            continue
        elif action == READ_ADDRESSES:
            addresses.append((name, match[2]))
            continue
        elif action == TAKE_OFF_TAG:
            tags.setdefault(name.decode().upper(), text(match[2]))
        elif action == TAKE_OFF_INVOCATION:
            found.setdefault(action, match[2])
        parts += (block[copied:start], _instead(action, stamp, message_id))
        copied = end
    parts.append(block[copied:end])
    if copied < end and not block.endswith(_CRLF, 0, end):
        parts.append(_CRLF)
    _add_missing(parts, stamp, seen, message_id)
    if READ_REPLY_TO in found:
        addresses.append((b"reply-to", found[READ_REPLY_TO]))
    return Rewritten(
        b"".join(parts),
        behind if end == stop else end,
        found.get(READ_FROM),
        found.get(READ_SENDER),
        found.get(READ_SUBJECT, b""),
        hops,
        tags,
        text(found[TAKE_OFF_INVOCATION]) if TAKE_OFF_INVOCATION in found else "",
        Fields(found.get(READ_TYPE), found.get(READ_DISPOSITION), found.get(READ_ENCODING)),
        addresses,
    )


def text(body: bytes, length: int = 1000) -> str:
    """A raw field body as text of one line, at most so long; octets that are not UTF-8 become U+FFFD."""
    beginning = body[: 8 * length]
    if beginning.find(_CRLF) >= 0:  # as `in` first tries the line end as a number
        beginning = _FOLD.sub(b"", beginning)
    return beginning.decode("utf-8", "replace").strip()[:length]


def rfc5322_date(at: Micros) -> str:
    """``Mon, 23 Nov 2026 15:10:08 +0000``"""
    return _date(at // SECOND)


def domain_of_region(region: str, service_domain: str) -> str:
    """The domain of message ids, MAILER-DAEMON and return paths of a region: ``us-east-1.relay.example.net``."""
    return f"{region}.{service_domain}"


def body_hash(content: bytes, header_length: int) -> bytes:
    """SHA-256 of the body in DKIM's simple form: without empty lines at its end (RFC 6376 §3.4.3)."""
    length = len(content)
    if content.endswith(_CRLF) and not content.endswith(_END) and header_length + 2 < length:
        return hashlib.sha256(memoryview(content)[header_length:]).digest()  # as nearly every body ends
    length = header_length + len(content[header_length:].rstrip(_CRLF))
    digest = hashlib.sha256(memoryview(content)[header_length:length])
    digest.update(_CRLF)
    return digest.digest()


def _extent(block: bytes) -> tuple[int, int]:
    """Where the fields end, and where the body begins."""
    if block.startswith(_CRLF):
        return 0, 2
    end = block.find(_END)
    return (len(block), len(block)) if end < 0 else (end + 2, end + 4)


def _instead(action: int, stamp: Stamp, message_id: bytes) -> bytes:
    """What stands in the place of a field that does not stay."""
    if action == REPLACE_DATE:
        return _date_field(stamp.at // SECOND)
    return _message_id_field(stamp, message_id) if action == REPLACE_MESSAGE_ID else b""


def _received(stamp: Stamp, message_id: bytes) -> bytes:
    second = stamp.at // SECOND
    if not stamp.client_address:
        return b"%b%b;\r\n\t%b\r\n" % (_received_by(stamp.host, stamp.protocol, ""), message_id, _date_octets(second))
    # RFC 5321 §4.4 wants "from" with the client's name and address: left away unless configured, as SES does.
    client = f"from {_UNSAFE.sub('?', stamp.client_name)} ([{_UNSAFE.sub('?', stamp.client_address)}]) "
    return b"%b%b;\r\n\t%b\r\n" % (_received_by(stamp.host, stamp.protocol, client), message_id, _date_octets(second))


def _add_missing(parts: list[bytes], stamp: Stamp, seen: set[bytes], message_id: bytes) -> None:
    """The fields that go to the end of the header, and the empty line."""
    if b"date" not in seen:
        parts.append(_date_field(stamp.at // SECOND))
    if b"message-id" not in seen:
        parts.append(_message_id_field(stamp, message_id))
    if b"from" not in seen:
        parts.append(f"From: {stamp.mail_from}\r\n".encode("ascii", "replace"))
    if b"feedback-id" not in seen:
        parts.append(_feedback_id(stamp.account_id, stamp.region))
    parts.append(_outgoing(stamp.at // (86400 * SECOND), stamp.outgoing_address))


@lru_cache(maxsize=256)
def _received_by(host: str, protocol: str, client: str) -> bytes:
    """The beginning of Received, which is the same for all of a client's mail."""
    return f"Received: {client}by {host}{f' with {protocol}' if protocol else ''} id ".encode("ascii", "replace")


@lru_cache(maxsize=16)
def _date_octets(second: int) -> bytes:
    return _date(second).encode("ascii")


@lru_cache(maxsize=16)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


@lru_cache(maxsize=16)
def _date_field(second: int) -> bytes:
    return f"Date: {_date(second)}\r\n".encode()


def _message_id_field(stamp: Stamp, message_id: bytes) -> bytes:
    return b"Message-ID: <%b@%b>\r\n" % (message_id, _region_octets(stamp.region, stamp.service_domain))


@lru_cache(maxsize=64)
def _region_octets(region: str, service_domain: str) -> bytes:
    return domain_of_region(region, service_domain).encode("ascii", "replace")


@lru_cache(maxsize=4096)
def _feedback_id(account_id: str, region: str) -> bytes:
    """SES's form: the account hidden in a hash that stays the same, so that receivers can tell senders apart."""
    sender = base64.b64encode(hashlib.sha256(f"{region}:{account_id}".encode()).digest()).decode()
    return f"Feedback-ID: ::1.{region}.{sender}:AmazonSES\r\n".encode()


@lru_cache(maxsize=16)
def _outgoing(day: int, address: str) -> bytes:
    date = datetime.fromtimestamp(day * 86400, UTC)
    return f"X-SES-Outgoing: {date:%Y.%m.%d}-{address}\r\n\r\n".encode()

"""What somebody must be told: of a message that could not be delivered, of an identity's life."""

from __future__ import annotations

from dataclasses import dataclass

from sesrelay.model.clock import Micros
from sesrelay.model.identity import IdentityMail
from sesrelay.model.message import MessageId


@dataclass(frozen=True, slots=True)
class Addressed:
    """Whom a mail of the relay's own goes to, and what it was made of."""

    outbox_id: int
    """Of the row that is deleted when the mail is accepted."""
    attempts: int
    """How often telling was tried, this time included."""
    account_id: str
    region: str
    recipient: str


@dataclass(frozen=True, slots=True)
class IdentityNotice:
    """A step in an identity's life that somebody has not been told of yet."""

    to: Addressed
    mail: IdentityMail
    identity: str
    token: str
    """Of a domain."""
    at: Micros
    """When the step was made."""
    until: Micros
    """When the time that it begins is over; 0: it begins none."""
    mistakes: tuple[str, ...]
    """What was found instead of a domain's record, a sentence each."""
    link: str
    """The last part of the URL by which an address's owner confirms; "": of a domain."""


@dataclass(frozen=True, slots=True)
class BounceNotice:
    """A bounce that the envelope sender has not been told of yet."""

    outbox_id: int
    """Of the row that is deleted when the mail about it is accepted."""
    attempts: int
    """How often telling was tried, this time included."""
    account_id: str
    region: str
    message_id: MessageId
    """Of the message that bounced."""
    accepted_at: Micros
    mail_from: str
    """Whom to tell."""
    header_from: str
    subject: str
    address: str
    """The recipient that was not reached."""
    action: str
    """RFC 3464: failed."""
    status: str
    """RFC 3463: 5.1.1"""
    diagnostic: str
    """``smtp; 550 5.1.1 user unknown``"""
    original: bytes | None
    """The message as it was sent; None: its body is gone."""

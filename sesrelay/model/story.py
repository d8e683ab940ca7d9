"""What became of a message, as people read it."""

from __future__ import annotations

from dataclasses import dataclass

from sesrelay.model.clock import Micros
from sesrelay.model.message import BodyLocation, MessageId, Origin, RecipientState


@dataclass(frozen=True, slots=True)
class RecipientStory:
    """Where one recipient's copy stands."""

    message_id: MessageId
    number: int
    account_id: str
    address: str
    domain: str
    state: RecipientState
    held: bool
    in_doubt: bool
    claimed: bool
    """In a worker's hands: an attempt is under way or about to be."""
    attempts: int
    due_at: Micros
    """When it is due again; counts while it is queued and not claimed."""
    changed_at: Micros
    smtp_response: str
    bounce_type: str
    bounce_sub_type: str


@dataclass(frozen=True, slots=True)
class Happening:
    """A row of a message's history."""

    number: int
    """The recipient's; -1: the message's own."""
    sequence: int
    at: Micros
    kind: str
    detail: str
    """JSON object."""


@dataclass(frozen=True, slots=True)
class MessageStory:
    """A message with its recipients, and its history where that was asked for."""

    message_id: MessageId
    account_id: str
    region: str
    origin: Origin
    access_key_id: str
    mail_from: str
    header_from: str
    subject: str
    accepted_at: Micros
    body: BodyLocation
    tags: str
    recipients: tuple[RecipientStory, ...]
    history: tuple[Happening, ...] = ()

"""What an account may send in a region, who asked for more, and every change of it (LIM-6)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sesrelay.model.clock import Micros


class Allowance(NamedTuple):
    """What an account may send in a region."""

    production: bool
    quota: int
    """Recipients in 24 hours; -1: unlimited."""
    rate: float
    """Recipients a second; -1: unlimited."""


class MessageType(StrEnum):
    """What kind of mail somebody wants to send."""

    TRANSACTIONAL = "Transactional"
    SYSTEM_NOTIFICATIONS = "System Notifications"
    SUBSCRIPTION = "Subscription"
    MARKETING = "Marketing"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request for production access or higher limits says; "" and 0: nothing was said."""

    website: str
    message_types: tuple[MessageType, ...]
    use_case: str
    quota: int
    """Recipients in 24 hours."""
    rate: float = 0.0
    """Recipients a second."""
    opt_in_url: str = ""
    opt_out_url: str = ""
    privacy_url: str = ""


class RequestStatus(StrEnum):
    """Of a request. There is one open request for an account in a region."""

    OPEN = "open"
    GRANTED = "granted"
    DENIED = "denied"
    UNDONE = "undone"
    """It was granted, and that was taken back: it may be granted again."""


@dataclass(frozen=True, slots=True)
class LimitRequest:
    """A request and what became of it."""

    request_id: int
    account_id: str
    region: str
    status: RequestStatus
    wish: Wish
    created_at: Micros
    answered_at: Micros
    reason: str
    """Why it was denied."""


class ChangeKind(StrEnum):
    """Why an allowance is another now."""

    SET = "set"
    PRODUCTION = "production"
    GRANT = "grant"
    UNDO = "undo"
    GROWTH = "growth"
    """A step up or down, by how the account sends."""


@dataclass(frozen=True, slots=True)
class LimitChange:
    """An allowance became another."""

    change_id: int
    account_id: str
    region: str
    at: Micros
    kind: ChangeKind
    before: Allowance
    after: Allowance
    request_id: int
    """Of the request that was granted, or whose grant was undone; 0: none."""
    undoes: int
    """Of the change that this one takes back; 0: none."""


class Tidings(StrEnum):
    """What the owner of an account, or the operator, is told by mail."""

    RECEIVED = "received"
    """Of a request, to the owner."""
    WAITING = "waiting"
    """Of a request, to the operator."""
    GRANTED = "granted"
    DENIED = "denied"
    CHANGED = "changed"
    UNDONE = "undone"
    RAISED = "raised"
    LOWERED = "lowered"
    ADDRESS = "address"
    """Notices go to another address from now on."""


@dataclass(frozen=True, slots=True)
class OwnerNotice:
    """Something that the owner of an account has not been told yet."""

    outbox_id: int
    """Of the row that is deleted when the mail about it is accepted."""
    attempts: int
    """How often telling was tried, this time included."""
    account_id: str
    region: str
    at: Micros
    to: str
    tidings: Tidings
    before: Allowance | None = None
    after: Allowance | None = None
    request_id: int = 0
    reason: str = ""
    """What a request is for, or why it was denied; why limits step up or down."""
    address: str = ""
    """Where notices go from now on."""

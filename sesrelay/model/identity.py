"""An identity: an e-mail address or a domain that an account may send from (ID-1), and its way to being verified."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sesrelay.model.clock import Micros


class IdentityType(StrEnum):
    """In SES's words."""

    EMAIL_ADDRESS = "EmailAddress"
    DOMAIN = "Domain"


class VerificationStatus(StrEnum):
    """In SES's words."""

    PENDING = "Pending"
    SUCCESS = "Success"
    FAILED = "Failed"
    TEMPORARY_FAILURE = "TemporaryFailure"
    """Verified, but for a day its DNS has said nothing: it goes on to be good for sending (ID-8)."""
    NOT_STARTED = "NotStarted"


VERIFIED: Final = (VerificationStatus.SUCCESS, VerificationStatus.TEMPORARY_FAILURE)
"""With these an identity may be sent from."""


@dataclass(frozen=True, slots=True)
class Life:
    """Where an identity stands on its way; 0: not so. What each step does is ``rules.identity_life``."""

    status: VerificationStatus
    asked_at: Micros
    """When verification was asked for: the 72 hours of a domain and the 24 of a link begin here."""
    verified_at: Micros = 0
    missing_since: Micros = 0
    """A verified domain whose record is gone since: the 72 hours of the revocation."""
    trouble_since: Micros = 0
    """Since when its DNS has given no answer at all."""
    next_check_at: Micros = 0
    """When the DNS is asked next; 0: never."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity of an (account, region). Domains are in lower case; addresses as spelled."""

    account_id: str
    region: str
    name: str
    type: IdentityType
    token: str
    created_at: Micros
    life: Life

    @property
    def status(self) -> VerificationStatus:
        """Where it stands, in SES's word."""
        return self.life.status


class DnsAnswer(StrEnum):
    """What the DNS says about a domain's verification record."""

    FOUND = "found"
    ABSENT = "absent"
    """Its servers say that there is no such record, or none with the token."""
    TROUBLE = "trouble"
    """SERVFAIL, time-out: nothing is known."""


class IdentityMail(StrEnum):
    """The mails of an identity's life."""

    CONFIRM_ADDRESS = "confirm-address"
    SUCCESS = "success"
    FAILURE = "failure"
    REVOCATION_WARNING = "revocation-warning"
    REVOCATION_CANCELLATION = "revocation-cancellation"
    REVOCATION = "revocation"


class LinkState(StrEnum):
    """What became of the link in a mail that asks an address's owner to confirm."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    """By this very request."""
    USED = "used"
    EXPIRED = "expired"
    FORGED = "forged"
    UNKNOWN = "unknown"
    """We made it, but the identity is there no longer."""


@dataclass(frozen=True, slots=True)
class AddressLink:
    """What a link says: which identity, and when it was asked for."""

    account_id: str
    region: str
    address: str
    asked_at: Micros

"""An identity: an e-mail address or a domain that an account may send from (ID-1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
    NOT_STARTED = "NotStarted"


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity of an (account, region). Domains are in lower case; addresses as spelled."""

    account_id: str
    region: str
    name: str
    type: IdentityType
    status: VerificationStatus
    token: str
    created_at: Micros

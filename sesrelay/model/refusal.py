"""Every reason for which the relay says no, by name. Each front has one table of words for them."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why a login or a message was refused. Details travel in ``Refused.details``; see each name."""

    # Logging in
    BAD_CREDENTIALS = "bad-credentials"
    """Unknown key, wrong password, inactive key: one answer for all (SMTP-4)."""
    NOT_SUBSCRIBED = "not-subscribed"
    """Right password, but the account is closed or the region is not opened for it (SMTP-14)."""
    MAY_NOT_SEND = "may-not-send"
    """Right password, but the user's policies allow no mail from here, whatever it will be (CRED-5)."""
    LOGIN_UNAVAILABLE = "login-unavailable"
    """The store is out of reach or the master key is missing: says nothing about the password (SMTP-15)."""

    # A message, in the order of SMTP-6
    TOO_LONG = "too-long"
    BARE_LINE_ENDING = "bare-line-ending"
    NUL_IN_MESSAGE = "nul-in-message"
    LINE_TOO_LONG = "line-too-long"
    NO_RECIPIENTS = "no-recipients"
    NOT_AUTHORIZED = "not-authorized"
    """A policy says no. details: ARN of the user, action, ARN of the resource; none: the key was taken back."""
    SUSPENDED = "suspended"
    TOO_MANY_RECIPIENTS = "too-many-recipients"
    NOT_VERIFIED = "not-verified"
    """details: region, then every identity that failed the check, as it was spelled."""
    HEADER_TOO_LONG = "header-too-long"
    MALFORMED = "malformed"
    """An address in the header. details: the parser's words (ses-facts §1.4)."""
    NON_ASCII_ADDRESS = "non-ascii-address"
    """details: the parser's words (ses-facts §1.4)."""
    DUPLICATE_HEADER = "duplicate-header"
    """details: the field's name."""
    MALFORMED_MIME = "malformed-mime"
    """A Content- field. details: the parser's words (ses-facts §1.4), where."""
    MISSING_BOUNDARY = "missing-boundary"
    """A multipart does not say what separates its parts. details: where."""
    MISSING_START_BOUNDARY = "missing-start-boundary"
    """What should separate the parts of a multipart occurs nowhere. details: where."""
    TOO_MANY_PARTS = "too-many-parts"
    NESTED_TOO_DEEPLY = "nested-too-deeply"
    PART_HEADER_TOO_LONG = "part-header-too-long"
    """details: where."""
    UNSUPPORTED_ATTACHMENT = "unsupported-attachment"
    """details: the extension, where."""
    DATA_URI = "data-uri"
    """details: where."""
    DELIVERY_STATUS = "delivery-status"
    """details: where."""
    QUOTA_EXCEEDED = "daily-quota-exceeded"
    RATE_EXCEEDED = "maximum-rate-exceeded"
    INVOCATION_REUSED = "invocation-id-reused"
    """The same invocation id came with another message (BEY-5)."""
    ALREADY_DONE = "already-done"
    """Only inside: the outbox row that this mail was made of is gone, so the mail exists already."""

    # Our own trouble: temporary, and it says nothing about the message
    STORAGE_FULL = "storage-full"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    """More bytes of messages are under way in this worker than it may hold in memory."""


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """A message or a login was refused; carries the name and what the words need."""

    def __init__(self, refusal: Refusal, *details: str) -> None:
        super().__init__(refusal, *details)
        self.refusal = refusal
        self.details = details

"""What a next hop said, when it said it, and whom it concerns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply: code, enhanced status (RFC 3463, "" without one) and its lines without codes."""

    code: int
    enhanced_status: str
    lines: tuple[str, ...]

    @property
    def positive(self) -> bool:
        """2xx: done. 3xx: go on."""
        return 200 <= self.code < 400

    @property
    def permanent(self) -> bool:
        """5xx: the answer will not change by asking again (RFC 5321 §4.2.1)."""
        return 500 <= self.code < 600

    def __str__(self) -> str:
        """The reply as one line of text, each line with its code as on the wire, joined by a blank."""
        status = f"{self.enhanced_status} " if self.enhanced_status else ""
        last = len(self.lines) - 1
        parts = [f"{self.code}{' ' if i == last else '-'}{status}{line}" for i, line in enumerate(self.lines)]
        return " ".join(parts) if parts else f"{self.code} {status}".rstrip()


class Stage(StrEnum):
    """Where in an attempt something happened; the words are read by people."""

    ROUTE = "looking for the next hop"
    CONNECT = "connecting"
    GREETING = "waiting for the greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    BODY = "sending the message"
    END_OF_DATA = "end of data: the server may have the message although we never heard so"


class Scope(StrEnum):
    """Who has to wait after a failure: the smallest circle that it says something about."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    SESSION = "session"
    HOST = "host"
    DESTINATION = "destination"
    OURSELVES = "ourselves"
    """Our own trouble (no route, DNS away): never held against a recipient."""

"""Every reply of the front door, and the one table that turns a refusal into its words (SMTP-3, SMTP-5).

Words are SES's where SES has some (ses-facts §1); what the client sent is never repeated in a reply, and no
exception's text ever reaches one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from sesrelay.model.message import MessageId
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import content

LONGEST_REPLY: Final = 512
"""Octets of a reply line with its CRLF (RFC 5321 §4.5.3.1.5)."""

SOFTWARE: Final = "SimpleEmailService-sesrelay"

OK: Final = b"250 Ok\r\n"
BYE: Final = b"221 Bye\r\n"
READY_FOR_TLS: Final = b"220 Ready to start TLS\r\n"
START_OF_DATA: Final = b"354 End data with <CR><LF>.<CR><LF>\r\n"
HELP: Final = b"214 EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY QUIT\r\n"
CANNOT_VERIFY: Final = b"252 Cannot VRFY user, but will accept message and attempt delivery\r\n"

ASK_USER_NAME: Final = b"334 VXNlcm5hbWU6\r\n"
ASK_PASSWORD: Final = b"334 UGFzc3dvcmQ6\r\n"
ASK_PLAIN: Final = b"334 \r\n"
LOGGED_IN: Final = b"235 Authentication successful.\r\n"
LOGIN_CANCELLED: Final = b"501 Authentication cancelled\r\n"
NOT_BASE64: Final = b"501 Invalid base64 data\r\n"
NOT_PLAIN: Final = b"501 Invalid PLAIN authentication data\r\n"
UNKNOWN_MECHANISM: Final = b"504 Unrecognized authentication type\r\n"
LOGGED_IN_ALREADY: Final = b"503 Already authenticated\r\n"

STARTTLS_FIRST: Final = b"530 Must issue a STARTTLS command first\r\n"
LOGIN_FIRST: Final = b"530 Authentication required\r\n"
EHLO_FIRST: Final = b"503 Error: send EHLO first\r\n"
TLS_LATER: Final = b"454 4.7.0 Too many TLS handshakes under way, please try again\r\n"
TLS_ALREADY: Final = b"503 Error: TLS is already active\r\n"
NESTED_MAIL: Final = b"503 Error: nested MAIL command\r\n"
MAIL_FIRST: Final = b"503 Error: need MAIL command\r\n"
RCPT_FIRST: Final = b"503 Error: need RCPT command\r\n"

UNKNOWN_COMMAND: Final = b"502 5.5.2 Error: command not recognized\r\n"
NOT_IMPLEMENTED: Final = b"502 Error: command not implemented\r\n"
BAD_SYNTAX: Final = b"500 Error: bad syntax\r\n"
COMMAND_TOO_LONG: Final = b"500 Command line too long\r\n"
SYNTAX_EHLO: Final = b"501 Syntax: EHLO hostname\r\n"
SYNTAX_HELO: Final = b"501 Syntax: HELO hostname\r\n"
SYNTAX_STARTTLS: Final = b"501 Syntax: STARTTLS\r\n"
SYNTAX_AUTH: Final = b"501 Syntax: AUTH mechanism [initial-response]\r\n"
SYNTAX_MAIL: Final = b"501 Syntax: MAIL FROM:<address> [SP parameters]\r\n"
SYNTAX_RCPT: Final = b"501 Syntax: RCPT TO:<address>\r\n"
SYNTAX_DATA: Final = b"501 Syntax: DATA\r\n"
SYNTAX_RSET: Final = b"501 Syntax: RSET\r\n"
SYNTAX_QUIT: Final = b"501 Syntax: QUIT\r\n"
SYNTAX_SIZE: Final = b"501 Error: SIZE must be a number\r\n"
SYNTAX_BODY: Final = b"501 Error: BODY can only be one of 7BIT, 8BITMIME\r\n"
INVALID_SENDER: Final = b"501 Invalid MAIL FROM address provided\r\n"
INVALID_RECIPIENT: Final = b"501 Invalid RCPT TO address provided\r\n"
NOT_ASCII: Final = b"553 5.6.7 Addresses must be 7-bit ASCII: SMTPUTF8 is not supported, write domains in punycode\r\n"
NO_SMTPUTF8: Final = b"555 5.6.7 SMTPUTF8 is not supported: addresses are 7-bit ASCII, domains in punycode\r\n"
UNKNOWN_MAIL_PARAMETER: Final = b"555 MAIL FROM parameters not recognized or not implemented\r\n"
UNKNOWN_RCPT_PARAMETER: Final = b"555 RCPT TO parameters not recognized or not implemented\r\n"

IDLE: Final = b"451 4.4.2 Timeout waiting for data from client.\r\n"
FAILED: Final = b"421 Temporary service failure\r\n"
TEMPORARY_FAILURE: Final = b"451 4.3.0 Temporary service failure\r\n"
TOO_MANY_CONNECTIONS: Final = b"421 Too many concurrent SMTP connections\r\n"
TOO_MANY_MESSAGES: Final = b"421 Connection closed by server. Maximum message count per session reached.\r\n"
TOO_MANY_RECIPIENTS: Final = b"421 Connection closed by server. Too many recipients.\r\n"
TOO_MANY_LOGINS: Final = b"421 Connection closed by server. Too many failed authentication attempts.\r\n"
TOO_MANY_ERRORS: Final = b"421 Connection closed by server. Too many bad commands.\r\n"
LOGIN_OVERDUE: Final = b"421 Connection closed by server. No authentication in time.\r\n"
SESSION_TOO_OLD: Final = b"421 Connection closed by server. Maximum session time reached.\r\n"
LINE_WITHOUT_END: Final = b"421 Connection closed by server. Command line too long.\r\n"
SHUTTING_DOWN: Final = b"421 Service is restarting, please connect again\r\n"

_INVALID_CONTENT: Final = "554 Message rejected: Message contains invalid content."
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")


def greeting(host: str, unique: str) -> bytes:
    """As SES greets, with 20 alphanumerics that name the session."""
    return f"220 {host} ESMTP {SOFTWARE} {unique}\r\n".encode("ascii")


@lru_cache(64)  # the same few answers for every connection
def capabilities(host: str, *, size: int, encrypted: bool) -> bytes:
    """The answer to EHLO: before TLS no password is invited, after it STARTTLS is gone (RFC 3207 §4.2)."""
    offers = ("PIPELINING", "AUTH PLAIN LOGIN") if encrypted else ("STARTTLS",)
    lines = (host, "8BITMIME", f"SIZE {size}", *offers)
    return "".join(f"250-{line}\r\n" for line in lines).encode("ascii") + OK


def accepted(message_id: MessageId) -> bytes:
    """The message is ours now: clients read its id from here."""
    return b"250 Ok %s\r\n" % str(message_id).encode("ascii")


def _not_verified(details: tuple[str, ...]) -> str:
    """Names every identity that failed, each spelling once; a long list ends in ``...``."""
    beginning = "554 Message rejected: Email address is not verified."
    if len(details) < 2:
        return beginning
    region, *identities = details
    head = f"{beginning} The following identities failed the check in region {region.upper()}: "
    names = ", ".join(dict.fromkeys(identities))
    room = LONGEST_REPLY - len("\r\n") - len(head)
    return head + (names if len(names) <= room else names[: room - 3] + "...")


def _not_authorized(details: tuple[str, ...]) -> str:
    """In SES's quotes: a backtick in front, an apostrophe behind."""
    if len(details) < 3:
        return "554 Access denied: User is not authorized to perform `ses:SendRawEmail'"
    user, action, resource = details[:3]
    return f"554 Access denied: User `{user}' is not authorized to perform `{action}' on resource `{resource}'"


def _filled(words: str) -> Callable[[tuple[str, ...]], str]:
    """Words with the refusal's first detail at ``{0}`` and, at ``{at}``, the last one: in which part of the message."""

    def filled(details: tuple[str, ...]) -> str:
        *what, where = details or ("",)
        return words.format(*what, "", at=f" ({where})" if where else "")

    return filled


def _first(beginning: str, otherwise: str) -> Callable[[tuple[str, ...]], str]:
    """Words that end in the refusal's first detail."""
    return lambda details: beginning + (details[0] if details else otherwise)


WORDS: Final[Mapping[Refusal, str | Callable[[tuple[str, ...]], str]]] = {
    Refusal.BAD_CREDENTIALS: "535 Authentication Credentials Invalid",
    Refusal.NOT_SUBSCRIBED: "535 Account not subscribed to SES",
    Refusal.MAY_NOT_SEND: "535 User not authorized to call the SES SMTP endpoint",
    Refusal.LOGIN_UNAVAILABLE: "454 Temporary authentication failure",
    Refusal.TOO_LONG: "552 5.3.4 Message is too long.",
    Refusal.BARE_LINE_ENDING: "554 Transaction failed: Message contains a bare CR or LF, lines must end in CRLF.",
    Refusal.NUL_IN_MESSAGE: "554 Transaction failed: Message contains a NUL character.",
    Refusal.LINE_TOO_LONG: "554 Transaction failed: Message contains a line of more than 1000 octets.",
    Refusal.NO_RECIPIENTS: "554 Transaction failed: Missing recipients.",
    Refusal.NOT_AUTHORIZED: _not_authorized,
    Refusal.SUSPENDED: "554 Message rejected: Customer is suspended.",
    Refusal.TOO_MANY_RECIPIENTS: "554 Transaction failed: Recipient count exceeds 50.",
    Refusal.NOT_VERIFIED: _not_verified,
    Refusal.HEADER_TOO_LONG: "554 Transaction failed: Message header is too long",
    Refusal.MALFORMED: _first("554 Transaction failed: ", "Malformed message"),
    Refusal.DUPLICATE_HEADER: lambda details: f"554 Transaction failed: Duplicate header '{''.join(details[:1])}'.",
    Refusal.NON_ASCII_ADDRESS: _first(
        "554 Transaction failed: Addresses must be 7-bit ASCII, domains in punycode: ", "not ASCII"
    ),
    Refusal.MALFORMED_MIME: _filled("554 Transaction failed: {0}{at}"),
    Refusal.MISSING_BOUNDARY: _filled("554 Transaction failed: Missing boundary parameter{at}"),
    Refusal.MISSING_START_BOUNDARY: _filled("554 Transaction failed: Missing start boundary{at}"),
    Refusal.TOO_MANY_PARTS: f"554 Transaction failed: Message has more than {content.MOST_PARTS} MIME parts.",
    Refusal.NESTED_TOO_DEEPLY: "554 Transaction failed: MIME parts are nested too deeply.",
    Refusal.PART_HEADER_TOO_LONG: _filled(
        f"554 Transaction failed: Header of a MIME part is longer than {content.LONGEST_PART_HEADER} octets{{at}}"
    ),
    Refusal.UNSUPPORTED_ATTACHMENT: _filled(f"{_INVALID_CONTENT} File extension .{{0}} is not supported{{at}}"),
    Refusal.DATA_URI: _filled(f"{_INVALID_CONTENT} Data URIs are not supported{{at}}"),
    Refusal.DELIVERY_STATUS: _filled(f"{_INVALID_CONTENT} Content type message/delivery-status is not supported{{at}}"),
    Refusal.QUOTA_EXCEEDED: "454 Throttling failure: Daily message quota exceeded.",
    Refusal.RATE_EXCEEDED: "454 Throttling failure: Maximum sending rate exceeded.",
    Refusal.INVOCATION_REUSED: "554 Transaction failed: Invocation id was used with another message.",
    Refusal.ALREADY_DONE: "554 Transaction failed: Already done.",
    Refusal.STORAGE_FULL: "452 4.3.1 Insufficient system storage",
    Refusal.UNAVAILABLE: "451 4.3.0 Temporary service failure",
    Refusal.OVERLOADED: "452 4.3.1 Too many messages under way, please try again",
}
"""Refusal to reply, for good: a test holds that every name stands here."""


def refused(refusal: Refused) -> bytes:
    """The reply line for a refusal. Details are cleaned: one line, printable ASCII, within the length of a reply."""
    words = WORDS[refusal.refusal]
    text = words if isinstance(words, str) else words(refusal.details)
    return _UNPRINTABLE.sub("?", text)[: LONGEST_REPLY - 2].encode("ascii") + b"\r\n"


TOO_LONG: Final = refused(Refused(Refusal.TOO_LONG))
"""Also said at MAIL, when SIZE= is over the limit (SMTP-8)."""

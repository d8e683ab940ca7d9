"""The mail that tells a sender of a bounce: a delivery status notification (RFC 3464), worded as SES words it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sesrelay.model.notice import BounceNotice
from sesrelay.rules.headers import domain_of_region, rfc5322_date

WHOLE_OCTETS: Final = 256 * 1024
"""A bigger message comes back as its header alone (RFC 6522 §4): what made it big may be what was refused."""
HEADER_OCTETS: Final = 64 * 1024
_CONTROLS: Final = re.compile(r"[^ -~]+")
_LINE: Final = 900
"""Characters of a line before it is folded; RFC 5322 §2.1.1 allows 998."""


def bounce_mail(notice: BounceNotice, service_domain: str, host: str) -> bytes:
    """A whole message, header and body. ``host``: who reports, the region's endpoint name."""
    # Nobody could foresee this when the original was written, so that it cannot contain it.
    boundary = f"----=_Part_{notice.outbox_id}_{notice.message_id.hex()}"
    parts = (_words(notice), _report(notice, host), _original(notice, domain_of_region(notice.region, service_domain)))
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts)
    return _header(notice, service_domain, boundary) + body + b"--%b--\r\n" % boundary.encode()


def _header(notice: BounceNotice, service_domain: str, boundary: str) -> bytes:
    # Date and Message-ID are only places: acceptance fills them.
    return _lines(
        "Date:",
        f"From: MAILER-DAEMON@{domain_of_region(notice.region, service_domain)}",
        f"To: {notice.mail_from}",
        "Message-ID:",
        "Subject: Delivery Status Notification (Failure)",
        "MIME-Version: 1.0",
        "Auto-Submitted: auto-replied",  # RFC 3834: nobody's vacation program shall answer
        "Content-Type: multipart/report;",
        f'\tboundary="{boundary}";',
        "\treport-type=delivery-status",
        "",
    )


def _words(notice: BounceNotice) -> bytes:
    return _lines(
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
        "Content-Description: Notification",
        "",
        "An error occurred while trying to deliver the mail to the following recipients:",
        notice.address,
    )


def _report(notice: BounceNotice, host: str) -> bytes:
    return _lines(
        "Content-Type: message/delivery-status",
        "Content-Transfer-Encoding: 7bit",
        "Content-Description: Delivery Status Notification",
        "",
        f"Reporting-MTA: dns; {host}",
        "",
        f"Action: {notice.action}",
        f"Final-Recipient: rfc822; {notice.address}",
        *_folded(f"Diagnostic-Code: {_plain(notice.diagnostic)}"),
        f"Status: {notice.status}",
    )


def _original(notice: BounceNotice, domain: str) -> bytes:
    """The message as sent; its header when it is big; when it is gone, what is known of its header."""
    if notice.original is None:
        return _lines(
            "Content-Type: text/rfc822-headers",
            "Content-Description: Undelivered Message",
            "",
            f"Message-ID: <{notice.message_id}@{domain}>",
            f"Date: {rfc5322_date(notice.accepted_at)}",
            f"From: {notice.header_from}",
            *_folded(f"Subject: {_plain(notice.subject)}"),
        )
    kind, shown = "message/rfc822", notice.original
    if len(shown) > WHOLE_OCTETS:
        kind, shown = "text/rfc822-headers", _header_of(shown)
    encoding = "7bit" if shown.isascii() else "8bit"
    header = _lines(
        f"Content-Type: {kind}",
        f"Content-Transfer-Encoding: {encoding}",
        "Content-Description: Undelivered Message",
        "",
    )
    return header + shown


def _header_of(message: bytes) -> bytes:
    """Its header block without the empty line: whole lines, of a long one the first."""
    end = message.find(b"\r\n\r\n", 0, HEADER_OCTETS)
    return message[: (message.rfind(b"\r\n", 0, HEADER_OCTETS) if end < 0 else end) + 2]


def _plain(text: str) -> str:
    """What others said, on one line of ASCII: it must not write fields of its own."""
    return _CONTROLS.sub(" ", text).strip()


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("ascii", "replace")


def _folded(line: str) -> Iterator[str]:
    """Cut at blanks where there are any; the continuation begins with one."""
    while len(line) > _LINE:
        cut = line.rfind(" ", 1, _LINE)
        cut = cut if cut > 0 else _LINE
        yield line[:cut]
        line = " " + line[cut:].lstrip(" ")
    yield line

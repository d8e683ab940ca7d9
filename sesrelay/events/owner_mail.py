"""The mail that tells the owner of an account what became of its limits: plain text, from the relay's postmaster."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from sesrelay.model.limits import Allowance, OwnerNotice, Tidings
from sesrelay.rules.headers import rfc5322_date

_SUBJECTS: Final = {
    Tidings.RECEIVED: "Your request for higher sending limits was received",
    Tidings.WAITING: "A request for higher sending limits waits for your answer",
    Tidings.GRANTED: "Your request for higher sending limits was granted",
    Tidings.DENIED: "Your request for higher sending limits was denied",
    Tidings.CHANGED: "Your sending limits were changed",
    Tidings.UNDONE: "A change of your sending limits was taken back",
    Tidings.RAISED: "Your sending limits were raised",
    Tidings.LOWERED: "Your sending limits were lowered",
    Tidings.ADDRESS: "Notices about your account go to another address",
}
_WIDTH: Final = 76
"""RFC 5322 §2.1.1 would have 78."""


def owner_mail(notice: OwnerNotice, service_domain: str) -> bytes:
    """A whole message, header and body."""
    # Date and Message-ID are only places: acceptance fills them.
    header = (
        "Date:",
        f"From: postmaster@{service_domain}",
        f"To: {notice.to}",
        "Message-ID:",
        f"Subject: {_SUBJECTS[notice.tidings]} ({notice.region})",
        "MIME-Version: 1.0",
        "Auto-Submitted: auto-generated",  # RFC 3834: nobody's vacation program shall answer
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
    )
    return "".join(f"{line}\r\n" for line in (*header, *_text(notice))).encode()


def _text(notice: OwnerNotice) -> Iterator[str]:
    yield f"Account: {notice.account_id}"
    yield f"Region:  {notice.region}"
    yield f"Time:    {rfc5322_date(notice.at)}"
    if notice.request_id:
        yield f"Request: {notice.request_id}"
    yield ""
    yield from _what(notice)
    if notice.tidings is Tidings.WAITING:
        return
    yield ""
    yield from _wrapped("If you have questions, or did not expect this, answer this mail: it goes to your operator.")


def _what(notice: OwnerNotice) -> Iterator[str]:
    titles = ("Before", "Now")
    match notice.tidings:
        case Tidings.RECEIVED:
            titles = ("Now", "If it is granted")
            yield from _wrapped(
                "Your request waits for your operator, who answers it by mail. Until then what you may send stays as "
                "it is. You wrote:"
            )
            yield ""
            yield from _wrapped(notice.reason)
        case Tidings.WAITING:
            titles = ("Now", "If you grant it")
            yield from _wrapped("The owner of this account asks for more, and writes:")
            yield ""
            yield from _wrapped(notice.reason)
            yield ""
            yield "All that was said, and the two answers:"
            yield f"    sesrelay limits requests {notice.request_id}"
            yield f"    sesrelay limits grant {notice.request_id}"
            yield f"    sesrelay limits deny {notice.request_id} --reason TEXT"
        case Tidings.GRANTED:
            yield from _wrapped(
                "Your request was granted. You may write to recipients that you have not verified; what you send from "
                "must be verified as before. The new limits count from your next message on."
            )
        case Tidings.DENIED:
            yield from _wrapped("Your request was denied, and your limits stay as they are. The reason:")
            yield ""
            yield from _wrapped(notice.reason)
        case Tidings.CHANGED:
            yield from _wrapped("Your operator changed what you may send. It counts from your next message on.")
        case Tidings.UNDONE:
            yield from _wrapped("Your operator took the last change back. It counts from your next message on.")
        case Tidings.RAISED:
            yield from _wrapped("You make use of your limits, and what you send is wanted: so they were raised.")
            yield ""
            yield from _wrapped(notice.reason)
        case Tidings.LOWERED:
            yield from _wrapped(
                "Too much of what you send bounces or is complained about: so your limits were lowered. Write only "
                "to people who asked for it, and take addresses that bounce off your lists. Limits rise again in time."
            )
            yield ""
            yield from _wrapped(notice.reason)
        case Tidings.ADDRESS:
            yield from _wrapped(f"From now on notices about your account go to {notice.address} instead of here.")
    for title, allowance in zip(titles, (notice.before, notice.after), strict=True):
        if allowance is not None:
            yield ""
            yield f"{title}:"
            yield from _limits(allowance)


def _limits(allowance: Allowance) -> Iterator[str]:
    yield f"  Status:                    {'production' if allowance.production else 'sandbox'}"
    yield f"  Recipients in 24 hours:    {_number(allowance.quota)}"
    yield f"  Recipients a second:       {_number(allowance.rate)}"


def _number(value: float) -> str:
    return "unlimited" if value < 0 else f"{value:,.3f}".rstrip("0").rstrip(".") if value % 1 else f"{int(value):,}"


def _wrapped(text: str) -> Iterator[str]:
    """Lines of a length that everybody can show; what others wrote keeps its paragraphs."""
    for paragraph in text.splitlines():
        yield from textwrap.wrap(paragraph, _WIDTH) or [""]

"""The mails of an identity's life, whole: the link for an address's owner, the news of a domain for its account."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import formataddr
from textwrap import wrap
from typing import Final

from sesrelay.model.clock import HOUR
from sesrelay.model.identity import IdentityMail
from sesrelay.model.notice import IdentityNotice
from sesrelay.rules.headers import domain_of_region, rfc5322_date
from sesrelay.rules.records import verification_record

_WIDTH: Final = 76


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Who writes."""

    product: str
    service_domain: str
    public_url: str
    """Where the HTTPS port is reached, without a slash at its end."""


def identity_mail(notice: IdentityNotice, head: Letterhead) -> bytes:
    """Header and body, in ASCII with CRLF line ends."""
    subject, paragraphs = _WORDS[notice.mail]
    sender = formataddr((head.product, f"no-reply@{domain_of_region(notice.to.region, head.service_domain)}"))
    lines = [
        "Date:",  # Date and Message-ID are only places: acceptance fills them
        f"From: {sender}",
        f"To: {notice.to.recipient}",
        "Message-ID:",
        f"Subject: {head.product} {subject} ({notice.identity}, {notice.to.region})",
        "MIME-Version: 1.0",
        "Auto-Submitted: auto-generated",  # RFC 3834: nobody's vacation program shall answer
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
        "",
    ]
    for paragraph in paragraphs(notice, head):
        lines += [*_filled(paragraph), ""]
    return "".join(f"{line}\r\n" for line in lines[:-1]).encode("ascii", "replace")


def _filled(paragraph: str) -> list[str]:
    """In lines of a readable width; what is indented is to be copied, and stays whole."""
    return paragraph.split("\n") if paragraph.startswith(" ") else wrap(paragraph, _WIDTH, break_long_words=False)


def _confirm(notice: IdentityNotice, head: Letterhead) -> Iterator[str]:
    yield (
        f"Somebody wants to send mail from the address {notice.identity} with {head.product} (region "
        f"{notice.to.region}, account {notice.to.account_id}), and says that it is yours."
    )
    yield "If that was you, open this page and confirm it there:"
    yield f"    {head.public_url}/verify/{notice.link}"
    yield f"The link is good for 24 hours, until {rfc5322_date(notice.until)}."
    yield "If it was not you, do nothing: without your confirmation nothing can be sent from your address."


def _success(notice: IdentityNotice, _head: Letterhead) -> Iterator[str]:
    yield (
        f"The record that proves your ownership of {notice.identity} was found. As of now you can send from every "
        f"address of {notice.identity} and of its subdomains (region {notice.to.region}, account "
        f"{notice.to.account_id})."
    )
    yield "Leave the record where it is: it is looked at again from time to time."


def _failure(notice: IdentityNotice, _head: Letterhead) -> Iterator[str]:
    yield (
        f"The record that proves your ownership of {notice.identity} was not found within 72 hours, so the domain is "
        f"not verified (region {notice.to.region}, account {notice.to.account_id})."
    )
    yield from _found_instead(notice)
    yield "This is the record that is wanted:"
    yield _record(notice)
    yield f"Publish it, then let verification be tried again (sesrelay identity retry {notice.identity})."


def _warning(notice: IdentityNotice, _head: Letterhead) -> Iterator[str]:
    yield (
        f"The record that proves your ownership of {notice.identity} is no longer there. You can still send from the "
        f"domain (region {notice.to.region}, account {notice.to.account_id})."
    )
    yield (
        f"If it is not back within {_hours_left(notice)} hours, by {rfc5322_date(notice.until)}, the domain will be "
        "removed from your identities, and nothing can be sent from it any more."
    )
    yield from _found_instead(notice)
    yield "This is the record that is wanted:"
    yield _record(notice)


def _cancellation(notice: IdentityNotice, _head: Letterhead) -> Iterator[str]:
    yield (
        f"The record that proves your ownership of {notice.identity} is there again. The domain stays verified, and "
        f"the warning that we sent you is void (region {notice.to.region}, account {notice.to.account_id})."
    )


def _revocation(notice: IdentityNotice, _head: Letterhead) -> Iterator[str]:
    yield (
        f"The record that proves your ownership of {notice.identity} did not come back within 72 hours. The domain "
        f"has been removed from your identities, and nothing can be sent from it any more (region "
        f"{notice.to.region}, account {notice.to.account_id})."
    )
    yield from _found_instead(notice)
    yield "To send from it again, verify it from the beginning, as if it were a new domain; it gets a new record."


_Paragraphs = Callable[[IdentityNotice, Letterhead], Iterator[str]]
_WORDS: Final[Mapping[IdentityMail, tuple[str, _Paragraphs]]] = {
    IdentityMail.CONFIRM_ADDRESS: ("Email Address Verification Request", _confirm),
    IdentityMail.SUCCESS: ("Domain Verification SUCCESS", _success),
    IdentityMail.FAILURE: ("Domain Verification FAILURE", _failure),
    IdentityMail.REVOCATION_WARNING: ("Domain Verification REVOCATION WARNING", _warning),
    IdentityMail.REVOCATION_CANCELLATION: ("Domain Verification REVOCATION CANCELLATION", _cancellation),
    IdentityMail.REVOCATION: ("Domain Verification REVOCATION", _revocation),
}
"""The titles of the guide, behind the product's name."""


def _record(notice: IdentityNotice) -> str:
    record = verification_record(notice.identity, notice.token)
    return f"    Name:  {record.name}\n    Type:  {record.type}\n    Value: {record.value}"


def _found_instead(notice: IdentityNotice) -> Iterator[str]:
    if notice.mistakes:
        yield "What was found instead:"
        yield from notice.mistakes


def _hours_left(notice: IdentityNotice) -> int:
    return max(0, round((notice.until - notice.at) / HOUR))

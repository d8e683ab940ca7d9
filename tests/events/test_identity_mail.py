from __future__ import annotations

import email
import email.policy
import re
from dataclasses import replace

import pytest

from sesrelay.events.identity_mail import Letterhead, identity_mail
from sesrelay.model.clock import HOUR
from sesrelay.model.identity import IdentityMail
from sesrelay.model.notice import Addressed, IdentityNotice
from tests.clock import START

HEAD = Letterhead("Acme Mail (EU)", "relay.example.net", "https://mail.example.net:8443")
DOMAIN = IdentityNotice(
    to=Addressed(7, 1, "123456789012", "us-east-1", "owner@example.com"),
    mail=IdentityMail.SUCCESS,
    identity="shop.example",
    token="fmqxqT/icOYx4aA/bEUrDPMeax9/s3frblS+niiXmqk=",
    at=START,
    until=0,
    mistakes=(),
    link="",
)
ADDRESS = replace(
    DOMAIN,
    to=Addressed(8, 1, "123456789012", "us-east-1", "Ann@shop.example"),
    mail=IdentityMail.CONFIRM_ADDRESS,
    identity="Ann@shop.example",
    token="",
    until=START + 24 * HOUR,
    link="a" * 400 + ".b",
)


def read(notice: IdentityNotice) -> tuple[email.message.EmailMessage, str]:
    mail = identity_mail(notice, HEAD)
    assert b"\n" not in mail.replace(b"\r\n", b"")
    message = email.message_from_bytes(mail, policy=email.policy.default)
    return message, message.get_content().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("mail", "title"),
    [
        (IdentityMail.SUCCESS, "Domain Verification SUCCESS"),
        (IdentityMail.FAILURE, "Domain Verification FAILURE"),
        (IdentityMail.REVOCATION_WARNING, "Domain Verification REVOCATION WARNING"),
        (IdentityMail.REVOCATION_CANCELLATION, "Domain Verification REVOCATION CANCELLATION"),
        (IdentityMail.REVOCATION, "Domain Verification REVOCATION"),
    ],
)
def test_a_domains_mail_has_the_guides_title_with_the_products_name(mail: IdentityMail, title: str) -> None:
    message, text = read(replace(DOMAIN, mail=mail, until=START + 72 * HOUR))
    assert message["Subject"] == f"Acme Mail (EU) {title} (shop.example, us-east-1)"
    assert message["To"] == "owner@example.com"
    assert message["From"].addresses[0].addr_spec == "no-reply@us-east-1.relay.example.net"
    assert message["From"].addresses[0].display_name == "Acme Mail (EU)"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "123456789012" in text


def test_a_warning_says_what_is_wanted_what_was_found_and_how_long_there_is() -> None:
    mistakes = ("The record stands at x: the DNS provider appended the domain.",)
    notice = replace(DOMAIN, mail=IdentityMail.REVOCATION_WARNING, until=START + 72 * HOUR, mistakes=mistakes)
    _, text = read(notice)
    assert "within 72 hours" in text
    assert "Thu, 24 Sep 2026 14:13:20 +0000" in " ".join(text.split())
    assert "    Name:  _amazonses.shop.example\n" in text
    assert f"    Value: {DOMAIN.token}\n" in text
    assert "the DNS provider appended the domain" in " ".join(text.split())


def test_without_mistakes_nothing_is_said_of_them() -> None:
    assert "instead" not in read(replace(DOMAIN, mail=IdentityMail.FAILURE))[1]


def test_an_addresss_mail_has_its_link_on_one_line() -> None:
    message, text = read(ADDRESS)
    assert message["To"] == "Ann@shop.example"
    assert re.findall(r"^ +(\S+)$", text, re.MULTILINE) == [f"https://mail.example.net:8443/verify/{ADDRESS.link}"]
    assert "24 hours" in text
    assert "do nothing" in text

"""The stand-in itself: what it says it kept is what was sent."""

from __future__ import annotations

import smtplib

import pytest

from tests.standins.next_hop import Copy, Mischief, NextHop

MESSAGE = b"Subject: x\r\n\r\n.\r\n..two\r\nlast\r\n"


def test_a_next_hop_keeps_every_byte() -> None:
    with NextHop() as hop, smtplib.SMTP("127.0.0.1", hop.port) as client:
        client.sendmail("a@example.com", ["b@example.org", "c@example.org"], MESSAGE)
        assert hop.copies == [Copy("a@example.com", ("b@example.org", "c@example.org"), MESSAGE, acknowledged=True)]


@pytest.mark.parametrize(
    ("mischief", "code"),
    [
        (Mischief(refused_greeting=1), 421),
        (Mischief(refused_mail=1), 421),
        (Mischief(deferred_dot=1), 451),
        (Mischief(cut_in_data=1), -1),
        (Mischief(cut_after_dot=1), -1),
    ],
)
def test_a_bad_next_hop_is_bad_at_the_place_that_was_named(mischief: Mischief, code: int) -> None:
    failures = (smtplib.SMTPResponseException, smtplib.SMTPServerDisconnected)
    with NextHop(mischief) as hop:
        with pytest.raises(failures) as caught, smtplib.SMTP("127.0.0.1", hop.port) as client:
            client.sendmail("a@example.com", ["b@example.org"], MESSAGE)
        assert getattr(caught.value, "smtp_code", -1) == code
        assert [copy.acknowledged for copy in hop.copies] == ([False] if mischief.cut_after_dot else [])

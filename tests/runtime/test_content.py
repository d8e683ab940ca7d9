"""What must not be in a message is refused by a whole relay, and what may be comes out as it went in."""

from __future__ import annotations

import base64
import os
import smtplib
import subprocess
import sys

import pytest

from tests.runtime.house import SENDER, SIMULATOR, House, until

HEADER = f"From: {SENDER}\r\nTo: {SIMULATOR}\r\nMIME-Version: 1.0\r\n".encode()
INVALID = "Message rejected: Message contains invalid content. "


def with_file(name: bytes, octets: int) -> bytes:
    """A text and a file."""
    header = HEADER + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    file = (
        b"Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: a; filename=" + name
    )
    content = base64.encodebytes(os.urandom(octets)).replace(b"\n", b"\r\n")
    return header + b"--b\r\n\r\nHello.\r\n--b\r\n" + file + b"\r\n\r\n" + content + b"--b--\r\n"


EXE = f"{INVALID}File extension .exe is not supported (part 2)"
STATUS = f"{INVALID}Content type message/delivery-status is not supported"
HTML = b"Content-Type: text/html\r\n\r\n<img src='data:,x'>\r\n"
REFUSED = [
    (with_file(b"evil.exe", 100), EXE, "unsupported-attachment"),
    (with_file(b"big.exe", 400_000), EXE, "unsupported-attachment"),
    (HEADER + HTML, f"{INVALID}Data URIs are not supported", "data-uri"),
    (HEADER + b"Content-Type: message/delivery-status\r\n\r\nAction: failed\r\n", STATUS, "delivery-status"),
    (HEADER + b"Content-Type: text; x\r\n\r\nx\r\n", "Transaction failed: Expected '/', got ;", "malformed-mime"),
    (HEADER + b"To: x\r\n\r\nx\r\n", "Transaction failed: Missing final '@domain'", "malformed"),
    (HEADER + b"MIME-Version: 1\r\n\r\n", "Transaction failed: Duplicate header 'MIME-Version'.", "duplicate-header"),
]


def test_each_refusal_has_its_words_its_count_and_leaves_nothing_behind(house: House) -> None:
    house.start()
    with house.session() as smtp:
        for message, words, _ in REFUSED:
            with pytest.raises(smtplib.SMTPDataError) as caught:
                smtp.sendmail(SENDER, SIMULATOR, message)
            assert (caught.value.smtp_code, caught.value.smtp_error) == (554, words.encode())
        for octets in (100, 400_000):
            message = with_file(b"fine.pdf", octets)
            smtp.mail(SENDER)
            smtp.rcpt(SIMULATOR)
            code, reply = smtp.data(message)
            assert code == 250
            source = subprocess.check_output(
                [sys.executable, "-m", "sesrelay", "--config", str(house.config), "message", "source", reply.split()[1]]
            )
            assert source.partition(b"\r\n\r\n")[2] == message.partition(b"\r\n\r\n")[2]
    for reason in {reason for *_, reason in REFUSED}:
        times = sum(row[2] == reason for row in REFUSED)
        metric = f'sesrelay_refusals_total{{reason="{reason}"}}'
        until(lambda metric=metric, times=times: house.metric(metric) == times, metric)
    assert not list(house.data.rglob("*.spool"))

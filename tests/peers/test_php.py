"""PHPMailer, through which most of the web's PHP programs send."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.peers.conftest import Arrived, Check, own_environment, run, unpacked
from tests.peers.guide import block, filled
from tests.peers.samples import RECIPIENT, SAMPLES, SENDER, assert_only_the_relays_fields_differ
from tests.standins.relay import RelayStandIn

pytestmark = pytest.mark.peers

SETTINGS = block("PHP, with PHPMailer", "settings.php")
SEND = block("PHP, with PHPMailer", "send.php")

# The same connection, and a message that is ready. SMTP::data ends the last line itself.
SEND_READY = f"""<?php
$mail = require 'settings.php';
$mail->smtpConnect($mail->SMTPOptions) or exit(1);
$smtp = $mail->getSMTPInstance();
$done = $smtp->mail('{SENDER}') && $smtp->recipient('{RECIPIENT}')
    && $smtp->data(substr(stream_get_contents(STDIN), 0, -1));
print $smtp->getLastReply();
exit($done && $smtp->quit() ? 0 : 1);
"""


class Php:
    """Unpacked PHP with the settings of the docs."""

    def __init__(self, folder: Path, relay: RelayStandIn, door: str) -> None:
        self._folder, self._programs = folder, unpacked("php")
        self._environment = own_environment(self._programs, folder)
        places = {
            "STARTTLS": {"587": relay.starttls_port},
            "TLS": {"587": relay.tls_port, "'tls'": "'ssl'"},
        }
        (folder / "settings.php").write_text(filled(SETTINGS, relay, places[door]))

    def run(self, script: str, text: str = "") -> str:
        (self._folder / "script.php").write_text(script)
        program = next(iter(sorted((self._programs / "usr/bin").glob("php[0-9]*"))))
        modules = next(iter(self._programs.glob("usr/lib/php/2*")))
        return run(
            [
                *(program, "-n", "-d", f"extension_dir={modules}", "-d", "extension=ctype"),
                *("-d", f"auto_prepend_file={self._programs}/usr/share/php/libphp-phpmailer/autoload.php"),
                *("-d", f"include_path={self._folder}", self._folder / "script.php"),
            ],
            self._environment,
            text,
        )


@pytest.fixture(params=["STARTTLS", "TLS"])
def php(request: pytest.FixtureRequest, tmp_path: Path, relay: RelayStandIn) -> Php:
    return Php(tmp_path, relay, request.param)


def test_phpmailer_sends_what_it_composed(php: Php, relay: RelayStandIn, arrived: Arrived) -> None:
    mark = uuid.uuid4().hex
    script = filled(SEND, relay, {"by PHP": mark}) + "print $mail->getSentMIMEMessage();\n"
    sent = php.run(script)
    copy = arrived(mark)
    assert_only_the_relays_fields_differ(sent.replace("\r\n", "\n") + "\n", copy)  # SMTP::data ends the last line again
    assert copy.endswith(b"\r\n\r\nHello.\r\n\r\n")


@pytest.mark.parametrize("sample", SAMPLES)
def test_phpmailer_sends_a_message(php: Php, arrives_unchanged: Check, sample: str) -> None:
    def send(message: str) -> None:
        assert php.run(SEND_READY, message).startswith("250 Ok 0100")

    arrives_unchanged(SAMPLES[sample], send)

"""msmtp, which programs without SMTP of their own (and PHP's ``mail``) use as their sendmail."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.peers.conftest import Arrived, Check, own_environment, run, unpacked
from tests.peers.guide import block, filled
from tests.peers.samples import RECIPIENT, SAMPLES
from tests.standins.relay import RelayStandIn

pytestmark = pytest.mark.peers

CONFIGURATION = block("msmtp", "msmtprc")


class Msmtp:
    """Unpacked msmtp with a configuration of its own."""

    def __init__(self, folder: Path, relay: RelayStandIn, door: str) -> None:
        self.program = unpacked("msmtp") / "usr/bin/msmtp"
        self.environment = own_environment(unpacked("msmtp"), folder)
        places = {
            "STARTTLS": {"port 587": f"port {relay.starttls_port}"},
            "TLS": {"port 587": f"port {relay.tls_port}", "tls on": "tls on\ntls_starttls off"},
        }
        self.file = folder / "msmtprc"
        self.file.write_text(filled(CONFIGURATION, relay, places[door]))
        self.file.chmod(0o600)

    def send(self, message: str) -> None:
        run([self.program, "-C", self.file, RECIPIENT], self.environment, message)


@pytest.fixture(params=["STARTTLS", "TLS"])
def msmtp(request: pytest.FixtureRequest, tmp_path: Path, relay: RelayStandIn) -> Msmtp:
    return Msmtp(tmp_path, relay, request.param)


@pytest.mark.parametrize("sample", SAMPLES)
def test_msmtp_sends_a_message(msmtp: Msmtp, arrives_unchanged: Check, sample: str) -> None:
    arrives_unchanged(SAMPLES[sample], msmtp.send)


def test_phps_mail_goes_through_msmtp(msmtp: Msmtp, arrived: Arrived, tmp_path: Path) -> None:
    php = next(iter(sorted((unpacked("php") / "usr/bin").glob("php[0-9]*"))))
    mark = uuid.uuid4().hex
    sendmail = f"{msmtp.program} -C {msmtp.file} -t"
    script = tmp_path / "mail.php"
    script.write_text(f"<?php exit(mail('{RECIPIENT}', '{mark}', \"Hello.\\n.\\n\") ? 0 : 1);")
    libraries = [
        programs["LD_LIBRARY_PATH"] for programs in (msmtp.environment, own_environment(unpacked("php"), tmp_path))
    ]
    environment = msmtp.environment | {"LD_LIBRARY_PATH": ":".join(libraries)}
    run([php, "-n", "-d", f"sendmail_path={sendmail}", script], environment)
    assert arrived(mark).endswith(b"\r\n\r\nHello.\r\n.\r\n\r\n")  # mail() adds a line end

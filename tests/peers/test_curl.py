"""curl sends mail, by STARTTLS and by TLS from the first octet."""

from __future__ import annotations

import subprocess

import pytest

from tests.peers.conftest import Check, program
from tests.peers.samples import RECIPIENT, SAMPLES, SENDER, on_the_wire
from tests.standins.relay import ENDPOINT, RelayStandIn

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_curl_sends_a_message(relay: RelayStandIn, arrives_unchanged: Check, sample: str, scheme: str) -> None:
    port = relay.starttls_port if scheme == "smtp" else relay.tls_port

    def send(message: str) -> None:
        ended = subprocess.run(
            [
                *(program("curl"), "--silent", "--show-error", "--max-time", "30", "--ssl-reqd", "--cacert", relay.ca),
                *("--noproxy", "*", "--resolve", f"{ENDPOINT}:{port}:127.0.0.1"),
                *("--user", f"{relay.user_name}:{relay.password}"),
                *("--mail-from", SENDER, "--mail-rcpt", RECIPIENT, "--upload-file", "-"),
                f"{scheme}://{ENDPOINT}:{port}/client.example",
            ],
            input=on_the_wire(message),
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr.decode()

    arrives_unchanged(SAMPLES[sample], send)

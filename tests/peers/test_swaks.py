"""swaks, the tester's knife: each of the relay's mechanisms, on each of its doors."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.peers.conftest import Check, program, unpacked
from tests.peers.samples import RECIPIENT, SAMPLES, SENDER
from tests.standins.relay import ENDPOINT, RelayStandIn

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("mechanism", ["LOGIN", "PLAIN"])
@pytest.mark.parametrize("door", ["--tls", "--tls-on-connect"])
def test_swaks_sends_a_message(
    relay: RelayStandIn, arrives_unchanged: Check, tmp_path: Path, door: str, mechanism: str
) -> None:
    folder = unpacked("swaks")
    perl_libraries = os.pathsep.join(str(path) for path in folder.glob("usr/lib/*/perl5/*"))
    port = relay.starttls_port if door == "--tls" else relay.tls_port

    def send(message: str) -> None:
        data = tmp_path / "data"
        data.write_text(message.removesuffix("\n"))  # swaks ends the last line itself
        ended = subprocess.run(
            [
                *(program("perl"), folder / "usr/bin/swaks", "--server", "127.0.0.1", "--port", str(port)),
                *(door, "--tls-verify", "--tls-ca-path", relay.ca, "--tls-sni", ENDPOINT),
                *("--auth", mechanism, "--auth-user", relay.user_name, "--auth-password", relay.password),
                *("--from", SENDER, "--to", RECIPIENT, "--data", f"@{data}"),
            ],
            env={**os.environ, "PERL5LIB": perl_libraries},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "<~  250 Ok 0100" in ended.stdout

    arrives_unchanged(SAMPLES["MIME"], send)

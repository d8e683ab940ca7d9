"""swaks, the tester's knife: each of the relay's mechanisms, on each of its doors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.peers.conftest import Check, perl_libraries, program, run, unpacked
from tests.peers.guide import block, filled
from tests.peers.samples import SAMPLES
from tests.standins.relay import ENDPOINT, RelayStandIn

pytestmark = pytest.mark.peers

SCRIPT = block("swaks", "swaks.sh")


@pytest.mark.parametrize("mechanism", ["LOGIN", "PLAIN"])
@pytest.mark.parametrize("door", ["--tls", "--tls-on-connect"])
def test_swaks_sends_a_message(
    relay: RelayStandIn, arrives_unchanged: Check, tmp_path: Path, door: str, mechanism: str
) -> None:
    folder = unpacked("swaks")
    port = relay.starttls_port if door == "--tls" else relay.tls_port
    places = {
        f"swaks --server {ENDPOINT} --port 587": f'"$SWAKS" --server 127.0.0.1 --port {port}',
        "--tls ": f"{door} ",
        "--auth LOGIN": f"--auth {mechanism}",
    }

    def send(message: str) -> None:
        data = tmp_path / "data"
        data.write_text(message.removesuffix("\n"))  # swaks ends the last line itself
        script = tmp_path / "swaks.sh"
        script.write_text(filled(SCRIPT, relay, places).removesuffix("\n") + f" --data @{data}\n")
        environment = {
            "PATH": os.environ["PATH"],
            "SWAKS": str(folder / "usr/bin/swaks"),
            "PERL5LIB": perl_libraries(folder),
        }
        assert "<~  250 Ok 0100" in run([program("sh"), script], environment)

    arrives_unchanged(SAMPLES["MIME"], send)

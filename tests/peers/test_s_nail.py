"""s-nail, the ``mail`` command of scripts and cron jobs."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.peers.conftest import Arrived, own_environment, run, unpacked
from tests.peers.guide import block, filled
from tests.peers.samples import RECIPIENT, assert_only_the_relays_fields_differ
from tests.standins.relay import RelayStandIn

pytestmark = pytest.mark.peers

CONFIGURATION = block("s-nail", "mailrc")
BODIES = {
    "plain": "Hello.\n",
    "dots": ".\n..\n.x\n. \n",
    "8 bit": "Grüße, Straße 9 €\n",
    "long": "x" * 3000 + "\n",
}


@pytest.mark.parametrize("door", ["STARTTLS", "TLS"])
@pytest.mark.parametrize("body", BODIES)
def test_s_nail_sends_what_it_keeps_a_record_of(
    relay: RelayStandIn, arrived: Arrived, tmp_path: Path, body: str, door: str
) -> None:
    folder, mark = unpacked("s-nail"), uuid.uuid4().hex
    places = {
        "STARTTLS": {":587": f":{relay.starttls_port}"},
        "TLS": {"smtp://": "smtps://", ":587": f":{relay.tls_port}", "set smtp-use-starttls\n": ""},
    }
    (tmp_path / "mailrc").write_text(
        f"set record={tmp_path / 'record'} ttycharset=utf-8\n" + filled(CONFIGURATION, relay, places[door])
    )
    environment = own_environment(folder, tmp_path) | {"MAILRC": str(tmp_path / "mailrc"), "LC_ALL": "C.UTF-8"}
    run([folder / "usr/bin/s-nail", "-n", "-s", mark, RECIPIENT], environment, BODIES[body])
    _, _, sent = (tmp_path / "record").read_text().partition("\n")  # behind the separator of the mailbox
    copy = arrived(mark)
    assert_only_the_relays_fields_differ(sent.removesuffix("\n"), copy)
    assert f"\r\nTo: {RECIPIENT}\r\n".encode() in copy

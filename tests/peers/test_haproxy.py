"""haproxy in front, as docs/OPERATING.md says: the relay knows the client all the same, by either version's header."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.conftest import Arrived, library, unpacked
from tests.peers.guide import block, filled
from tests.peers.samples import RECIPIENT, SENDER
from tests.standins.next_hop import NextHop
from tests.standins.relay import ENDPOINT, REGION, RelayStandIn, free_port

pytestmark = pytest.mark.peers

CONFIGURATION = block("Behind a load balancer", "haproxy.cfg")
CLIENT = "127.0.5.7"


@dataclass(frozen=True)
class Balancer:
    """A running haproxy: its ports, and the relay behind it."""

    starttls_port: int
    tls_port: int
    relay: RelayStandIn


@pytest.fixture(scope="module")
def shy_relay(tmp_path_factory: pytest.TempPathFactory, hop: NextHop) -> Iterator[RelayStandIn]:
    """One that wants the header on both of its listeners, and tells of clients in Received."""
    relay = RelayStandIn(tmp_path_factory.mktemp("relay"), next_hop=hop.port)
    place = {"address": "127.0.0.1", "region": REGION, "proxy_protocol": True}
    relay.reconfigure(
        listeners=[
            {**place, "port": relay.starttls_port, "mode": "starttls"},
            {**place, "port": relay.tls_port, "mode": "tls"},
        ],
        smtp={"received_shows_client": True},
    )
    with relay:
        yield relay


@pytest.fixture(scope="module", params=["send-proxy-v2", "send-proxy"])
def balancer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shy_relay: RelayStandIn
) -> Iterator[Balancer]:
    programs, folder = unpacked("haproxy"), tmp_path_factory.mktemp("haproxy")
    made = Balancer(free_port(), free_port(), shy_relay)
    places = {
        "bind :587": f"bind 127.0.0.1:{made.starttls_port}",
        "bind :465": f"bind 127.0.0.1:{made.tls_port}",
        "10.0.0.5:2587": f"127.0.0.1:{shy_relay.starttls_port}",
        "10.0.0.5:2465": f"127.0.0.1:{shy_relay.tls_port}",
        " send-proxy-v2 ": f" {request.param} ",
    }
    (folder / "haproxy.cfg").write_text(filled(CONFIGURATION, shy_relay, places))
    environment = {"LD_LIBRARY_PATH": str(library(programs, "liblua5.3.so.0").parent)}
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [programs / "usr/sbin/haproxy", "-db", "-f", folder / "haproxy.cfg"],
            env=environment,
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + 10
    while not _listens(made.tls_port):
        assert running.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)
    yield made
    running.terminate()
    running.wait()
    assert "DOWN" not in (folder / "log").read_text()  # its health checks are content


def _listens(port: int) -> bool:
    """Seen in the kernel's table: to connect would be a client."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in map(str.split, lines))


@pytest.mark.parametrize("door", ["STARTTLS", "TLS"])
def test_mail_through_haproxy_is_its_clients(balancer: Balancer, arrived: Arrived, door: str) -> None:
    mark, relay = uuid.uuid4().hex, balancer.relay
    context = ssl.create_default_context(cafile=str(relay.ca))
    context.check_hostname = False  # the name is checked by those who connect by it
    source = (CLIENT, 0)
    if door == "TLS":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(
            "127.0.0.1", balancer.tls_port, timeout=30, context=context, source_address=source
        )
    else:
        smtp = smtplib.SMTP("127.0.0.1", balancer.starttls_port, timeout=30, source_address=source)
        smtp.starttls(context=context)
    with closing(smtp):
        smtp.login(relay.user_name, relay.password)
        smtp.sendmail(SENDER, [RECIPIENT], f"From: {SENDER}\r\nSubject: {mark}\r\n\r\nHello.\r\n")
        smtp.quit()
    copy = arrived(mark)
    received = copy.partition(b"\r\n\r\n")[0]
    assert f"[{CLIENT}]".encode() in received
    assert ENDPOINT.encode() in received


def test_the_relay_turns_away_who_comes_around_haproxy(balancer: Balancer) -> None:
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        smtplib.SMTP("127.0.0.1", balancer.relay.starttls_port, timeout=30)

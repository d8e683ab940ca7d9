"""JavaMail as JIRA uses it, and its successor Jakarta Mail: one running program each, which sends mail after mail."""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.peers.conftest import Arrived, Check, run, unpacked
from tests.peers.guide import block, filled
from tests.peers.samples import RECIPIENT, SAMPLES, SENDER, on_the_wire, parts
from tests.standins.relay import ENDPOINT, RelayStandIn

pytestmark = pytest.mark.peers

LONGEST_SECONDS = 60

SEND = block("JIRA, and Java", "Send.java")
JIRA_SENDER = (Path(__file__).parent / "JiraSender.java").read_text()
LIBRARIES = {
    "javax": ("javax.mail.jar", "javax.activation.jar"),
    "jakarta": ("jakarta-mail.jar", "jakarta-activation.jar"),
}
TRUST = "changeit"


@cache
def home() -> Path:
    """Of the JDK."""
    return min(unpacked("java").glob("usr/lib/jvm/*/bin/javac")).parents[1]


class Java:
    """An unpacked JDK that knows the relay's name and its CA, and one of the two libraries."""

    def __init__(self, folder: Path, relay: RelayStandIn, library: str) -> None:
        self._folder, self._library = folder, library
        jars = [unpacked("java") / "usr/share/java" / name for name in LIBRARIES[library]]
        self._classes = ":".join(map(str, [folder, *jars]))
        (folder / "hosts").write_text(f"127.0.0.1 {ENDPOINT} localhost\n")
        run(
            [
                *(home() / "bin/keytool", "-importcert", "-noprompt", "-alias", "sesrelay", "-file", relay.ca),
                *("-keystore", folder / "trust", "-storepass", TRUST),
            ],
            {},
        )

    def compile(self, name: str, source: str) -> None:
        (self._folder / f"{name}.java").write_text(source.replace("javax.mail", f"{self._library}.mail"))
        run([home() / "bin/javac", "-cp", self._classes, self._folder / f"{name}.java"], {})

    def command(self, name: str, *arguments: str) -> list[str | Path]:
        return [
            *(home() / "bin/java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", self._classes),
            *(f"-Djdk.net.hosts.file={self._folder / 'hosts'}", f"-Djavax.net.ssl.trustStore={self._folder / 'trust'}"),
            *(f"-Djavax.net.ssl.trustStorePassword={TRUST}", name, *arguments),
        ]


@pytest.fixture(scope="module", params=LIBRARIES)
def java(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, relay: RelayStandIn) -> Java:
    return Java(tmp_path_factory.mktemp(request.param), relay, request.param)


class Jira:
    """The program while it runs."""

    def __init__(self, command: list[str | Path]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={})
        self._watchdog = threading.Timer(LONGEST_SECONDS, self._process.kill)
        self._watchdog.start()

    def send(self, message: str) -> None:
        assert self._process.stdin
        assert self._process.stdout
        octets = on_the_wire(message)
        self._process.stdin.write(len(octets).to_bytes(4, "big") + octets)
        self._process.stdin.flush()
        assert self._process.stdout.readline() == b"sent\n"

    def end(self) -> None:
        self._process.communicate((0).to_bytes(4, "big"))
        self._watchdog.cancel()


@pytest.fixture(scope="module", params=["smtp", "smtps"])
def jira(request: pytest.FixtureRequest, java: Java, relay: RelayStandIn) -> Iterator[Jira]:
    port = relay.starttls_port if request.param == "smtp" else relay.tls_port
    java.compile("JiraSender", JIRA_SENDER)
    form = (request.param, ENDPOINT, str(port), relay.user_name, relay.password, SENDER, RECIPIENT)
    made = Jira(java.command("JiraSender", *form))
    yield made
    made.end()


@pytest.mark.parametrize("sample", SAMPLES)
def test_jira_sends_a_message(jira: Jira, arrives_unchanged: Check, sample: str) -> None:
    arrives_unchanged(SAMPLES[sample], jira.send)


def test_the_guides_java_program_sends_its_mail(java: Java, relay: RelayStandIn, arrived: Arrived) -> None:
    mark = uuid.uuid4().hex
    java.compile("Send", filled(SEND, relay, {'"587"': f'"{relay.starttls_port}"', "by Java": mark}))
    run(java.command("Send"), {})
    fields, body = parts(arrived(mark))
    assert {f"From: {SENDER}\r\n".encode(), f"To: {RECIPIENT}\r\n".encode()} <= set(fields)
    assert body == b"Hello.\r\n"

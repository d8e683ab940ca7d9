"""JavaMail as JIRA uses it, and its successor Jakarta Mail: one running program each, which sends mail after mail."""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore
from cryptography.x509 import load_pem_x509_certificate

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
SUBJECT = f"by Java {uuid.uuid4().hex}"
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


@cache
def home() -> Path:
    """Of the JDK."""
    return min(unpacked("java").glob("usr/lib/jvm/*/bin/javac")).parents[1]


def trust(relay: RelayStandIn, file: Path) -> None:
    """Writes what ``keytool -importcert`` would, without starting Java."""
    ca = PKCS12Certificate(load_pem_x509_certificate(relay.ca.read_bytes()), b"sesrelay")
    file.write_bytes(serialize_java_truststore([ca], BestAvailableEncryption(TRUST.encode())))


class Java:
    """An unpacked JDK that knows the relay's name and its CA, and one of the two libraries; both programs compiled."""

    def __init__(self, folder: Path, relay: RelayStandIn, library: str) -> None:
        self._folder = folder
        jars = [unpacked("java") / "usr/share/java" / name for name in LIBRARIES[library]]
        self._classes = ":".join(map(str, [folder, *jars]))
        (folder / "hosts").write_text(f"127.0.0.1 {ENDPOINT} localhost\n")
        trust(relay, folder / "trust")
        send = filled(SEND, relay, {'"587"': f'"{relay.starttls_port}"', "by Java": f"{SUBJECT} {library}"})
        sources = {folder / "Send.java": send, folder / "JiraSender.java": JIRA_SENDER}
        for file, source in sources.items():
            file.write_text(source.replace("javax.mail", f"{library}.mail"))
        run([home() / "bin/javac", *(f"-J{one}" for one in QUICK), "-cp", self._classes, *sources], {})

    def command(self, name: str, *arguments: str) -> list[str | Path]:
        return [
            *(home() / "bin/java", *QUICK, "-cp", self._classes, f"-Djdk.net.hosts.file={self._folder / 'hosts'}"),
            *(f"-Djavax.net.ssl.trustStore={self._folder / 'trust'}", f"-Djavax.net.ssl.trustStorePassword={TRUST}"),
            *(name, *arguments),
        ]


@pytest.fixture(scope="module")
def javas(tmp_path_factory: pytest.TempPathFactory, relay: RelayStandIn) -> dict[str, Java]:
    return {library: Java(tmp_path_factory.mktemp(library), relay, library) for library in LIBRARIES}


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
def protocol(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture(scope="module", params=LIBRARIES)
def jira(request: pytest.FixtureRequest, javas: dict[str, Java], relay: RelayStandIn, protocol: str) -> Iterator[Jira]:
    port = relay.starttls_port if protocol == "smtp" else relay.tls_port
    form = (protocol, ENDPOINT, str(port), relay.user_name, relay.password, SENDER, RECIPIENT)
    made = Jira(javas[request.param].command("JiraSender", *form))
    yield made
    made.end()


@pytest.mark.parametrize("sample", SAMPLES)
def test_jira_sends_a_message(jira: Jira, arrives_unchanged: Check, sample: str) -> None:
    arrives_unchanged(SAMPLES[sample], jira.send)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_guides_java_program_sends_its_mail(javas: dict[str, Java], library: str, arrived: Arrived) -> None:
    run(javas[library].command("Send"), {})
    fields, body = parts(arrived(f"{SUBJECT} {library}"))
    assert {f"From: {SENDER}\r\n".encode(), f"To: {RECIPIENT}\r\n".encode()} <= set(fields)
    assert body == b"Hello.\r\n"

"""The guide's "Using the Command Line": a person, or a script, talks to the relay through ``openssl s_client``."""

from __future__ import annotations

import base64
import subprocess
import threading
from pathlib import Path

import pytest

from tests.peers.conftest import Check, program
from tests.peers.samples import RECIPIENT, SAMPLES, SENDER
from tests.standins.relay import ENDPOINT, RelayStandIn

pytestmark = pytest.mark.peers

LONGEST_SECONDS = 30
MODES = ["starttls", "tls"]


def command(relay: RelayStandIn, mode: str) -> list[str | Path]:
    """As the guide prints it, and with the certificate checked."""
    port = relay.starttls_port if mode == "starttls" else relay.tls_port
    return [
        *(program("openssl"), "s_client", "-crlf", "-quiet"),
        *(["-starttls", "smtp"] if mode == "starttls" else []),
        *("-connect", f"127.0.0.1:{port}", "-servername", ENDPOINT),
        *("-CAfile", relay.ca, "-verify_hostname", ENDPOINT, "-verify_return_error"),
    ]


def stuffed(message: str) -> str:
    """With its dots doubled and the final dot: what a person types after DATA."""
    lines = message.removesuffix("\n").split("\n")
    return "\n".join("." + line if line.startswith(".") else line for line in lines) + "\n.\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Dialogue:
    """A person at the keyboard: reads until the reply is whole, then types on."""

    def __init__(self, arguments: list[str | Path]) -> None:
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._watchdog = threading.Timer(LONGEST_SECONDS, self._process.kill)
        self._watchdog.start()

    def read(self) -> str:
        """The last line of the next reply; "" when the other side is gone."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        while line[3:4] == "-":
            line = self._process.stdout.readline()
        return line.rstrip("\n").rstrip("\r")

    def say(self, text: str) -> str:
        """Types a line; the reply."""
        assert self._process.stdin
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()
        return self.read()

    def end(self) -> None:
        """Waits until the connection is closed."""
        self._process.communicate()
        self._watchdog.cancel()


@pytest.mark.parametrize("mode", MODES)
def test_a_person_types_a_message(relay: RelayStandIn, arrives_unchanged: Check, mode: str) -> None:
    def send(message: str) -> None:
        dialogue = Dialogue(command(relay, mode))
        if mode == "tls":  # with -starttls openssl has read the greeting itself
            assert dialogue.read().startswith(f"220 {ENDPOINT} ESMTP ")
        assert dialogue.say("EHLO bob-desktop.example.com") == "250 Ok"
        assert dialogue.say("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert dialogue.say(encoded(relay.user_name)) == "334 UGFzc3dvcmQ6"
        assert dialogue.say(encoded(relay.password)) == "235 Authentication successful."
        assert dialogue.say(f"MAIL FROM:{SENDER}") == "250 Ok"
        assert dialogue.say(f"RCPT TO:{RECIPIENT}") == "250 Ok"
        assert dialogue.say("DATA") == "354 End data with <CR><LF>.<CR><LF>"
        assert dialogue.say(stuffed(message).removesuffix("\n")).startswith("250 Ok 0100")
        assert dialogue.say("QUIT") == "221 Bye"
        dialogue.end()

    arrives_unchanged(SAMPLES["dots"], send)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_script_pipes_the_whole_dialogue_in_at_once(
    relay: RelayStandIn, arrives_unchanged: Check, sample: str, mode: str
) -> None:
    def send(message: str) -> None:
        dialogue = (
            f"EHLO example.com\nAUTH LOGIN\n{encoded(relay.user_name)}\n{encoded(relay.password)}\n"
            f"MAIL FROM: {SENDER}\nRCPT TO: {RECIPIENT}\nDATA\n{stuffed(message)}QUIT\n"
        )
        ended = subprocess.run(
            command(relay, mode), input=dialogue, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
        )
        replies = [line[:3] for line in ended.stdout.splitlines() if line[3:4] == " "]
        greeting = [] if mode == "starttls" else ["220"]
        assert replies == [*greeting, "250", "334", "334", "235", "250", "250", "354", "250", "221"], ended.stderr

    arrives_unchanged(SAMPLES[sample], send)

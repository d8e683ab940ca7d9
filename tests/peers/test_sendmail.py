"""The guide's "Integrating Amazon SES with Sendmail", with our names: its lines of sendmail.mc, its authinfo."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from pathlib import Path

import pytest

from tests.peers.conftest import Check, lacking, library, unpacked
from tests.peers.samples import RECIPIENT, SAMPLES, SENDER
from tests.standins.relay import DOMAIN, RelayStandIn

pytestmark = pytest.mark.peers

# A user that every Debian has, so that none must be made.
OWNER = "mail"

CONFIGURATION = f"""\
include(`@programs@/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `sendmail.example')dnl
define(`QUEUE_DIR', `@folder@/queue')dnl
define(`STATUS_FILE', `')dnl
define(`ALIAS_FILE', `')dnl
define(`confHOST_STATUS_DIRECTORY', `')dnl
define(`confPID_FILE', `@folder@/pid')dnl
define(`confTRUSTED_USER', `{OWNER}')dnl
define(`confRUN_AS_USER', `{OWNER}')dnl
define(`confDEF_USER_ID', `{OWNER}:{OWNER}')dnl
define(`confDONT_BLAME_SENDMAIL', `MapInUnsafeDirPath')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confCACERT', `@folder@/ca.pem')dnl
FEATURE(`nocanonify')dnl
FEATURE(`authinfo', `hash -o @folder@/authinfo.db')dnl
define(`SMART_HOST', `[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h @port@')dnl
define(`ESMTP_MAILER_ARGS', `TCP $h @port@')dnl
define(`confAUTH_MECHANISMS', `LOGIN PLAIN')dnl
MASQUERADE_AS(`{DOMAIN}')dnl
FEATURE(masquerade_envelope)dnl
FEATURE(masquerade_entire_domain)dnl
MAILER(`smtp')dnl
"""


class Sendmail:
    """Unpacked Sendmail with a queue and a configuration of its own. It delivers in the foreground: no daemon."""

    def __init__(self, folder: Path, port: int, relay: RelayStandIn) -> None:
        self._folder = folder
        self._programs = unpacked("sendmail")
        (folder / "queue").mkdir(mode=0o700)
        os.chown(folder / "queue", pwd.getpwnam(OWNER).pw_uid, -1)
        # It waits a minute when it cannot find out its own full name.
        names = f"sendmail.example {socket.gethostname()}.sendmail.example {socket.gethostname()}"
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {names}\n")
        (folder / "ca.pem").write_bytes(relay.ca.read_bytes())
        source = CONFIGURATION
        for name, value in {"folder": folder, "programs": self._programs, "port": port}.items():
            source = source.replace(f"@{name}@", str(value))
        macros = f"-D_CF_DIR_={self._programs}/usr/share/sendmail/cf/"
        (folder / "sendmail.cf").write_text(self._run("usr/bin/m4", macros, text=source))
        authinfo = f'AuthInfo:127.0.0.1 "U:root" "I:{relay.user_name}" "P:{relay.password}" "M:LOGIN"\n'
        makemap = ("usr/libexec/sendmail/makemap", "-C", str(folder / "sendmail.cf"))
        self._run(*makemap, "hash", str(folder / "authinfo.db"), text=authinfo)

    def _run(self, program: str, *arguments: str, text: str) -> str:
        ended = subprocess.run(
            [self._programs / program, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "LD_LIBRARY_PATH": str(library(self._programs, "libwrap.so.0").parent),
                "LD_PRELOAD": str(library(self._programs, "libnss_wrapper.so")),
                "NSS_WRAPPER_HOSTS": str(self._folder / "hosts"),
            },
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def send(self, message: str) -> str:
        """As a program on that machine sends mail; the dialogue."""
        options = ("-C", str(self._folder / "sendmail.cf"), "-odi", "-oi", "-v", "-f", SENDER, RECIPIENT)
        dialogue = self._run("usr/libexec/sendmail/sendmail", *options, text=message)
        assert list((self._folder / "queue").iterdir()) == [], dialogue
        return dialogue


@pytest.fixture(scope="module", params=["STARTTLS", "secure tunnel"])
def sendmail(request: pytest.FixtureRequest, open_folder: Path, relay: RelayStandIn) -> Sendmail:
    if os.geteuid() != 0:
        lacking("Sendmail with a configuration of its own delivers as root only")
    folder = open_folder / request.param.replace(" ", "-")
    folder.mkdir()
    folder.chmod(0o711)
    port = relay.starttls_port if request.param == "STARTTLS" else request.getfixturevalue("tunnel")
    return Sendmail(folder, port, relay)


@pytest.mark.parametrize("sample", SAMPLES)
def test_sendmail_relays_a_message(sendmail: Sendmail, arrives_unchanged: Check, sample: str) -> None:
    arrives_unchanged(SAMPLES[sample], sendmail.send)


def test_sendmail_names_the_submitter_and_gets_our_message_id(sendmail: Sendmail) -> None:
    dialogue = sendmail.send(SAMPLES["plain"])
    assert "235 Authentication successful." in dialogue
    assert f" AUTH={SENDER}\n" in dialogue  # RFC 4954 §5: after AUTH it says on whose behalf
    assert "Sent (Ok 0100" in dialogue

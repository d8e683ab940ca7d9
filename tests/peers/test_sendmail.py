"""The guide's "Integrating Amazon SES with Sendmail", with our names: its lines of sendmail.mc, its authinfo."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.conftest import Arrived, Check, lacking, library, unpacked
from tests.peers.guide import block, filled
from tests.peers.names import Names
from tests.peers.samples import RECIPIENT, SAMPLES, SENDER
from tests.standins.relay import DOMAIN, ENDPOINT, RelayStandIn

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
FEATURE(`access_db', `hash -T<TMPF> -o @folder@/access.db')dnl
@guide@MAILER(`smtp')dnl
"""

THE_GUIDES_LINES = {
    "STARTTLS": (block("Sendmail by STARTTLS", "sendmail.mc"), block("Sendmail by STARTTLS", "authinfo")),
    "secure tunnel": (block("Sendmail through stunnel", "sendmail.mc"), block("Sendmail through stunnel", "authinfo")),
}
ACCESS = block("Sendmail by STARTTLS", "access")
ALIASED = block("Traps", "authinfo")
BALANCER = "balancer.example.net"


# It asks libc for names, and clears its environment before: only a mount namespace gets these files to it.
PRIVATE_FILES = (
    *("unshare", "--mount", "--propagation", "private", "sh", "-c"),
    'for file in hosts resolv.conf nsswitch.conf; do mount --bind "$0/$file" /etc/$file; done && exec "$@"',
)


class Sendmail:
    """Unpacked Sendmail with a queue and a configuration of its own. It delivers in the foreground: no daemon."""

    def __init__(
        self,
        folder: Path,
        relay: RelayStandIn,
        names: Names,
        *,
        tunnel: int | None = None,
        authinfo: str | None = None,
        masquerade: bool = True,
    ) -> None:
        folder.mkdir()
        folder.chmod(0o711)
        self._folder = folder
        self._programs = unpacked("sendmail")
        (folder / "queue").mkdir(mode=0o700)
        os.chown(folder / "queue", pwd.getpwnam(OWNER).pw_uid, -1)
        # It waits a minute when it cannot find out its own full name.
        own = f"sendmail.example {socket.gethostname()}.sendmail.example {socket.gethostname()}"
        (folder / "hosts").write_text(f"127.0.1.1 {own}\n127.0.0.1 localhost\n")
        (folder / "resolv.conf").write_text(names.conf)
        (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
        (folder / "ca.pem").write_bytes(relay.ca.read_bytes())
        guide, secrets = THE_GUIDES_LINES["secure tunnel" if tunnel else "STARTTLS"]
        port = {"TCP $h 2525": f"TCP $h {tunnel}"} if tunnel else {"TCP $h 587": f"TCP $h {relay.starttls_port}"}
        guide = filled(guide, relay, {**port, "/etc/mail": folder, "`example.com'": f"`{DOMAIN}'"})
        if not masquerade:
            guide = "".join(line for line in guide.splitlines(keepends=True) if "masquerade" not in line.lower())
        source = CONFIGURATION
        for name, value in {"guide": guide, "folder": folder, "programs": self._programs}.items():
            source = source.replace(f"@{name}@", str(value))
        macros = f"-D_CF_DIR_={self._programs}/usr/share/sendmail/cf/"
        (folder / "sendmail.cf").write_text(self._run("usr/bin/m4", macros, text=source))
        self._make_map("authinfo", filled(authinfo or secrets, relay, {}))
        self._make_map("access", ACCESS)

    def _make_map(self, name: str, text: str) -> None:
        makemap = ("usr/libexec/sendmail/makemap", "-C", str(self._folder / "sendmail.cf"))
        self._run(*makemap, "hash", str(self._folder / f"{name}.db"), text=text)

    def _run(self, program: str, *arguments: str, text: str) -> str:
        ended = self._ended(program, *arguments, text=text)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def _ended(self, program: str, *arguments: str, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PRIVATE_FILES, self._folder, self._programs / program, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "LD_LIBRARY_PATH": str(library(self._programs, "libwrap.so.0").parent),
            },
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    def send(self, message: str, sender: str = SENDER) -> str:
        """As a program on that machine sends mail; the dialogue."""
        options = ("-C", str(self._folder / "sendmail.cf"), "-odi", "-oi", "-v", "-f", sender, RECIPIENT)
        dialogue = self._run("usr/libexec/sendmail/sendmail", *options, text=message)
        assert list((self._folder / "queue").iterdir()) == [], dialogue
        return dialogue

    def fail(self, message: str, sender: str = SENDER) -> str:
        """Sends what is refused; the dialogue."""
        options = ("-C", str(self._folder / "sendmail.cf"), "-odi", "-oi", "-oep", "-v", "-f", sender, RECIPIENT)
        ended = self._ended("usr/libexec/sendmail/sendmail", *options, text=message)
        return ended.stdout + ended.stderr


@pytest.fixture(scope="module", autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        lacking("Sendmail with a configuration of its own delivers as root only")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets not even root have a mount namespace")


@pytest.fixture(scope="module")
def names(as_root: None, open_folder: Path) -> Iterator[Names]:
    """The endpoint as it should be in the DNS."""
    with Names({(ENDPOINT, "A"): ["127.0.0.1"]}) as made:
        yield made


@pytest.fixture
def alias(as_root: None, open_folder: Path) -> Iterator[Names]:
    """The endpoint as it should not be."""
    with Names({(ENDPOINT, "CNAME"): [f"{BALANCER}."], (BALANCER, "A"): ["127.0.0.1"]}) as made:
        yield made


@pytest.fixture(scope="module", params=THE_GUIDES_LINES)
def sendmail(request: pytest.FixtureRequest, names: Names, open_folder: Path, relay: RelayStandIn) -> Sendmail:
    tunnel = request.getfixturevalue("tunnel") if request.param == "secure tunnel" else None
    return Sendmail(open_folder / request.param.replace(" ", "-"), relay, names, tunnel=tunnel)


@pytest.mark.parametrize("sample", SAMPLES)
def test_sendmail_relays_a_message(sendmail: Sendmail, arrives_unchanged: Check, sample: str) -> None:
    arrives_unchanged(SAMPLES[sample], sendmail.send)


def test_sendmail_names_the_submitter_and_gets_our_message_id(sendmail: Sendmail) -> None:
    dialogue = sendmail.send(SAMPLES["plain"])
    assert "235 Authentication successful." in dialogue
    assert f" AUTH={SENDER}\n" in dialogue  # RFC 4954 §5: after AUTH it says on whose behalf
    assert "Sent (Ok 0100" in dialogue


UNQUALIFIED = "From: someone\nTo: {recipient}\nSubject: {mark}\n\nHello.\n"


def test_masquerading_gives_local_users_the_verified_domain(sendmail: Sendmail, arrived: Arrived) -> None:
    mark = uuid.uuid4().hex
    sendmail.send(UNQUALIFIED.format(recipient=RECIPIENT, mark=mark), sender="someone")
    assert f"\r\nFrom: someone@{DOMAIN}\r\n".encode() in arrived(mark)


def test_without_masquerading_nobody_has_verified_the_sender(
    open_folder: Path, relay: RelayStandIn, names: Names
) -> None:
    sendmail = Sendmail(open_folder / "bare", relay, names, masquerade=False)
    dialogue = sendmail.fail(UNQUALIFIED.format(recipient=RECIPIENT, mark="bare"), sender="someone")
    assert "554 Message rejected: Email address is not verified. The following identities failed" in dialogue
    assert "US-EAST-1: someone@sendmail.example" in dialogue


@pytest.mark.parametrize("authinfo", [THE_GUIDES_LINES["STARTTLS"][1], ALIASED], ids=["one line", "two lines"])
def test_this_sendmail_finds_the_password_although_the_endpoint_is_an_alias(
    open_folder: Path, relay: RelayStandIn, alias: Names, authinfo: str
) -> None:
    sendmail = Sendmail(open_folder / f"alias-{len(authinfo)}", relay, alias, authinfo=authinfo)
    assert "235 Authentication successful." in sendmail.send(SAMPLES["plain"])


def test_a_password_for_another_host_is_none(open_folder: Path, relay: RelayStandIn, names: Names) -> None:
    sendmail = Sendmail(open_folder / "other", relay, names, authinfo=ALIASED.splitlines(keepends=True)[1])
    assert "530 Authentication required" in sendmail.fail(SAMPLES["plain"])

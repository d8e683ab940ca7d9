"""The guide's "Integrating Amazon SES with Postfix", with our names: Postfix sends all its mail through us."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.conftest import Check, lacking, library, unpacked
from tests.peers.guide import block, filled
from tests.peers.samples import RECIPIENT, SAMPLES, SENDER
from tests.standins.relay import ENDPOINT, RelayStandIn

pytestmark = pytest.mark.peers

# Users that every Debian has, so that none must be made.
OWNER, GROUP = "mail", "news"

THE_GUIDES_LINES = {
    "STARTTLS": (block("Postfix by STARTTLS", "main.cf"), block("Postfix by STARTTLS", "sasl_passwd")),
    "STARTTLS checked": (
        block("Postfix by STARTTLS, the relay's name checked", "main.cf"),
        block("Postfix by STARTTLS, the relay's name checked", "sasl_passwd"),
    ),
    "secure tunnel": (block("Postfix through stunnel", "main.cf"), block("Postfix through stunnel", "sasl_passwd")),
}

THIS_MACHINES_LINES = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {programs}/usr/lib/postfix/sbin
command_directory = {programs}/usr/sbin
shlib_directory = {programs}/usr/lib/postfix
meta_directory = {etc}
sendmail_path = {programs}/usr/sbin/sendmail
mail_owner = mail
setgid_group = news
import_environment = MAIL_CONFIG LD_LIBRARY_PATH LD_PRELOAD NSS_WRAPPER_HOSTS SASL_PATH TZ LANG=C
export_environment = MAIL_CONFIG LD_LIBRARY_PATH TZ LANG
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.example
mydestination =
alias_maps =
smtp_dns_support_level = disabled
"""

MASTER = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """Unpacked Postfix with a queue and a configuration of its own."""

    def __init__(self, folder: Path, way: str, tunnel: int | None, relay: RelayStandIn) -> None:
        self.folder, self.etc, self.way = folder, folder / "etc", way
        self.next = f"127.0.0.1[127.0.0.1]:{tunnel}" if tunnel else f"{ENDPOINT}[127.0.0.1]:{relay.starttls_port}"
        self._programs = unpacked("postfix")
        self._lay_out()
        places = {"folder": folder, "etc": self.etc, "programs": self._programs}
        port = {":2525": f":{tunnel}"} if tunnel else {":587": f":{relay.starttls_port}"}
        main, secrets = THE_GUIDES_LINES[way]
        main = filled(main, relay, {**port, "/etc/postfix": self.etc})
        (self.etc / "main.cf").write_text(main + THIS_MACHINES_LINES.format(**places))
        (self.etc / "master.cf").write_text(MASTER)
        (self.etc / "hosts").write_text(f"127.0.0.1 {ENDPOINT}\n")
        passwords = self.etc / "sasl_passwd"
        passwords.write_text(filled(secrets, relay, port))
        self._run("usr/sbin/postmap", f"hash:{passwords}")
        passwords.unlink()  # as the guide recommends

    def _lay_out(self) -> None:
        owner, group = pwd.getpwnam(OWNER).pw_uid, pwd.getpwnam(GROUP).pw_gid
        for name in ("etc", "data", "log", "queue", "queue/pid"):
            (self.folder / name).mkdir(mode=0o755)
        for name in [
            "incoming",
            "active",
            "deferred",
            "defer",
            "bounce",
            "hold",
            "corrupt",
            "flush",
            "trace",
            "saved",
            "private",
        ]:
            (self.folder / "queue" / name).mkdir(mode=0o700)
            os.chown(self.folder / "queue" / name, owner, -1)
        os.chown(self.folder / "data", owner, -1)
        for name, mode in (("public", 0o710), ("maildrop", 0o730)):
            (self.folder / "queue" / name).mkdir()
            (self.folder / "queue" / name).chmod(mode)
            os.chown(self.folder / "queue" / name, owner, group)

    def _environment(self) -> dict[str, str]:
        libraries = [self._programs / "usr/lib/postfix", library(self._programs, "libsasl2.so.2").parent]
        return {
            "PATH": os.environ["PATH"],
            "MAIL_CONFIG": str(self.etc),
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            "LD_PRELOAD": str(library(self._programs, "libnss_wrapper.so")),
            "NSS_WRAPPER_HOSTS": str(self.etc / "hosts"),
            "SASL_PATH": str(library(self._programs, "liblogin.so").parent),
        }

    def _run(self, program: str, *arguments: str, text: str = "") -> None:
        ended = subprocess.run(
            [self._programs / program, *arguments],
            env=self._environment(),
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr

    def start(self) -> None:
        self._master = subprocess.Popen(
            [self._programs / "usr/lib/postfix/sbin/master", "-c", self.etc],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while not (self.folder / "queue/public/pickup").exists():
            assert self._master.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def stop(self) -> None:
        self._master.terminate()
        self._master.wait()

    def send(self, message: str) -> None:
        """As a program on that machine sends mail."""
        self._run("usr/sbin/sendmail", "-i", "-f", SENDER, RECIPIENT, text=message)

    @property
    def log(self) -> str:
        file = self.folder / "log/mail.log"
        return file.read_text() if file.exists() else "no log"


@pytest.fixture(scope="module", params=THE_GUIDES_LINES)
def postfix(request: pytest.FixtureRequest, open_folder: Path, relay: RelayStandIn) -> Iterator[Postfix]:
    if os.geteuid() != 0:
        lacking("Postfix runs as root only")
    tunnel = request.getfixturevalue("tunnel") if request.param == "secure tunnel" else None
    folder = open_folder / request.param.replace(" ", "-")
    folder.mkdir()
    folder.chmod(0o711)
    made = Postfix(folder, request.param, tunnel, relay)
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize("sample", SAMPLES)
def test_postfix_relays_a_message(postfix: Postfix, arrives_unchanged: Check, sample: str) -> None:
    try:
        arrives_unchanged(SAMPLES[sample], postfix.send)
    except AssertionError as error:
        error.add_note(postfix.log)
        raise


def test_postfix_logs_our_message_id(postfix: Postfix, arrives_unchanged: Check) -> None:
    arrives_unchanged(SAMPLES["plain"], postfix.send)
    eventually = time.monotonic() + 10
    while f"relay={postfix.next}" not in postfix.log or "status=sent (250 Ok 0100" not in postfix.log:
        assert time.monotonic() < eventually, postfix.log
        time.sleep(0.05)

"""The guide's "Integrating Amazon SES with Exim", with our names: Exim sends its mail through us by LOGIN."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.peers.conftest import Check, lacking, library, unpacked
from tests.peers.samples import RECIPIENT, SAMPLES, SENDER
from tests.standins.relay import ENDPOINT, RelayStandIn

pytestmark = pytest.mark.peers

CONFIGURATION = """\
primary_hostname = exim.example
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
exim_user = mail
exim_group = mail
never_users =
trusted_users = root
domainlist local_domains =
tls_advertise_hosts =
deliver_drop_privilege = true
keep_environment = LD_PRELOAD : LD_LIBRARY_PATH : ^NSS_WRAPPER

begin routers

send_via_ses:
driver = manualroute
domains = ! +local_domains
transport = ses_smtp
route_list = * {endpoint} byname
self = send

begin transports

ses_smtp:
driver = smtp
port = {port}
hosts_require_auth = $host_address
hosts_require_tls = $host_address
tls_verify_certificates = {ca}
tls_verify_hosts = *

begin retry

* * F,1h,1m

begin authenticators

ses_login:
driver = plaintext
public_name = LOGIN
client_send = : {user_name} : {password}
"""


class Exim:
    """Unpacked Exim with a spool and a configuration of its own. It delivers in the foreground: no daemon."""

    def __init__(self, folder: Path, relay: RelayStandIn) -> None:
        self._folder = folder
        self._programs = unpacked("exim")
        for name in ("spool", "log"):
            (folder / name).mkdir()
            os.chown(folder / name, 8, 8)
        configuration = CONFIGURATION.format(
            folder=folder,
            endpoint=ENDPOINT,
            port=relay.starttls_port,
            ca=folder / "ca.pem",
            user_name=relay.user_name,
            password=relay.password.replace("^", "^^"),
        )
        (folder / "ca.pem").write_bytes(relay.ca.read_bytes())
        (folder / "exim.conf").write_text(configuration)
        (folder / "exim.conf").chmod(0o600)
        (folder / "hosts").write_text(f"127.0.0.1 {ENDPOINT}\n")
        # Debian's Exim insists on a user of its own: here it is `mail` by another name.
        (folder / "passwd").write_text("root:x:0:0::/:/bin/sh\nmail:x:8:8::/:/bin/sh\nDebian-exim:x:8:8::/:/bin/sh\n")
        (folder / "group").write_text("root:x:0:\nmail:x:8:\nDebian-exim:x:8:\n")

    def send(self, message: str) -> None:
        """As a program on that machine sends mail."""
        environment = {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": str(library(self._programs, "libidn.so.12").parent),
            "LD_PRELOAD": str(library(self._programs, "libnss_wrapper.so")),
            **{f"NSS_WRAPPER_{name.upper()}": str(self._folder / name) for name in ("hosts", "passwd", "group")},
        }
        ended = subprocess.run(
            [
                *(self._programs / "usr/sbin/exim4", "-C", self._folder / "exim.conf"),
                *("-odf", "-oi", "-f", SENDER, RECIPIENT),
            ],
            env=environment,
            input=message,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr + self.log

    @property
    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self._folder / "log").iterdir()))


@pytest.fixture(scope="module")
def exim(open_folder: Path, relay: RelayStandIn) -> Exim:
    if os.geteuid() != 0:
        lacking("Exim with a configuration of its own delivers as root only")
    return Exim(open_folder, relay)


@pytest.mark.parametrize("sample", SAMPLES)
def test_exim_relays_a_message(exim: Exim, arrives_unchanged: Check, sample: str) -> None:
    try:
        arrives_unchanged(SAMPLES[sample], exim.send)
    except AssertionError as error:
        error.add_note(exim.log)
        raise


def test_exim_came_by_tls_and_logged_in(exim: Exim, arrives_unchanged: Check) -> None:
    arrives_unchanged(SAMPLES["plain"], exim.send)
    sent = [line for line in exim.log.splitlines() if " => " in line]
    assert f"H={ENDPOINT} [127.0.0.1]" in sent[-1]
    for evidence in ("X=TLS1.3", "CV=yes", "A=ses_login", 'C="250 Ok 0100'):
        assert evidence in sent[-1]

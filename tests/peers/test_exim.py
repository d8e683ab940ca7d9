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
self = send
route_list = * {host} byname

begin transports

ses_smtp:
driver = smtp
port = {port}
{encryption}
begin retry

* * F,1h,1m

begin authenticators

ses_login:
driver = plaintext
public_name = LOGIN
client_send = : {user_name} : {password}
"""

ENCRYPTION = {
    "STARTTLS": """\
hosts_require_auth = $host_address
hosts_require_tls = $host_address
tls_verify_certificates = {folder}/ca.pem
tls_verify_hosts = *
""",
    "secure tunnel": """\
hosts_require_auth = localhost
hosts_avoid_tls = localhost
""",
}


class Exim:
    """Unpacked Exim with a spool and a configuration of its own. It delivers in the foreground: no daemon."""

    def __init__(self, folder: Path, way: str, host: str, port: int, relay: RelayStandIn) -> None:
        self.way, self.host = way, host
        self._folder = folder
        self._programs = unpacked("exim")
        for name in ("spool", "log"):
            (folder / name).mkdir()
            os.chown(folder / name, 8, 8)
        configuration = CONFIGURATION.format(
            folder=folder,
            host=host,
            port=port,
            encryption=ENCRYPTION[way].format(folder=folder),
            user_name=relay.user_name,
            password=relay.password.replace("^", "^^"),
        )
        (folder / "ca.pem").write_bytes(relay.ca.read_bytes())
        (folder / "exim.conf").write_text(configuration)
        (folder / "exim.conf").chmod(0o600)
        (folder / "hosts").write_text(f"127.0.0.1 {ENDPOINT}\n127.0.0.1 localhost\n")
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
        assert self.log.count(" <= ") == self.log.count(" Completed"), self.log  # or Exim would send it again

    @property
    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self._folder / "log").iterdir()))


@pytest.fixture(scope="module", params=ENCRYPTION)
def exim(request: pytest.FixtureRequest, open_folder: Path, relay: RelayStandIn) -> Exim:
    if os.geteuid() != 0:
        lacking("Exim with a configuration of its own delivers as root only")
    folder = open_folder / request.param.replace(" ", "-")
    folder.mkdir()
    folder.chmod(0o711)
    if request.param == "STARTTLS":
        return Exim(folder, request.param, ENDPOINT, relay.starttls_port, relay)
    return Exim(folder, request.param, "localhost", request.getfixturevalue("tunnel"), relay)


@pytest.mark.parametrize("sample", SAMPLES)
def test_exim_relays_a_message(exim: Exim, arrives_unchanged: Check, sample: str) -> None:
    try:
        arrives_unchanged(SAMPLES[sample], exim.send)
    except AssertionError as error:
        error.add_note(exim.log)
        raise


def test_exim_logged_in_and_logs_our_message_id(exim: Exim, arrives_unchanged: Check) -> None:
    arrives_unchanged(SAMPLES["plain"], exim.send)
    sent = [line for line in exim.log.splitlines() if " => " in line][-1]
    assert f"H={exim.host} [127.0.0.1]" in sent
    assert "A=ses_login" in sent
    assert 'C="250 Ok 0100' in sent
    assert ("X=TLS1.3" in sent and "CV=yes" in sent) == (exim.way == "STARTTLS")

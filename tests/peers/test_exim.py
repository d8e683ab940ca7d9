"""The guide's "Integrating Amazon SES with Exim", with our names: Exim sends its mail through us by LOGIN."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.peers.conftest import Check, lacking, library, unpacked
from tests.peers.guide import CA, block, filled
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
keep_environment = LD_PRELOAD : LD_LIBRARY_PATH : ^NSS_WRAPPER : ^RESOLV_WRAPPER

begin routers

{router}
begin transports

{transport}
begin retry

* * F,1h,1m

begin authenticators

{authenticator}
"""

THE_GUIDES_LINES = {
    "STARTTLS": (block("Exim by STARTTLS", "router"), block("Exim by STARTTLS", "transport")),
    "secure tunnel": (block("Exim through stunnel", "router"), block("Exim through stunnel", "transport")),
}
AUTHENTICATOR = block("Exim by STARTTLS", "authenticator")


class Exim:
    """Unpacked Exim with a spool and a configuration of its own. It delivers in the foreground: no daemon."""

    def __init__(self, folder: Path, way: str, tunnel: int | None, relay: RelayStandIn) -> None:
        self.way, self.host = way, "localhost" if tunnel else ENDPOINT
        self._folder = folder
        self._programs = unpacked("exim")
        for name in ("spool", "log"):
            (folder / name).mkdir()
            os.chown(folder / name, 8, 8)
        router, transport = THE_GUIDES_LINES[way]
        if not tunnel:  # the relay is on this machine
            router = filled(router, relay, {"transport = ses_smtp\n": "transport = ses_smtp\nself = send\n"})
        places = {"2525": tunnel} if tunnel else {"587": relay.starttls_port, CA: folder / "ca.pem"}
        configuration = CONFIGURATION.format(
            folder=folder,
            router=router,
            transport=filled(transport, relay, places),
            authenticator=filled(AUTHENTICATOR, relay, {"PASSWORD": relay.password.replace("^", "^^")}),
        )
        (folder / "ca.pem").write_bytes(relay.ca.read_bytes())
        (folder / "exim.conf").write_text(configuration)
        (folder / "exim.conf").chmod(0o600)
        (folder / "hosts").write_text(f"127.0.0.1 {ENDPOINT}\n127.0.0.1 localhost\n")
        (folder / "dns").write_text(f"A {ENDPOINT} 127.0.0.1\nA localhost 127.0.0.1\n")
        # Debian's Exim insists on a user of its own: here it is `mail` by another name.
        (folder / "passwd").write_text("root:x:0:0::/:/bin/sh\nmail:x:8:8::/:/bin/sh\nDebian-exim:x:8:8::/:/bin/sh\n")
        (folder / "group").write_text("root:x:0:\nmail:x:8:\nDebian-exim:x:8:\n")

    def send(self, message: str) -> None:
        """As a program on that machine sends mail."""
        environment = {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": str(library(self._programs, "libidn.so.12").parent),
            "LD_PRELOAD": " ".join(
                str(library(self._programs, name)) for name in ("libnss_wrapper.so", "libresolv_wrapper.so")
            ),
            "RESOLV_WRAPPER_HOSTS": str(self._folder / "dns"),
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


@pytest.fixture(scope="module", params=THE_GUIDES_LINES)
def exim(request: pytest.FixtureRequest, open_folder: Path, relay: RelayStandIn) -> Exim:
    if os.geteuid() != 0:
        lacking("Exim with a configuration of its own delivers as root only")
    folder = open_folder / request.param.replace(" ", "-")
    folder.mkdir()
    folder.chmod(0o711)
    tunnel = request.getfixturevalue("tunnel") if request.param == "secure tunnel" else None
    return Exim(folder, request.param, tunnel, relay)


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

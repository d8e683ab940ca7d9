"""Perl's Net::SMTP, and Net::SMTP::SSL of older programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.conftest import Check, own_environment, perl_libraries, program, run, unpacked
from tests.peers.guide import block, filled
from tests.peers.samples import SAMPLES
from tests.standins.relay import RelayStandIn

pytestmark = pytest.mark.peers

SCRIPTS = {
    "Net::SMTP, STARTTLS": block("Perl", "send.pl"),
    "Net::SMTP, TLS": block("Perl", "send-wrapped.pl"),
    "Net::SMTP::SSL": block("Perl", "send-older.pl"),
}

SUBJECT = """\
use strict;
use warnings;
use IO::Socket::SSL;

my ($port, $ca) = @ARGV;
my $socket = IO::Socket::SSL->new(
    PeerAddr => '127.0.0.1', PeerPort => $port, SSL_ca_file => $ca, SSL_verifycn_name => 'localhost',
) or die "$IO::Socket::SSL::SSL_ERROR\\n";
print Net::SSLeay::X509_NAME_oneline(Net::SSLeay::X509_get_subject_name($socket->peer_certificate));
"""


def perl(folder: Path, script: Path, *arguments: str, text: str = "") -> str:
    programs = unpacked("perl")
    environment = own_environment(programs, folder) | {"PERL5LIB": perl_libraries(programs)}
    return run([program("perl"), script, *arguments], environment, text)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_perl_sends_a_message(
    relay: RelayStandIn, arrives_unchanged: Check, tmp_path: Path, script: str, sample: str
) -> None:
    port = {"587": relay.starttls_port} if "STARTTLS" in script else {"465": relay.tls_port}
    file = tmp_path / "send.pl"
    file.write_text(filled(SCRIPTS[script], relay, {f"Port => {old}": f"Port => {new}" for old, new in port.items()}))

    def send(message: str) -> None:
        assert perl(tmp_path, file, text=message).startswith("Ok 0100")

    arrives_unchanged(SAMPLES[sample], send)


def test_amazons_scripts_find_the_apis_host_in_the_certificates_subject(relay: RelayStandIn, tmp_path: Path) -> None:
    """SES.pm says ``If-SSL-Cert-Subject: /CN=HOST``, and LWP matches that with the subject as OpenSSL writes it."""
    file = tmp_path / "subject.pl"
    file.write_text(SUBJECT)
    assert "/CN=email.us-east-1.relay.example.net" in perl(tmp_path, file, str(relay.tls_port), str(relay.ca))

"""A certificate authority of one's own, for the first start: good enough for every client that is shown its CA.

A P-256 authority (some clients refuse self-signed servers, none refuses a private CA) and an RSA-2048 server key,
which every SMTP client in the field can speak. Verifies under OpenSSL's strict rules (RFC 5280) too.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sesrelay.model.clock import SECOND, Micros

VALID: Final = timedelta(days=3650)
_KEY_USAGES: Final = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM texts; ``server`` carries the CA behind the server's certificate."""

    ca: bytes
    ca_key: bytes = field(repr=False)
    server: bytes
    server_key: bytes = field(repr=False)

    def write(self, certificate: Path, private_key: Path) -> None:
        """Writes the server's files, and ca.pem and ca.key beside them; nothing is overwritten. OSError.

        Keys are for their owner only (0600).
        """
        files = (
            (certificate.with_name("ca.key"), self.ca_key, 0o600),
            (certificate.with_name("ca.pem"), self.ca, 0o644),
            (private_key, self.server_key, 0o600),
            (certificate, self.server, 0o644),
        )
        for path, content, mode in files:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)


def server_names(service_domain: str, regions: tuple[str, ...]) -> list[str]:
    """Every name under which clients reach the relay: the endpoints of all regions, and this machine."""
    endpoints = [f"{service}.{region}.{service_domain}" for region in regions for service in ("email-smtp", "email")]
    return [*endpoints, service_domain, "localhost"]


def make(service_domain: str, regions: tuple[str, ...], now: Micros) -> Certificates:
    """A new authority and a server certificate signed by it; the keys come from OpenSSL's own chance."""
    began = datetime.fromtimestamp(now / SECOND, UTC) - timedelta(days=1)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sesrelay's own CA")])
    ca = (
        _begin(ca_name, ca_name, ca_key.public_key(), began)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(ca_key, SHA256())
    )
    key = rsa.generate_private_key(65537, 2048)
    # Old clients read no SAN, and Perl's SES.pm compares the subject with the API's host name. A CN has 64 characters.
    common_names = (f"email.{regions[0]}.{service_domain}", service_domain, "localhost")
    common_name = next(name for name in common_names if len(name) <= 64)
    server = (
        _begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]), ca_name, key.public_key(), began)
        .add_extension(_alternative_names(server_names(service_domain, regions)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature", "key_encipherment"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, SHA256())
    )
    pem = [certificate.public_bytes(Encoding.PEM) for certificate in (server, ca)]
    return Certificates(ca=pem[1], ca_key=_private(ca_key), server=b"".join(pem), server_key=_private(key))


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, began: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _alternative_names(names: list[str]) -> x509.SubjectAlternativeName:
    addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    return x509.SubjectAlternativeName([*map(x509.DNSName, names), *addresses])


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _KEY_USAGES})


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

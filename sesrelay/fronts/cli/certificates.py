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
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sesrelay.model.clock import SECOND, Micros
from sesrelay.model.failure import Failed, Failure

VALID: Final = timedelta(days=3650)
COMMON_NAME_LENGTH: Final = 64
"""RFC 5280, ub-common-name."""
_KEY_USAGES: Final = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Server:
    """What a server shows, as PEM: its certificate with the CA's behind it, and its key."""

    chain: bytes
    key: bytes = field(repr=False)

    def write(self, certificate: Path, private_key: Path) -> None:
        """Writes both files, the key for its owner only; nothing is overwritten. OSError."""
        _write(private_key, self.key, 0o600)
        _write(certificate, self.chain, 0o644)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA of one's own: its certificate, and the key that signs for it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def of(cls, folder: Path, now: Micros) -> Authority:
        """The one in ``folder`` (ca.pem, ca.key), or a new one that is written there. OSError. Failed: half of one."""
        certificate, key = folder / "ca.pem", folder / "ca.key"
        if not certificate.exists() and not key.exists():
            new = cls.new(now)
            _write(key, _private(new.key), 0o600)
            _write(certificate, new.certificate.public_bytes(Encoding.PEM), 0o644)
            return new
        try:
            found = load_pem_private_key(key.read_bytes(), None)
            ca = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (ValueError, TypeError) as error:
            raise Failed(Failure.INVALID, f"{folder}: ca.pem and ca.key are no CA that init made") from error
        if not isinstance(found, ec.EllipticCurvePrivateKey) or found.public_key() != ca.public_key():
            raise Failed(Failure.INVALID, f"{folder}: ca.pem and ca.key do not belong together")
        return cls(ca, found)

    @classmethod
    def new(cls, now: Micros) -> Authority:
        """Keys come from OpenSSL's own chance."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sesrelay's own CA")])
        certificate = (
            _begin(name, name, key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
            .sign(key, SHA256())
        )
        return cls(certificate, key)

    def server(self, service_domain: str, regions: tuple[str, ...], now: Micros) -> Server:
        """A certificate for every name of the relay, signed by this authority."""
        key = rsa.generate_private_key(65537, 2048)
        certificate = (
            _begin(_subject(service_domain, regions), self.certificate.subject, key.public_key(), now)
            .add_extension(_alternative_names(server_names(service_domain, regions)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage("digital_signature", "key_encipherment"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, SHA256())
        )
        chain = certificate.public_bytes(Encoding.PEM) + self.certificate.public_bytes(Encoding.PEM)
        return Server(chain, _private(key))


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def server_names(service_domain: str, regions: tuple[str, ...]) -> list[str]:
    """Every name under which clients reach the relay: the endpoints of all regions, and this machine."""
    endpoints = [f"{service}.{region}.{service_domain}" for region in regions for service in ("email-smtp", "email")]
    return [*endpoints, service_domain, "localhost"]


def _subject(service_domain: str, regions: tuple[str, ...]) -> x509.Name:
    """Amazon's SES.pm compares it with ``/CN=`` and the API's host name, which differs by region."""
    endpoints = [name for region in regions if len(name := f"email.{region}.{service_domain}") <= COMMON_NAME_LENGTH]
    other = service_domain if len(service_domain) <= COMMON_NAME_LENGTH else "localhost"
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in endpoints or [other]])


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, now: Micros
) -> x509.CertificateBuilder:
    began = datetime.fromtimestamp(now / SECOND, UTC) - timedelta(days=1)
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

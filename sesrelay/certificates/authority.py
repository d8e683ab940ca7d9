"""A certificate authority of one's own: good enough for every client that is shown its CA.

A P-256 authority (some clients refuse self-signed servers, none refuses a private CA) and an RSA-2048 server key,
which every SMTP client in the field can speak. Verifies under OpenSSL's strict rules (RFC 5280) too.

What it signed it renews. The authority's key is read where something is signed and nowhere else: no process that
talks to the network ever holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sesrelay.certificates.pairs import BadPair, Pair, PairFiles, read, uncovered
from sesrelay.model.clock import DAY, SECOND, Micros
from sesrelay.model.failure import Failed, Failure

AUTHORITY_VALID: Final = timedelta(days=7300)
"""All clients have to be shown a new one: rarely."""
SERVER_VALID: Final = timedelta(days=825)
"""Apple's systems refuse more, of private CAs too."""
RENEW_DAYS: Final = 60
"""A server certificate is renewed by itself from so many days before its end on: before anybody is warned of it."""
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


_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA of one's own: its certificate, and the key that signs for it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def of(cls, folder: Path, now: Micros) -> Authority:
        """The one in ``folder`` (ca.pem, ca.key), or a new one that is written there. OSError. Failed: half of one."""
        certificate, key = folder / "ca.pem", folder / "ca.key"
        if are_missing(certificate, key):
            new = cls.new(now)
            _write(key, _private(new.key), 0o600)
            _write(certificate, new.certificate.public_bytes(Encoding.PEM), 0o644)
            return new
        return cls.found(folder)

    @classmethod
    def found(cls, folder: Path) -> Authority:
        """The one that is in ``folder``. OSError. Failed: it is none of ours, or half of one."""
        certificate, key = folder / "ca.pem", folder / "ca.key"
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
            _begin(name, name, key.public_key(), now, _began(now) + AUTHORITY_VALID)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
            .sign(key, SHA256())
        )
        return cls(certificate, key)

    def server(self, service_domain: str, regions: Sequence[str], now: Micros) -> Server:
        """A certificate for every name of the relay, signed by this authority, with a new key."""
        names = _alternative_names(server_names(service_domain, regions))
        return self.sign(_subject(service_domain, regions), names, now)

    def sign(
        self, subject: x509.Name, names: Sequence[x509.GeneralName], now: Micros, key: _PrivateKey | None = None
    ) -> Server:
        """A server certificate for these names, for this key or a new one. Failed: the authority ends too soon."""
        ends = min(_began(now) + SERVER_VALID, self.certificate.not_valid_after_utc)
        if ends < _began(now) + timedelta(days=RENEW_DAYS):
            text = (
                f"the CA itself ends on {ends:%Y-%m-%d}: take ca.pem and ca.key away, and give clients the new ca.pem"
            )
            raise Failed(Failure.INVALID, text)
        key = key or rsa.generate_private_key(65537, 2048)
        certificate = (
            _begin(subject, self.certificate.subject, key.public_key(), now, ends)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage("digital_signature", "key_encipherment"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, SHA256())
        )
        chain = certificate.public_bytes(Encoding.PEM) + self.certificate.public_bytes(Encoding.PEM)
        return Server(chain, _private(key))


def are_missing(certificate: Path, key: Path) -> bool:
    """Whether both are; Failed when one is: it is somebody's, and the other cannot be made to fit it."""
    missing = [file for file in (certificate, key) if not file.exists()]
    if len(missing) == 1:
        (other,) = {certificate, key} - set(missing)
        raise Failed(
            Failure.INVALID,
            f"{missing[0]} is missing, and {other} is there: put it back, or remove the other too and init makes both",
        )
    return bool(missing)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What is renewed, and with what."""

    files: tuple[PairFiles, ...]
    """Of all certificates of the relay, the default one first; it is to have all names of the relay."""
    service_domain: str
    regions: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Every name of the relay."""
        return server_names(self.service_domain, self.regions)

    def due(self, pair: Pair, now: Micros) -> bool:
        """It ends soon, or is the default one and does not have all names (regions were added)."""
        default = pair.files == self.files[0]
        return pair.ends - now < RENEW_DAYS * DAY or (default and bool(uncovered(self.names, [pair])))

    def of(self, files: PairFiles, leaf: x509.Certificate) -> tuple[x509.Name, list[x509.GeneralName]]:
        """Subject and names of the new certificate: no name that a client may use is taken away."""
        if files != self.files[0]:
            return leaf.subject, _names(leaf)
        names = dict.fromkeys([*_alternative_names(self.names), *_names(leaf)])
        return _subject(self.service_domain, self.regions), list(names)


def renew(
    renewal: Renewal, folder: Path, now: Micros, *, only_due: bool = False, new_key: bool = False
) -> list[PairFiles]:
    """New certificates from the authority in ``folder`` for those that it has signed; which. Others stay as they are.

    The key stays unless a new one is wanted: then the change is one rename, which no crash can leave half done, and
    clients that have pinned the key (RFC 6698) go on. Two at once do it one after the other. OSError. Failed, BadPair.
    """
    with _alone(folder):
        authority = Authority.found(folder)
        done = []
        for files in renewal.files:
            leaf = _leaf(files.certificate)
            if not _signed(authority.certificate, leaf) or (only_due and not renewal.due(read(files), now)):
                continue
            key = None if new_key else _key_of(files)
            server = authority.sign(*renewal.of(files, leaf), now, key)
            if new_key:
                _replace(files.private_key, server.key)
            _replace(files.certificate, server.chain)
            done.append(files)
    return done


def _leaf(file: Path) -> x509.Certificate:
    """BadPair, as for a pair; but its key may be another one: an interrupted renewal is mended by the next."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except OSError as error:
        raise BadPair("certificate", file, error.strerror or "cannot be read") from None
    except ValueError:
        raise BadPair("certificate", file, "has no certificate that can be read") from None


def _signed(authority: x509.Certificate, leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _key_of(files: PairFiles) -> _PrivateKey:
    try:
        key = load_pem_private_key(files.private_key.read_bytes(), None)
    except OSError as error:
        raise BadPair("private_key", files.private_key, error.strerror or "cannot be read") from None
    except (ValueError, TypeError):
        raise BadPair("private_key", files.private_key, "has no key that can be read") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise BadPair("private_key", files.private_key, "is neither an RSA nor an elliptic curve key")
    return key


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else signs with the authority in this folder meanwhile."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(path: Path, content: bytes) -> None:
    """All of it or nothing, owner and mode as they were (root renews for the relay's user); links stay links."""
    path = path.resolve()
    old = path.stat()
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(file.fileno(), old.st_uid, old.st_gid)
        os.fchmod(file.fileno(), old.st_mode & 0o777)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def _subject(service_domain: str, regions: Sequence[str]) -> x509.Name:
    """A CN for the API's name of each region, as Perl's SES.pm looks for in the subject; old clients read no SAN.

    A CN has 64 characters.
    """
    wanted = [*(f"email.{region}.{service_domain}" for region in regions), service_domain, "localhost"]
    fit = [name for name in wanted if len(name) <= 64]
    api = [name for name in fit if name in wanted[: len(regions)]]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in api or fit[:1]])


def server_names(service_domain: str, regions: Sequence[str]) -> list[str]:
    """Every name under which clients reach the relay: the endpoints of all regions, and this machine."""
    endpoints = [f"{service}.{region}.{service_domain}" for region in regions for service in ("email-smtp", "email")]
    return [*endpoints, service_domain, "localhost"]


def _began(now: Micros) -> datetime:
    """A day ago: clocks differ."""
    return datetime.fromtimestamp(now // SECOND, UTC) - timedelta(days=1)


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    now: Micros,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_began(now))
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _alternative_names(names: list[str]) -> list[x509.GeneralName]:
    addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    return [*map(x509.DNSName, names), *addresses]


def _names(leaf: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return [x509.DNSName(str(each.value)) for each in common]


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _KEY_USAGES})


def _private(key: _PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

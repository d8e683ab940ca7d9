"""A certificate and its private key: read whole and judged before anything uses them; which of several a name gets.

What was judged is what is loaded: a pair keeps its octets, and whoever writes into the files afterwards changes
nothing until they are read again.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from sesrelay.model.clock import DAY, SECOND, Micros

Part = Literal["certificate", "private_key"]

WARN_DAYS: Final = 30
"""From so many days before its end on, a certificate is warned of once a day …"""
ALARM_DAYS: Final = 7
"""… and from here on as an error."""


class BadPair(Exception):  # noqa: N818 - its text is for people
    """Why a pair cannot be used, in one line that begins with the file; ``part`` says which of the two it is."""

    def __init__(self, part: Part, file: Path, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.part = part


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Where a certificate (with its chain) and its key are."""

    certificate: Path
    private_key: Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and a key that belong together."""

    files: PairFiles
    names: tuple[str, ...]
    """Host names in lower case; ``*.`` in front as it stands."""
    kind: str
    """Of its key: a server shows one certificate of each kind that the client can choose from."""
    begins: Micros
    ends: Micros
    """When the first certificate of the chain ends."""
    issuer: str
    leaf: x509.Certificate = field(repr=False)
    content: bytes = field(repr=False)
    """Both, as PEM."""

    def covers(self, name: str) -> bool:
        """A client that wants this name is content; a wildcard stands for one label (RFC 6125 §6.4.3)."""
        return name in self.names or "*." + name.partition(".")[2] in self.names

    def holds(self, now: Micros) -> bool:
        """It has begun, and has not ended."""
        return self.begins <= now < self.ends

    def days_left(self, now: Micros) -> int:
        """Whole days until it ends; below 0 when it has ended."""
        return (self.ends - now) // DAY

    def load_into(self, context: ssl.SSLContext) -> None:
        """The context shows it from now on, beside pairs of other kinds. ssl.SSLError."""
        fd = os.memfd_create("pair", os.MFD_CLOEXEC)  # OpenSSL's binding takes names of files only
        try:
            os.write(fd, self.content)
            context.load_cert_chain(f"/proc/self/fd/{fd}", password=_no_password)
        finally:
            os.close(fd)


def read(files: PairFiles) -> Pair:
    """The pair in these files. Raises BadPair."""
    chain = _certificates(files.certificate)
    key = _octets(files.private_key, "private_key", b"PRIVATE KEY-----")
    leaf = chain[0]
    if _public_part(files.private_key, key) != _spki(leaf.public_key()):
        raise BadPair("certificate", files.certificate, f"is not the certificate of the key {files.private_key}")
    pair = Pair(
        files=files,
        names=_names(leaf),
        kind=_kind(leaf),
        begins=max(_micros(each.not_valid_before_utc) for each in chain),
        ends=min(_micros(each.not_valid_after_utc) for each in chain),
        issuer=leaf.issuer.rfc4514_string(),
        leaf=leaf,
        content=b"".join(each.public_bytes(Encoding.PEM) for each in chain) + key,
    )
    try:
        pair.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except ssl.SSLError as error:
        raise BadPair("certificate", files.certificate, f"cannot be used: {error.reason or error}") from None
    return pair


def for_name(name: str | None, default: Pair, others: Sequence[Pair]) -> tuple[Pair, ...]:
    """What a client is shown that asks for this name: the first of each kind, the best for the name in front.

    The exact name comes before a wildcard, a further certificate before the default one. For a name that nobody has,
    and for none, it is the default, with those of other kinds that are for all its names too.
    """
    fit = [pair for pair in (*others, default) if name is not None and pair.covers(name)]
    if not fit:
        fit = [default, *(pair for pair in others if all(pair.covers(each) for each in default.names))]
    fit.sort(key=lambda pair: name not in pair.names)
    return tuple({pair.kind: pair for pair in reversed(fit)}.values())[::-1]


def remarks(pair: Pair, now: Micros) -> Iterator[tuple[str, bool]]:
    """What an operator should know of its dates: the words, and whether it is urgent."""
    days = pair.days_left(now)
    if now < pair.begins:
        yield "is not valid yet: clients will refuse it", True
    elif now >= pair.ends:
        yield "has expired: clients refuse it", True
    elif days < WARN_DAYS:
        left = f"expires in {days} days" if days > 1 else "expires tomorrow" if days else "expires within a day"
        yield left, days < ALARM_DAYS


def uncovered(names: Iterable[str], pairs: Sequence[Pair]) -> list[str]:
    """The names that no pair is for."""
    return [name for name in names if not any(pair.covers(name.lower()) for pair in pairs)]


def _octets(file: Path, part: Part, mark: bytes) -> bytes:
    try:
        octets = file.read_bytes()
    except OSError as error:
        raise BadPair(part, file, error.strerror or "cannot be read") from None
    if mark not in octets:
        raise BadPair(part, file, f"is no PEM file with a {part.replace('_', ' ')}")
    return octets


def _certificates(file: Path) -> list[x509.Certificate]:
    octets = _octets(file, "certificate", b"-----BEGIN CERTIFICATE-----")
    try:
        return x509.load_pem_x509_certificates(octets)
    except ValueError:
        raise BadPair("certificate", file, "has a certificate that is damaged, or not written to its end") from None


def _public_part(file: Path, key: bytes) -> bytes:
    try:
        # Proving that an RSA key's primes are prime takes 50 ms; it is the operator's own key.
        return _spki(load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True).public_key())
    except TypeError:
        raise BadPair("private_key", file, "has a password: a server needs its key without one") from None
    except ValueError:
        raise BadPair("private_key", file, "has a key that is damaged, or not written to its end") from None


def _spki(key: object) -> bytes:
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return found


def _kind(leaf: x509.Certificate) -> str:
    """OpenSSL holds one certificate of each."""
    match leaf.public_key():
        case rsa.RSAPublicKey():
            return "RSA"
        case ec.EllipticCurvePublicKey():
            return "EC"
        case other:
            return type(other).__name__.removeprefix("_").removesuffix("PublicKey")


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """Those that clients look at: the subject counts only where there are no alternative ones (RFC 6125 §6.4.4)."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(each.value).lower() for each in common)
    return tuple(name.lower() for name in found.value.get_values_for_type(x509.DNSName))


def _micros(at: datetime) -> Micros:
    return round(at.timestamp()) * SECOND


def _no_password() -> str:
    """Without it OpenSSL would ask at the terminal."""
    return ""

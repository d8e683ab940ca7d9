"""Certificates for next hops."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from sesrelay.delivery.dialing import TlsContexts


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """For a next hop called 127.0.0.1 or mx.example.org."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "mx.example.org").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> TlsContexts:
    """Outgoing contexts that trust the authority."""
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return TlsContexts(path)

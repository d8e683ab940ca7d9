"""Which certificates the configuration names."""

from __future__ import annotations

from sesrelay.certificates.pairs import PairFiles
from sesrelay.settings import KeyPath, Settings


def certificate_files(settings: Settings) -> list[tuple[KeyPath, PairFiles]]:
    """Every certificate with its key, the default one first, and the section that names it."""
    tls = settings.tls
    more = [
        (("tls", "certificates", number), PairFiles(each.certificate, each.private_key))
        for number, each in enumerate(tls.certificates)
    ]
    return [(("tls",), PairFiles(tls.certificate, tls.private_key)), *more]

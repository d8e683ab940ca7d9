"""Whether a password belongs to a secret access key, found out in the same time for every answer.

SMTP passwords are derived from the secret and never stored. Version 2 is the same in every region; version 4 is
bound to one (ses-facts §2). Both are always computed and compared, so that the time tells nothing (SMTP-4).
"""

from __future__ import annotations

import base64
import hmac
from typing import Final

_VERSION_2: Final = b"\x02"
_VERSION_4: Final = b"\x04"
_MESSAGE: Final = b"SendRawEmail"
_DATE: Final = b"11111111"
"""Where SigV4 has the day of the request, passwords of version 4 have this."""


def _sign(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def smtp_password(secret: str) -> str:
    """The SMTP password of version 2: ``base64(0x02 + HMAC-SHA256(secret, "SendRawEmail"))`` (CRED-1)."""
    return base64.b64encode(_VERSION_2 + _sign(secret.encode(), _MESSAGE)).decode()


def smtp_password_v4(secret: str, region: str) -> str:
    """The SMTP password of version 4 for one region: SigV4's chain of keys, then "SendRawEmail"."""
    key = b"AWS4" + secret.encode()
    for step in (_DATE, region.encode(), b"ses", b"aws4_request", _MESSAGE):
        key = _sign(key, step)
    return base64.b64encode(_VERSION_4 + key).decode()


def password_matches(secret: str, region: str, password: bytes) -> bool:
    """Whether ``password``, octets as the client sent them, is one of the two that belong to ``secret`` here."""
    version_2 = hmac.compare_digest(password, smtp_password(secret).encode())
    version_4 = hmac.compare_digest(password, smtp_password_v4(secret, region).encode())
    return version_2 | version_4

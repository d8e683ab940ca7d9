"""Addresses and domains that people type for identities and notices: dot-atoms before the @, host names behind it.

Narrower than RFC 5321: no quotes, no literals, no underscores, since none of them receives the relay's own mail.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST_NAME: Final = 255
LONGEST_LOCAL_PART: Final = 64
LONGEST_LABEL: Final = 63
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.IGNORECASE)
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL_PART: Final = re.compile(rf"{_ATOM}(\.{_ATOM})*")


def is_address(text: str) -> bool:
    """Whether mail can be sent to it; a host of this network, as in ``root@mailhost``, will do."""
    local, at, domain = text.rpartition("@")
    return bool(at) and len(text) <= LONGEST_NAME and is_local_part(local) and is_host(domain)


def is_local_part(text: str) -> bool:
    """Of an address, what stands before the @."""
    return len(text) <= LONGEST_LOCAL_PART and _LOCAL_PART.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Labels of letters, digits and hyphens; the last is no number (RFC 1123 §2.1)."""
    labels = text.split(".")
    return not labels[-1].isdigit() and all(map(_is_label, labels))


def _is_label(text: str) -> bool:
    return len(text) <= LONGEST_LABEL and _LABEL.fullmatch(text) is not None

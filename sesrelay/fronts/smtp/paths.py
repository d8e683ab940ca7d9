"""Reading ``<address> parameters`` as clients write it: with or without angle brackets, with blanks in front.

Own grammar instead of a header parser: 7-bit, RFC 5321 §4.1.2, nothing is guessed and nothing rewritten but a
source route (dropped, as appendix C allows) and quotes that were not needed. Address literals are no SES addresses.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST_LOCAL_PART: Final = 64
LONGEST_DOMAIN: Final = 255

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_DOT_ATOM = rf"{_ATOM}(?:\.{_ATOM})*+"
_QUOTED = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])++"'
# An underscore is no host name's, but stands in domains that receive mail.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_ROUTE = rf"(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?"

_PATH: Final = re.compile(
    rf"[ \t]*(<)?(?(1){_ROUTE})((?:{_DOT_ATOM}|{_QUOTED})@{_DOMAIN})(?(1)>)(?:[ \t]+([\x21-\x7e \t]*))?\Z".encode(
        "ascii"
    )
)
_PLAIN_LOCAL_PART: Final = re.compile(_DOT_ATOM)
_QUOTED_PAIR: Final = re.compile(r"\\(.)")


def parse(text: bytes) -> tuple[str, bytes | None] | None:
    """The address in what follows ``FROM:`` or ``TO:``, and the parameters behind it, not yet taken apart.

    None: that is no address with a domain.
    """
    match = _PATH.match(text)
    if match is None:
        return None
    mailbox = match[2].decode("ascii")
    if mailbox[0] == '"' or len(mailbox) > LONGEST_LOCAL_PART:
        local, _, domain = mailbox.rpartition("@")
        local = _without_needless_quotes(local)
        if len(local) > LONGEST_LOCAL_PART or len(domain) > LONGEST_DOMAIN:
            return None
        mailbox = f"{local}@{domain}"
    return mailbox, match[3]


def _without_needless_quotes(local: str) -> str:
    """RFC 5321 §4.1.2: ``"Joe.Smith"`` is ``Joe.Smith``, so that identities compare equal."""
    if local[0] != '"':
        return local
    bare = _QUOTED_PAIR.sub(r"\1", local[1:-1])
    return bare if _PLAIN_LOCAL_PART.fullmatch(bare) else local


def parameters(text: bytes) -> dict[bytes, bytes] | None:
    """``SIZE=1 BODY=8BITMIME`` by upper-case keyword; a keyword without value has b"". None: not their syntax."""
    found: dict[bytes, bytes] = {}
    for word in text.split():
        keyword, equals, value = word.partition(b"=")
        if not keyword.replace(b"-", b"").isalnum() or (equals and not value):
            return None
        found[keyword.upper()] = value
    return found

"""Which attachments are refused, by the extension of their names (MSG-3), and how a name is read out of its disguises.

Names come as parameters of Content-Type and Content-Disposition: plain, in pieces or percent-encoded (RFC 2231), or
against the rules, but in every second mail, as encoded words (RFC 2047). Only the extension is of interest, and all
are ASCII: octets are never decoded by a character set that the client names, UTF-16 just loses its NULs.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Final

# "Appendix: Unsupported Attachment Types" of the SES developer guide (2014), all of it, in its order.
UNSUPPORTED: Final = frozenset(
    b"""
    ade adp app asp bas bat cer chm cmd com cpl crt csh der exe fxp gadget hlp hta inf ins isp its js jse ksh lib lnk
    mad maf mag mam maq mar mas mat mau mav maw mda mdb mde mdt mdw mdz msc msh msh1 msh2 mshxml msh1xml msh2xml msi
    msp mst ops pcd pif plg prf prg reg scf scr sct shb shs sys ps1 ps1xml ps2 ps2xml psc1 psc2 tmp url vb vbe vbs vps
    vsmacros vss vst vsw vxd ws wsc wsf wsh xnk
    """.split()
)

_PARAMETER: Final = re.compile(rb"((?:file)?name)(?:\*([0-9]{1,4}))?(\*)?\Z")
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_ENCODED_WORD: Final = re.compile(rb"=\?[^?\s]*+\?([bq])\?([^?]*+)\?=", re.IGNORECASE)
_BETWEEN_WORDS: Final = re.compile(rb"\?=[ \t\r\n]++=\?")
NOT_BASE64: Final = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_NO_NAME: Final = b" .\t\r\n\"'"
"""What systems take off the end of a file's name before they look at it."""
_LAST_WORDS: Final = 12
"""Encoded words at the end of a name that are decoded: more than an extension has letters."""


def unsupported_extension(parameters: Iterable[tuple[bytes, bytes]]) -> str:
    """The refused extension of a part that has these parameters (lower-case name, raw value); "": it has none."""
    plain: list[bytes] = []
    pieces: dict[bytes, dict[int, bytes]] = {}
    for parameter, value in parameters:
        match = _PARAMETER.match(parameter) if b"name" in parameter else None
        if match is None:
            continue
        name, number, encoded = match.groups()
        text = unquoted(value)
        if number is None and encoded is None:
            plain.append(text)
            continue
        place = int(number or 0)
        pieces.setdefault(name if number else parameter, {})[place] = (
            _extended(text, first=not place) if encoded else text
        )
    for text in (*plain, *map(_joined, pieces.values())):
        extension = _extension(text)
        if extension in UNSUPPORTED:
            return extension.decode()
    return ""


def unquoted(value: bytes) -> bytes:
    """A parameter's value without quotes and quoted pairs."""
    if not value.startswith(b'"'):
        return value
    inner = value[1:-1] if len(value) > 1 and value.endswith(b'"') else value[1:]
    return _QUOTED_PAIR.sub(rb"\1", inner) if b"\\" in inner else inner


def from_base64(text: bytes) -> bytes:
    """What can be read of it; whatever does not belong there is passed over."""
    kept = text.translate(None, NOT_BASE64)
    rest = len(kept) % 4
    return binascii.a2b_base64(kept + b"==" if rest > 1 else kept[: len(kept) - rest])


def _joined(pieces: Mapping[int, bytes]) -> bytes:
    return b"".join(pieces[number] for number in sorted(pieces))


def _extended(text: bytes, *, first: bool) -> bytes:
    """RFC 2231 §4: ``charset'language'percent-encoded``; what follows the first piece has no such beginning."""
    if first and text.count(b"'") >= 2:
        text = text.split(b"'", 2)[2]
    # The decoder of quoted-printable is the C loop at hand, once the percent is an equals sign.
    return binascii.a2b_qp(text.replace(b"=", b"=3D").replace(b"%", b"="))


def _extension(name: bytes) -> bytes:
    """What follows the last dot, in lower case."""
    if b"=?" in name:
        name = _decoded(name)
    name = name.replace(b"\0", b"").rstrip(_NO_NAME)
    return name.rpartition(b".")[2].lower() if b"." in name else b""


def _decoded(name: bytes) -> bytes:
    """Encoded words read, where they may be the extension; nothing stands between two of them (RFC 2047 §6.2)."""
    start = len(name)
    for _ in range(_LAST_WORDS):
        start = max(name.rfind(b"=?", 0, start), 0)
    name = _BETWEEN_WORDS.sub(b"?==?", name[start:])
    text: list[bytes] = []
    at = 0
    for word in _ENCODED_WORD.finditer(name):
        text += (name[at : word.start()], _word(word[1], word[2]))
        at = word.end()
    return b"".join((*text, name[at:]))


def _word(encoding: bytes, text: bytes) -> bytes:
    return from_base64(text) if encoding in b"bB" else binascii.a2b_qp(text, header=True)

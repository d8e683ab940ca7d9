"""What must not be in a message: attachments by extension, data URIs, delivery status, broken MIME (MSG-3).

Most mail is one plain text and decided by its header alone. Of everything else the parts are walked on the raw octets,
without recursion: boundaries are searched for, headers looked at only for the three fields that matter. Parts, depth
and headers have caps, and so has the whole effort, in octets looked through for each octet of the message: none costs
many times what hashing it costs.

The form of an attached message is not the sender's making: within one, what cannot be read is passed over, but file
names, data URIs and delivery status count as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import mimefields
from sesrelay.rules.attachments import unsupported_extension
from sesrelay.rules.datauris import DataUris
from sesrelay.rules.octets import DECODERS, Octets, find, pieces

MOST_PARTS: Final = 500
DEEPEST: Final = 50
"""Multiparts and attached messages within each other."""
LONGEST_PART_HEADER: Final = 65_536

_MOST_LOOKALIKES: Final = 2 * MOST_PARTS
"""Lines that begin as a boundary and are none: those of parts within, where one name begins as the other."""
_MOST_REPEATED: Final = 16
"""Fields that matter in the header of a part of an attached message, where they may repeat."""
_EFFORT: Final = 7
_FREE_EFFORT: Final = 8_388_608
"""Octets that may be looked through for each octet of the message, and in any case."""
_READING: Final = 3
_DECODING: Final = 4
_DECODING_AND_READING: Final = 6
"""What an octet costs that is read as HTML, or decoded. One that is searched for a boundary costs 1, a short one 2."""
_SHORT_BOUNDARY: Final = 3
_MOST_HEADER_OCTETS: Final = 2_097_152
_MOST_FIELD_OCTETS: Final = 262_144
_MOST_PARAMETERS: Final = 4096
"""In all headers of parts together: their octets, those of the fields that matter, and the parameters of these."""

_USUAL_HEADER: Final = 2048
_PLAIN: Final = re.compile(
    rb"[ \t]*text/plain[ \t]*(?:;[ \t\r\n]*(?:charset|format|delsp)=(?:[\w.+-]+|\"[\w.+-]+\")[ \t]*)*;?\s*\Z",
    re.IGNORECASE,
)
_MIME_FIELD: Final = re.compile(
    rb"\ncontent-(type|disposition|transfer-encoding)[ \t]*+:([^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*+)"
)
_BEHIND_BOUNDARY: Final = re.compile(rb"(--)?[ \t]*+(?:\r?\n|\Z)")
_LONGEST_LINE: Final = 1000
_EMPTY_LINE: Final = re.compile(rb"\r?\n")
_CR: Final = 13

_MESSAGES: Final = frozenset((b"message/rfc822", b"message/global", b"message/news"))
_DELIVERY_STATUS: Final = frozenset((b"message/delivery-status", b"message/global-delivery-status"))
_HTML: Final = frozenset((b"text/html", b"application/xhtml+xml"))
_TEXT: Final = mimefields.Content(b"text/plain")
_MESSAGE: Final = mimefields.Content(b"message/rfc822")


class Fields(NamedTuple):
    """The fields of a header that say what a body is: raw bodies, None where there is none."""

    content_type: bytes | None
    disposition: bytes | None
    encoding: bytes | None


class _Part(NamedTuple):
    octets: Octets
    start: int
    end: int
    path: tuple[int, ...] = ()
    depth: int = 0
    attached: bool = False
    """Within an attached message."""
    usually: mimefields.Content = _TEXT
    """What it is without a Content-Type."""


def is_decided(fields: Fields) -> bool:
    """Whether the header says enough already: a plain text without a name holds nothing that is refused."""
    return fields.disposition is None and (fields.content_type is None or _is_plain(fields.content_type))


@lru_cache(maxsize=1024)
def _is_plain(content_type: bytes) -> bool:
    return _PLAIN.match(content_type) is not None


def check(octets: Octets, start: int, fields: Fields) -> None:
    """Looks through a message whose body begins at ``start``. Raises the first Refused; returning means yes.

    The last detail of what it raises says where, as people count parts: ``part 2.1``, "" for the message itself.
    """
    walk = _Walk(len(octets) - start)
    waiting = list(walk.look_at_body(_Part(octets, start, len(octets)), fields))
    while waiting:
        waiting.extend(walk.look(waiting.pop()))


class _Walk:
    """One message, and what may still be spent on it."""

    __slots__ = ("_effort", "_field_octets", "_header_octets", "_lookalikes", "_parameters", "_parts")

    def __init__(self, length: int) -> None:
        self._effort = _EFFORT * length + _FREE_EFFORT
        self._parts = self._lookalikes = 0
        self._header_octets = self._field_octets = self._parameters = 0

    def look(self, part: _Part) -> Iterable[_Part]:
        """Judges one part, header and body; the parts within it come back, the last one first."""
        if part.depth > DEEPEST:
            raise Refused(Refusal.NESTED_TOO_DEEPLY, _where(part))
        try:
            fields, body = _header(part)
            self._header_octets += body - part.start
            if self._header_octets > _MOST_HEADER_OCTETS:
                raise Refused(Refusal.PART_HEADER_TOO_LONG)
        except Refused as refused:
            raise Refused(refused.refusal, *refused.details, _where(part)) from None
        return self.look_at_body(part._replace(start=body), fields)

    def look_at_body(self, part: _Part, fields: Fields) -> Iterable[_Part]:
        """The same for a part, or a whole message, whose header is known."""
        try:
            return self._judge(part, fields)
        except Refused as refused:
            raise Refused(refused.refusal, *refused.details, _where(part)) from None

    def _judge(self, part: _Part, fields: Fields) -> Iterable[_Part]:
        strict = not part.attached
        self._field_octets += len(fields.content_type or b"") + len(fields.disposition or b"")
        if self._field_octets > _MOST_FIELD_OCTETS:
            raise Refused(Refusal.MALFORMED_MIME, "Content fields are too long")
        content = part.usually
        if fields.content_type is not None:
            content = mimefields.content_type(fields.content_type, strict=strict)
        parameters = content.parameters
        if fields.disposition is not None:
            parameters += mimefields.disposition(fields.disposition, strict=strict)
        self._parameters += len(parameters)
        if self._parameters > _MOST_PARAMETERS:
            raise Refused(Refusal.MALFORMED_MIME, "Content fields have too many parameters")
        if parameters and (extension := unsupported_extension(parameters)):
            raise Refused(Refusal.UNSUPPORTED_ATTACHMENT, extension)
        if content.kind in _DELIVERY_STATUS:
            raise Refused(Refusal.DELIVERY_STATUS)
        if content.kind in _HTML:
            self._read_html(part, fields)
        elif content.kind in _MESSAGES:
            return (self._attached(part, fields),)
        elif content.kind.startswith(b"multipart/"):
            return self._parts_of(part, content)
        return ()

    def _read_html(self, part: _Part, fields: Fields) -> None:
        price = _DECODING_AND_READING if _encoding(fields) in DECODERS else _READING
        self._spend(price * (part.end - part.start))
        html = DataUris()
        for piece in _decoded(part, fields):
            if html.found_in(piece):
                raise Refused(Refusal.DATA_URI)

    def _attached(self, part: _Part, fields: Fields) -> _Part:
        """The message that the part is. RFC 2046 §5.2.1 forbids to encode it; some do."""
        self._count()
        inner = part._replace(depth=part.depth + 1, attached=True, usually=_TEXT)
        if _encoding(fields) not in DECODERS:
            return inner
        self._spend(_DECODING * (part.end - part.start))
        octets = b"".join(_decoded(part, fields))  # perhaps with line ends of its own
        return inner._replace(octets=octets, start=0, end=len(octets))

    def _parts_of(self, part: _Part, content: mimefields.Content) -> Iterable[_Part]:
        boundary = mimefields.boundary(content, strict=not part.attached)
        if not boundary:
            if part.attached:
                return ()
            raise Refused(Refusal.MISSING_BOUNDARY)
        self._spend((1 + (len(boundary) < _SHORT_BOUNDARY)) * (part.end - part.start))
        usually = _MESSAGE if content.kind == b"multipart/digest" else _TEXT
        found: list[_Part] = []
        for start, end in self._between(part, b"\n--" + boundary):
            self._count()
            path = (*part.path, len(found) + 1)
            found.append(_Part(part.octets, start, end, path, part.depth + 1, part.attached, usually))
        if not found and not part.attached:
            raise Refused(Refusal.MISSING_START_BOUNDARY)
        return reversed(found)

    def _between(self, part: _Part, delimiter: bytes) -> Iterator[tuple[int, int]]:
        """Where the parts lie: from behind one delimiter's line to the line end in front of the next."""
        octets, start, end = part.octets, part.start, part.end
        length = len(delimiter)
        opened = -1
        behind = start + length - 1
        if octets[start : min(behind, end)] != delimiter[1:]:  # its line end would be the header's last
            behind = _behind(octets, delimiter, start, end)
        while behind >= 0:
            rest = _BEHIND_BOUNDARY.match(octets[behind : min(behind + _LONGEST_LINE, end)])
            if rest is None:
                self._pass_over()
                behind = _behind(octets, delimiter, behind, end)
                continue
            if opened >= 0:
                line_feed = behind - length
                yield opened, max(opened, line_feed - (octets[line_feed - 1] == _CR))
            if rest[1]:
                return
            opened = behind + rest.end()
            behind = _behind(octets, delimiter, opened - 1, end)
        if opened >= 0:  # the last delimiter is missing, which everybody puts up with
            yield opened, end

    def _count(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Refused(Refusal.TOO_MANY_PARTS)

    def _pass_over(self) -> None:
        self._lookalikes += 1
        if self._lookalikes > _MOST_LOOKALIKES:
            raise Refused(Refusal.TOO_MANY_PARTS)

    def _spend(self, octets: int) -> None:
        self._effort -= octets
        if self._effort < 0:
            raise Refused(Refusal.NESTED_TOO_DEEPLY)


def _behind(octets: Octets, delimiter: bytes, start: int, end: int) -> int:
    """The place behind the next delimiter; -1: there is none."""
    place = find(octets, delimiter, start, end)
    return place + len(delimiter) if place >= 0 else -1


def _where(part: _Part) -> str:
    return f"part {'.'.join(map(str, part.path))}" if part.path else ""


def _encoding(fields: Fields) -> bytes:
    return b"" if fields.encoding is None else mimefields.encoding(fields.encoding)


def _decoded(part: _Part, fields: Fields) -> Iterator[bytes]:
    encoded = pieces(part.octets, part.start, part.end)
    decoder = DECODERS.get(_encoding(fields))
    return decoder(encoded) if decoder else encoded


def _header(part: _Part) -> tuple[Fields, int]:
    """The fields that matter of the part's header, and where its body begins."""
    octets, start, end = part.octets, part.start, part.end
    block = octets[start : min(start + _USUAL_HEADER, end)]
    if empty := _EMPTY_LINE.match(block):
        return Fields(None, None, None), start + empty.end()
    length, behind = _empty_line(block)
    if not behind and end - start > _USUAL_HEADER:
        block = octets[start : min(start + LONGEST_PART_HEADER + 4, end)]
        length, behind = _empty_line(block)
        if not behind and len(block) > LONGEST_PART_HEADER:
            raise Refused(Refusal.PART_HEADER_TOO_LONG)
    if not behind:
        return _fields(block, strict=not part.attached), end
    return _fields(block[:length], strict=not part.attached), start + behind


def _empty_line(block: bytes) -> tuple[int, int]:
    """Where the line in front of the first empty one ends, and what is behind that; (0, 0): there is none."""
    usual = block.find(b"\n\r\n")
    bare = block.find(b"\n\n", 0, usual + 1 if usual >= 0 else len(block))
    if bare >= 0:
        return bare, bare + 2
    return (usual, usual + 3) if usual >= 0 else (0, 0)


def _fields(block: bytes, *, strict: bool) -> Fields:
    """A line that is no field does not end the header here: some readers go on behind it.

    In an attached message a field that repeats is read as one.
    """
    block = b"\n" + block
    found: dict[bytes, bytes] = {}
    for number, match in enumerate(islice(_MIME_FIELD.finditer(block.lower()), _MOST_REPEATED + 1)):
        name = match[1]
        body = block[match.start(2) : match.end(2)]
        if name in found:
            if strict or number == _MOST_REPEATED:
                raise Refused(Refusal.DUPLICATE_HEADER, block[match.start() + 1 : match.end(1)].decode("ascii"))
            body = found[name] + b";" + body
        found[name] = body
    return Fields(found.get(b"type"), found.get(b"disposition"), found.get(b"transfer-encoding"))

"""Content-Type, Content-Disposition and Content-Transfer-Encoding, read strictly and refused in JavaMail's words.

SES reads them by JavaMail, so what it says about a field it cannot read is what clients know (ses-facts: ``Expected
';', got ":"``). One liberty: octets over 127 may stand outside of quotes, as file names of careless clients do.
What belongs to an attached message is not the sender's making: there, whatever can be read counts and nothing is
refused for its form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules.attachments import unquoted

LONGEST_FIELD: Final = 8192
"""Octets of one of these fields."""
MOST_PARAMETERS: Final = 64
"""Parameters of one of these fields; a name of 255 letters in pieces (RFC 2231) takes some forty."""

_REMEMBERED: Final = 40
"""Octets of a field that is worth remembering: longer ones have a boundary or a name in it, each time another."""


def _comment(inner: bytes) -> bytes:
    return rb"\((?:[^()\\]|\\.%b)*+\)" % inner


# Possessive throughout: no field makes them slow. Comments within comments within comments are the end of it.
_BLANK: Final = rb"(?:[ \t\r\n]++|%b)*+" % _comment(b"|" + _comment(b"|" + _comment(b"")))
_TOKEN: Final = rb"[^\x00-\x20\x7f()<>@,;:\\\"/\[\]?=]++"
_VALUE: Final = rb'(?:"(?:[^"\\]|\\.)*+"|%b)' % _TOKEN
_PARAMETER: Final = re.compile(rb";%b(%b)%b=%b(%b)" % (_BLANK, _TOKEN, _BLANK, _BLANK, _VALUE), re.DOTALL)
_PARAMETERS: Final = rb"((?:;%b%b%b=%b%b%b)*+)(?:;%b)?\Z" % (
    *(_BLANK, _TOKEN, _BLANK, _BLANK, _VALUE, _BLANK),
    _BLANK,
)
_TYPE: Final = re.compile(
    rb"%b(%b)%b/%b(%b)%b%b" % (_BLANK, _TOKEN, _BLANK, _BLANK, _TOKEN, _BLANK, _PARAMETERS), re.DOTALL
)
_DISPOSITION: Final = re.compile(rb"%b(%b)%b%b" % (_BLANK, _TOKEN, _BLANK, _PARAMETERS), re.DOTALL)
_ENCODING: Final = re.compile(rb"%b([\w-]+)" % _BLANK, re.DOTALL)
_LOOKS_LIKE_TYPE: Final = re.compile(rb"[ \t\r\n]*+([^\s/;]++)/([^\s;]++)")
_LOOKS_LIKE_PARAMETER: Final = re.compile(
    rb'[;\s]((?:(?:file)?name|boundary)(?:\*[0-9]*+)?\*?)[ \t]*+=\s*+("(?:[^"\\]|\\.)*+"?|[^;\r\n]*+)', re.IGNORECASE
)
_WORDS: Final = re.compile(
    rb'(?P<blank>%b)(?:(?P<token>%b)|"(?P<quoted>(?:[^"\\]|\\.)*+)(?P<end>"?)|(?P<special>.))?' % (_BLANK, _TOKEN),
    re.DOTALL,
)


class Content(NamedTuple):
    """What a Content-Type says, as far as it matters here."""

    kind: bytes
    """``text/html``, in lower case."""
    parameters: tuple[tuple[bytes, bytes], ...] = ()
    """Names in lower case, values raw, with their quotes."""


def content_type(field: bytes, *, strict: bool = True) -> Content:
    """What the raw field body says. Raises Refused(MALFORMED_MIME), only when strict."""
    return _usual_type(field) if strict and len(field) <= _REMEMBERED else _content_type(field, strict=strict)


def _content_type(field: bytes, *, strict: bool) -> Content:
    match = _TYPE.match(_bounded(field, strict=strict))
    if match is not None:
        return Content(b"%b/%b" % (match[1].lower(), match[2].lower()), _parameters(match[3], strict=strict))
    if strict:
        raise _complaint(field, ("MIME type", "'/'", "MIME subtype"))
    like = _LOOKS_LIKE_TYPE.match(field)
    return Content(like[0].strip().lower() if like else b"text/plain", _whatever_looks_like_parameters(field))


@lru_cache(maxsize=512)
def _usual_type(field: bytes) -> Content:
    """Most parts of most messages are of few types."""
    return _content_type(field, strict=True)


def disposition(field: bytes, *, strict: bool = True) -> tuple[tuple[bytes, bytes], ...]:
    """The parameters of the raw field body. Raises Refused(MALFORMED_MIME), only when strict."""
    match = _DISPOSITION.match(_bounded(field, strict=strict))
    if match is not None:
        return _parameters(match[2], strict=strict)
    if strict:
        raise _complaint(field, ("disposition",))
    return _whatever_looks_like_parameters(field)


def encoding(field: bytes) -> bytes:
    """``base64``, ``quoted-printable`` or whatever else it is called, in lower case; "": nothing."""
    match = _ENCODING.match(field[:LONGEST_FIELD])
    return match[1].lower() if match else b""


def boundary(content: Content, *, strict: bool = True) -> bytes:
    """What separates the parts of a multipart; "": it does not say. Two are refused: readers take either."""
    found = [unquoted(value).rstrip(b" \t") for name, value in content.parameters if name == b"boundary"]
    if strict and len(found) > 1:
        raise Refused(Refusal.MALFORMED_MIME, "Duplicate parameter 'boundary'")
    return found[0] if found else b""


def _bounded(field: bytes, *, strict: bool) -> bytes:
    if len(field) <= LONGEST_FIELD:
        return field
    if strict:
        raise Refused(Refusal.MALFORMED_MIME, f"Content field is longer than {LONGEST_FIELD} octets")
    return field[:LONGEST_FIELD]


def _parameters(text: bytes, *, strict: bool) -> tuple[tuple[bytes, bytes], ...]:
    found = tuple([(m[1].lower(), m[2]) for m in islice(_PARAMETER.finditer(text), MOST_PARAMETERS + 1)])
    if strict and len(found) > MOST_PARAMETERS:
        raise Refused(Refusal.MALFORMED_MIME, f"Content field has more than {MOST_PARAMETERS} parameters")
    return found


def _whatever_looks_like_parameters(field: bytes) -> tuple[tuple[bytes, bytes], ...]:
    matches = islice(_LOOKS_LIKE_PARAMETER.finditer(field[:LONGEST_FIELD]), MOST_PARAMETERS)
    return tuple([(m[1].lower(), m[2].strip()) for m in matches])


def _complaint(field: bytes, expected: tuple[str, ...]) -> Refused:
    """Goes through the field word by word, to the one that should not stand there."""
    words = _tokens(field)
    try:
        for what in expected:
            kind, word = next(words)
            if kind != what and (kind != "token" or what == "'/'"):
                return _expected(what, word)
        return _parameter_complaint(words)
    except _UnbalancedError as error:
        return Refused(Refusal.MALFORMED_MIME, str(error))


def _parameter_complaint(words: Iterator[tuple[str, str]]) -> Refused:
    kind, word = next(words)
    while kind != "end":
        for what, fitting in (
            ("';'", ("';'",)),
            ("parameter name", ("token",)),
            ("'='", ("'='",)),
            ("parameter value", ("token", "quoted")),
        ):
            if kind not in fitting:
                return _expected(what, f'"{word}"')
            kind, word = next(words)
    return Refused(Refusal.MALFORMED_MIME, "Unbalanced comments")


def _expected(what: str, got: str) -> Refused:
    return Refused(Refusal.MALFORMED_MIME, f"Expected {what}, got {got}")


class _UnbalancedError(Exception):
    """A quote or a comment that does not end."""


def _tokens(field: bytes) -> Iterator[tuple[str, str]]:
    """Kind and text of each word; at the end "end" for ever, in JavaMail's words null."""
    for match in _WORDS.finditer(field):
        if match["token"] is not None:
            yield "token", match["token"].decode("ascii", "replace")
        elif match["quoted"] is not None:
            if not match["end"]:
                raise _UnbalancedError("Unbalanced quoted string")
            yield "quoted", match["quoted"].decode("ascii", "replace")
        elif match["special"] is not None:
            special = match["special"].decode("ascii", "replace")
            if special in "()":
                raise _UnbalancedError("Unbalanced comments")
            yield f"'{special}'", special
    while True:
        yield "end", "null"

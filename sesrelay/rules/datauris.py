"""Data URIs in HTML: ``<img src="data:image/png;base64,…">`` and ``url(data:…)`` in styles (MSG-3).

Words that merely look like it are no data URI: it must have its comma, and stand as an attribute's value within a
tag, or as a CSS ``url()`` in a style attribute or a style element. The text comes decoded, in pieces; looking at it is
done by C loops, and what needs a closer look is bounded.
"""

from __future__ import annotations

import re
from typing import Final

MOST_SUSPECTS: Final = 2000
"""Places in one text that begin as a data URI does; beyond that nobody looks closer, and it counts as one."""
MOST_WORDS: Final = 8192
"""The same for ``data:``, whatever follows it, in one piece of a text."""
_OVERLAP: Final = 16_384
"""Octets of the text before a piece that are kept: how far away a tag may begin."""
_REACH: Final = 256
_CLOSER_LOOKS: Final = 16
"""How many a ``<`` that begins no tag is passed over on the way back to the one that does."""

_SUSPECT: Final = re.compile(rb"data:(?=[,;]|[a-z]{1,20}+/)")
_COMPLETE: Final = re.compile(rb"(?<=[=\"'(;\s])data:(?:[a-z]++/|;)?[^,<>\"'():]{0,80}+,")
_VALUE: Final = re.compile(rb"[\s\"'/]([a-z_][a-z0-9_.:-]*+)\s*+=\s*+[\"']?\s*+\Z")
_URL: Final = re.compile(rb"url\(\s*+(?:[\"']|&quot;|&#0*(?:34|39);)?\s*+\Z")
_TAG: Final = re.compile(rb"<[a-z](?:[^<>\"']++|\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z))*+")


class DataUris:
    """One HTML text, looked through piece by piece."""

    __slots__ = ("_before", "_in_style", "_style_known_to", "_suspects")

    def __init__(self) -> None:
        self._before = b""
        self._in_style = False
        self._style_known_to = 0
        self._suspects = 0

    def found_in(self, piece: bytes) -> bool:
        """Whether there is one in the next piece of the text, which may be cut anywhere."""
        text = self._before + piece.lower()
        if b"\0" in text:  # UTF-16, to eyes that look for ASCII only
            text = text.replace(b"\0", b"")
        words = text.count(b"data:")
        if words > MOST_WORDS or (words and any(self._is_one(text, m.start()) for m in _SUSPECT.finditer(text))):
            return True
        self._styles(text, len(text))
        self._before = text[-_OVERLAP:]
        self._style_known_to = max(len(self._before) - len(b"</style"), 0)
        return False

    def _is_one(self, text: bytes, at: int) -> bool:
        self._suspects += 1
        if self._suspects > MOST_SUSPECTS:
            return True
        uri = _COMPLETE.match(text, at)
        if uri is None or uri.end() <= len(self._before):  # with the piece before, it has been looked at
            return False
        before = text[max(at - _REACH, 0) : at]
        if _URL.search(before):
            return self._styles(text, at) or _within_tag(text, at)
        return _VALUE.search(before) is not None and _within_tag(text, at)

    def _styles(self, text: bytes, at: int) -> bool:
        """Whether a style element is open there; ``at`` only grows, so nothing is looked through twice."""
        opened = text.rfind(b"<style", self._style_known_to, at)
        closed = text.rfind(b"</style", self._style_known_to, at)
        if opened != closed:
            self._in_style = opened > closed
        self._style_known_to = at
        return self._in_style


def _within_tag(text: bytes, at: int) -> bool:
    """Whether a tag that begins before ``at`` is still open there; a ``>`` within quotes does not end it."""
    begin = at
    for _ in range(_CLOSER_LOOKS):
        begin = text.rfind(b"<", max(at - _OVERLAP, 0), begin)
        if begin < 0:
            break
        if tag := _TAG.match(text, begin, at + 1):
            return tag.end() > at
    return False

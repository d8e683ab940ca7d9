"""Reading what a server says: octets in any portions become replies, and nonsense is named, never guessed at.

Lenient where real servers are sloppy (bare LF, a code without text, codes that differ within a reply: the last one
counts), strict where going on would mean to take one reply for another.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from sesrelay.model.reply import Reply

REPLY_OCTETS: Final = 65_536
"""A longer reply is an attack or a mistake; RFC 5321 §4.5.3.1.5 wants lines of 512 at most."""
_CACHED_OCTETS: Final = 256

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:[ -](.*))?\Z", re.DOTALL)
_STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |\Z)")
_CONTROLS = dict.fromkeys((*range(9), *range(10, 32), 127), "?")


class UnreadableReplyError(ValueError):
    """These octets are no SMTP reply; says why."""


class ReplyReader:
    """Cuts a stream into replies. ``trouble`` says why what follows the last of them cannot be read, or is ""."""

    __slots__ = ("_held", "_line", "trouble")

    def __init__(self) -> None:
        self._held = b""
        self._line = 0
        """Where in it the first line begins that is not complete: the ones before it are not looked at again."""
        self.trouble = ""

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that ``data`` completes, in order. After trouble: none, for ever."""
        if self.trouble:
            return []
        if self._held:
            data = self._held + data
        replies: list[Reply] = []
        start, line = 0, self._line
        while (end := data.find(b"\n", line)) >= 0:
            if data[line + 3 : line + 4] == b"-" and end - start < REPLY_OCTETS:
                line = end + 1
                continue
            line = end + 1
            octets = data[start:line]
            start = line
            try:
                replies.append(_parse_cached(octets) if len(octets) <= _CACHED_OCTETS else _parse(octets))
            except UnreadableReplyError as fault:
                self.trouble = str(fault)
                return replies
        self._held = data[start:]
        self._line = line - start
        if len(self._held) > REPLY_OCTETS:
            self.trouble = f"a reply of more than {REPLY_OCTETS} octets"
        return replies

    def clear(self) -> None:
        """Forgets what was read of an unfinished reply (before TLS: it may have been put there by somebody else)."""
        self._held = b""
        self._line = 0


def parse(octets: bytes) -> Reply:
    """One whole reply, with its line ends. Raises UnreadableReplyError."""
    return _parse_cached(octets) if len(octets) <= _CACHED_OCTETS else _parse(octets)


def _parse(octets: bytes) -> Reply:
    if len(octets) > REPLY_OCTETS:
        raise UnreadableReplyError(f"a reply of more than {REPLY_OCTETS} octets")
    code, status, texts = b"", "", []
    for line in octets.removesuffix(b"\n").split(b"\n"):
        match = _LINE.match(line.removesuffix(b"\r"))
        if match is None:
            raise UnreadableReplyError(f"not an SMTP reply: {_readable(line[:200])!r}")
        code, rest = match[1], match[2] or b""
        text = _readable(rest)
        found = _STATUS.match(text)
        if found and (not status or found[1] == status):
            status, text = found[1], text[found.end() :]
        texts.append(text)
    return Reply(int(code), status, tuple(texts))


def _readable(octets: bytes) -> str:
    """Text that may go into a log or a database: UTF-8 where it is, no control characters."""
    return octets.rstrip(b"\r").decode("utf-8", "backslashreplace").translate(_CONTROLS)


_parse_cached = lru_cache(maxsize=1024)(_parse)

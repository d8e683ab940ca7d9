"""The two AUTH dialogues without a socket: lines in, prompts or credentials out (SMTP-4, RFC 4954, RFC 4616)."""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from typing import Final

from sesrelay.fronts.smtp import replies

LONGEST_USER_NAME: Final = 128
"""Characters that are looked at; an access key id has 20."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client claims to be; the password never shows in a log or traceback."""

    access_key_id: str
    password: bytes = field(repr=False)


class Dialogue:
    """One AUTH command. Each step gives a prompt to send (334), credentials to check, or a final refusal."""

    __slots__ = ("_plain", "_user_name")

    def __init__(self, *, plain: bool) -> None:
        """``plain``: PLAIN, else LOGIN."""
        self._plain = plain
        self._user_name: bytes | None = None

    def begin(self, initial: bytes) -> bytes | Credentials:
        """``initial``: the response that came with the command, b"" without one."""
        if initial:
            return self.answer(b"" if initial == b"=" else initial)  # RFC 4954 §4: "=" is an empty response
        return replies.ASK_PLAIN if self._plain else replies.ASK_USER_NAME

    def answer(self, line: bytes) -> bytes | Credentials:
        """The client's next line."""
        if line == b"*":
            return replies.LOGIN_CANCELLED
        try:
            response = binascii.a2b_base64(line, strict_mode=True)
        except binascii.Error:
            return replies.NOT_BASE64
        if self._plain:
            return _read_plain(response)
        if self._user_name is None:
            self._user_name = response
            return replies.ASK_PASSWORD
        return _credentials(self._user_name, response)


def _read_plain(response: bytes) -> bytes | Credentials:
    """``authorization NUL user NUL password``; nobody may act for somebody else, so the first is not looked at."""
    parts = response.split(b"\0")
    return _credentials(parts[1], parts[2]) if len(parts) == 3 else replies.NOT_PLAIN


def _credentials(user_name: bytes, password: bytes) -> Credentials:
    """A name that cannot be one is checked all the same: as unknown, after the same work."""
    name = user_name[:LONGEST_USER_NAME].decode("ascii", "replace").replace("\0", "\ufffd")
    return Credentials(name, password)

"""The mailboxes of From and Sender, parsed strictly and refused in the words that SES's clients know.

SES parses with JavaMail, so its texts are JavaMail's (ses-facts §1.4). Display names, comments and quoted local parts
are passed over, encoded words left alone; the address itself is looked at character by character. Obsolete routes are
dropped, the members of a group count as mailboxes.

What readers of mail understand differently must not hide an author: an address without quotes in a display name
counts as a mailbox of its own (some readers show it as the sender), and where JavaMail passes over something that could
be one, in the name of a group or behind an angle address, the field is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.errors import MessageError
from email.header import decode_header, make_header
from functools import lru_cache
from typing import Final, NamedTuple

from sesrelay.model.refusal import Refusal, Refused

LONGEST_FIELD: Final = 16_384
"""Octets beyond which no From is read: some hundred mailboxes, and still no time to speak of."""
_REMEMBERED: Final = 400
_SPECIALS: Final = frozenset('()<>,;:\\"[]@')
_FOLD: Final = re.compile(r"\r\n(?=[ \t])")
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABELS: Final = r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
_PLAIN: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABELS}\Z")
_USUAL: Final = re.compile(rf'(?:"[^"\\<>]*+"|[^"\\<>(),;:@\[\]]*+)[ \t]*<({_ATOM}(?:\.{_ATOM})*@{_LABELS})>\Z')
"""What nearly every From is; only a quicker way to the answer that the parser below gives."""
_NAME: Final = re.compile(r'((?:"(?:[^"\\]|\\.)*+"|[^"<])*+)<')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"')
_PAIR: Final = re.compile(r"\\(.)")
_STRING: Final = r'"(?:[^"\\]++|\\.)*+"'
_LITERAL: Final = r"\[(?:[^\]\\]++|\\.)*+\]"
_COMMENT: Final = r"\((?:[^()\\]++|\\.)*+\)"  # without another one in it
_INSIDE_ANGLE: Final = rf'<(?:[^>"\\]++|\\.|{_STRING})*+'
_WHOLE: Final = {
    opening: re.compile(pattern, re.DOTALL)
    for opening, pattern in {'"': _STRING, "[": _LITERAL, "(": _COMMENT, "<": _INSIDE_ANGLE + ">"}.items()
}
_IN_PASSING: Final = re.compile(rf'(?:[^()<>\[",;:]++|{_STRING}|{_LITERAL}|{_COMMENT}|{_INSIDE_ANGLE}>)*+', re.DOTALL)
"""What of a list needs no closer look: C is quicker than we are."""
_WORDS: Final = re.compile(rf'(?:[^"(<\[]++|{_STRING}|{_LITERAL}|{_COMMENT})++', re.DOTALL)
_COMMENTS: Final = re.compile(rf"({_STRING}|{_LITERAL})|{_COMMENT}", re.DOTALL)
_STRINGS: Final = re.compile(rf"({_LITERAL})|{_STRING}", re.DOTALL)
_OPEN_ANGLE: Final = re.compile(_INSIDE_ANGLE, re.DOTALL)
_PARENTHESES: Final = re.compile(r"\\.|[()]", re.DOTALL)
_CLOSING: Final = {"(": ")", '"': '"', "<": ">", "[": "]"}
_WHITE: Final = r"[ \t\r\n]*+"
_PLAIN_NAME: Final = r'(?:"[^"\\]*+"|[^"\\<>(),:;@\[\]]*+)'
_ELEMENT: Final = (
    rf"(?:{_ATOM}(?:\.{_ATOM})*+@{_LABELS}|{_PLAIN_NAME}{_WHITE}<{_ATOM}(?:\.{_ATOM})*+@{_LABELS}>){_WHITE}"
)
_USUAL_LIST: Final = re.compile(
    rf"{_WHITE}(?:{_ELEMENT}(?:,{_WHITE}{_ELEMENT})*+|[\w -]++:{_WHITE};{_WHITE})\Z".encode()
)
"""The same for To and its like, in which most mail has some mailboxes, or ``undisclosed-recipients:;``."""
_BRACKETS: Final = str.maketrans("[]", "  ")


class Mailbox(NamedTuple):
    """One mailbox: its address, and how it was spelled, unfolded, with its display name."""

    address: str
    spelled: str


def parse(field: bytes) -> tuple[Mailbox, ...]:
    """The mailboxes of a field body, raw. Raises Refused(MALFORMED) with JavaMail's words; never returns none."""
    if len(field) > LONGEST_FIELD:
        raise _malformed("Illegal address")
    return _parse_again(field) if len(field) <= _REMEMBERED else _parse(field)


def check_lists(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """The fields (lower-case name, raw body) that list addresses which nobody must own: To, Cc, Reply-To and more.

    Raises Refused(MALFORMED or NON_ASCII_ADDRESS). Only To must not be empty (RFC 5322 has none of them empty, but
    clients that fill in forms do); a group may be.
    """
    unusual = 0
    for name, body in fields:
        if _USUAL_LIST.match(body):
            continue
        unusual += len(body)
        if unusual > LONGEST_FIELD:
            raise _malformed("Illegal address")
        text = _FOLD.sub("", body.decode("latin-1")).strip(" \t\r\n")
        if not text and name == b"to":
            raise _malformed("Empty address")
        for _ in _mailboxes(text):
            pass


def _parse(field: bytes) -> tuple[Mailbox, ...]:
    text = _FOLD.sub("", field.decode("latin-1")).strip(" \t\r\n")
    if _PLAIN.match(text):
        return (Mailbox(text, text),)
    if usual := _USUAL.match(text):
        return (Mailbox(usual[1], _printable(text)),)
    found = tuple(_mailboxes(text))
    if not found:
        raise _malformed("Empty address")
    return found


_parse_again = lru_cache(maxsize=4096)(_parse)
"""Most mail of a process comes from few senders."""


def display_name(mailbox: Mailbox) -> str:
    """The name in front of an angle address, quotes and encoded words undone; "" without one."""
    found = _NAME.match(mailbox.spelled)
    if found is None:
        return ""
    name = _QUOTED.sub(lambda quoted: _PAIR.sub(r"\1", quoted[1]), found[1]).strip(" \t")
    if "=?" not in name:
        return name
    try:
        return str(make_header(decode_header(name)))
    except (ValueError, LookupError, MessageError):  # an encoding that nobody knows, or broken: as it stands
        return name


def check_address(address: str) -> None:
    """Raises Refused(MALFORMED) unless it is ``local@domain`` as JavaMail's strict check wants it."""
    if _PLAIN.match(address):
        return
    domain_at = _check_local(address) + 1
    _check_domain(address[domain_at:])


def _malformed(words: str) -> Refused:
    return Refused(Refusal.MALFORMED, words)


def _unprintable(where: str, character: str) -> Refused:
    """The guide wants 7-bit ASCII, JavaMail has the same words for it as for blanks: the name tells them apart."""
    refusal = Refusal.NON_ASCII_ADDRESS if character > "\x7f" else Refusal.MALFORMED
    return Refused(refusal, f"{where} contains control or whitespace")


def _printable(text: str) -> str:
    """Octets over 127 cannot go into a reply."""
    return text if text.isascii() else text.encode("ascii", "replace").decode()


def _mailboxes(text: str) -> Iterator[Mailbox]:
    """Takes the list apart at its commas, outside of quotes, comments, brackets."""
    start = 0
    in_group = False
    for at, kind in _separators(text):
        if kind == ":":
            if in_group:
                raise _malformed("Nested group")
            _check_group_name(text[start:at])
            in_group = True
        else:
            if kind == ";" and not in_group:
                raise _malformed("Illegal semicolon, not in group")
            if at > start:  # else an empty element
                yield from _mailbox(text[start:at])
            in_group = in_group and kind != ";"
        start = at + 1
    yield from _mailbox(text[start:])


def _separators(text: str) -> Iterator[tuple[int, str]]:
    at = _passed(text, 0)
    while at < len(text):
        character = text[at]
        if character in '("<[':
            at = _closed(text, at)
        elif character in ",;:":
            yield at, character
        else:
            raise _malformed("Missing '('" if character == ")" else "Missing '<'")
        at = _passed(text, at + 1)


def _passed(text: str, at: int) -> int:
    """The next place that has to be looked at."""
    found = _IN_PASSING.match(text, at)
    return found.end() if found else at


def _closed(text: str, at: int) -> int:
    """Where the comment, quoted string, angle address or domain literal that begins at ``at`` ends."""
    opening = text[at]
    if whole := _WHOLE[opening].match(text, at):
        return whole.end() - 1
    if opening == "(":
        return _end_of_comments(text, at)
    inside = _OPEN_ANGLE.match(text, at) if opening == "<" else None
    in_string = inside and text[inside.end() : inside.end() + 1] == '"'
    missing = '"' if in_string else _CLOSING[opening]
    raise _malformed(f"Missing '{missing}'")


def _end_of_comments(text: str, at: int) -> int:
    """Where a comment with others in it ends."""
    depth = 0
    for found in _PARENTHESES.finditer(text, at):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return found.start()
    raise _malformed("Missing ')'")


def _mailbox(text: str) -> Iterator[Mailbox]:
    """One element of the list: ``name <address>``, or a bare address with comments; nothing for an empty element."""
    bare: list[str] = []
    name: list[str] = []
    angle: str | None = None
    at = 0
    while at < len(text):
        if words := _WORDS.match(text, at):
            # A comment is never a way to join what is left and right of it.
            bare.append(_without(_COMMENTS, words[0]) if "(" in words[0] else words[0])
            name.append(bare[-1])
            at = words.end()
            continue
        end = _closed(text, at)
        if text[at] == "<":
            if angle is not None:
                raise _malformed("Extra route-addr")
            angle = text[at + 1 : end]
            bare = []
        else:
            bare.append(" ")
            name.append(" ")
        at = end + 1
    rest = "".join(bare).strip()
    if angle is None:
        if rest:
            check_address(rest)
            yield Mailbox(rest, _printable(text.strip()))
        return
    if rest:
        raise _malformed("Illegal address")
    address = _without_route(angle.strip())
    check_address(address)
    yield Mailbox(address, _printable(text.strip()))
    yield from _addresses_in_name(_without(_STRINGS, "".join(name)))


def _without(what: re.Pattern[str], text: str) -> str:
    """Each of them becomes a blank; what the pattern has in a group stays."""
    return what.sub(lambda found: found[1] or " ", text)


def _addresses_in_name(name: str) -> Iterator[Mailbox]:
    """RFC 5322 wants quotes around an ``@`` in a name; without them, readers may take it for the sender's."""
    if "@" in name:
        around = name.translate(_BRACKETS).split("@")
        for word in "@".join([part.strip() for part in around]).split():
            if "@" in word:
                check_address(word)
                yield Mailbox(word, _printable(word))


def _check_group_name(name: str) -> None:
    """It is not looked at, so nothing may be in it that somebody else takes for an address."""
    at = 0
    while at < len(name):
        if name[at] in '("':
            at = _closed(name, at)
        elif name[at] in "@<[":
            raise _malformed("Illegal address")
        at += 1


def _without_route(angle: str) -> str:
    """RFC 5322 §4.4: ``@one,@two:local@domain`` is taken and its route ignored."""
    if not angle.startswith("@"):
        return angle
    route, colon, address = angle.partition(":")
    if not colon:
        raise _malformed("Illegal route-addr")
    for hop in route.split(","):
        before, _, domain = hop.strip().partition("@")
        if before:
            raise _malformed("Illegal route-addr")
        _check_domain(domain)
    return address


def _check_local(address: str) -> int:
    """The place of the ``@`` behind the local part."""
    if not address:
        raise _malformed("Empty address")
    quoted = False
    last = ""
    for at, character in enumerate(address):
        if quoted:
            if not " " <= character < "\x7f":
                raise _unprintable("Local address", character)
            if last == "\\":
                last = ""  # a quoted pair: neither the end of the quotes nor the beginning of another pair
                continue
            quoted = character != '"'
        elif character == "@":
            if at == 0:
                raise _malformed("Missing local name")
            if last == ".":
                raise _malformed("Local address ends with dot")
            return at
        elif character == ".":
            if last in ("", "."):
                raise _malformed("Local address contains dot-dot" if last else "Local address starts with dot")
        elif not " " < character < "\x7f":
            raise _unprintable("Local address", character)
        elif last == '"':  # RFC 5322 §3.4.1 has quoted strings in whole, not within words
            raise _malformed("Local address contains illegal character")
        elif character == '"' and last in ("", "."):
            quoted = True
        elif character in _SPECIALS:
            raise _malformed("Local address contains illegal character")
        last = character
    raise _malformed("Unterminated quote" if quoted else "Missing final '@domain'")


def _check_domain(domain: str) -> None:
    if not domain:
        raise _malformed("Missing domain")
    if domain[0] == "[":
        if domain.find("]") != len(domain) - 1:
            raise _malformed("Domain literal end not at end of domain")
        for character in domain:
            if not " " < character < "\x7f":
                raise _unprintable("Domain", character)
        return
    last = ""
    for character in domain:
        if character == "." and last in ("", "."):
            raise _malformed("Domain contains dot-dot" if last else "Domain starts with dot")
        if not " " < character < "\x7f":
            raise _unprintable("Domain", character)
        if not (character.isalnum() or character in "-."):
            raise _malformed("Domain contains illegal character")
        last = character
    if last == ".":
        raise _malformed("Domain ends with dot")

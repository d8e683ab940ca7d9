"""What SES answers, told a second time: a small model of the dialogue that is plain where the product is quick.

It is written from ses-facts and docs/SMTP.md, has words of its own and shares no line with ``sesrelay``: it keeps all
octets in one string, reads addresses character by character, and looks at a message when it is there in whole.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

LONGEST_COMMAND, LONGEST_AUTH_LINE, ENDLESS_LINE, LONGEST_LINE = 2048, 12_288, 12_289 + 65_536, 1000
CONTROLS = frozenset([*range(9), *range(10, 32), 127])
ALPHANUMERICS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
ATOM = ALPHANUMERICS + b"!#$%&'*+/=?^_`{|}~-"
BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
LAST_WORDS = {
    "logins": "421 Connection closed by server. Too many failed authentication attempts.",
    "commands": "421 Connection closed by server. Too many bad commands.",
    "messages": "421 Connection closed by server. Maximum message count per session reached.",
    "recipients": "421 Connection closed by server. Too many recipients.",
    "endless": "421 Connection closed by server. Command line too long.",
}


class Message(NamedTuple):
    """A message that came through its final dot without a fault."""

    mail_from: str
    recipients: tuple[str, ...]
    named: int
    eight_bit: bool
    content: bytes


@dataclass
class Bounds:
    """Settings of section ``smtp``, by their names."""

    message_octets: int = 10_485_760
    session_messages: int = 10_000
    session_recipients: int = 1000
    session_failed_logins: int = 5
    session_bad_commands: int = 20


@dataclass
class Model:
    """One connection. ``hear`` gives the octets that a client is told, however often and wherever it is interrupted."""

    host: str
    login: Callable[[str, bytes], str]
    """The reply to credentials."""
    accept: Callable[[Message], str]
    """The reply to a message."""
    bounds: Bounds = field(default_factory=Bounds)
    encrypted: bool = False
    closed: bool = False
    switching: bool = False
    """220 was said to STARTTLS: what is in clear from here on was never said."""

    def __post_init__(self) -> None:
        self.unread = b""
        self.named = self.logged_in = self.in_data = False
        self.asked_for: str | None = None
        self.user = b""
        self.bad = self.failed = self.messages = 0
        self.forget()

    def forget(self) -> None:
        self.mail_from: str | None = None
        self.recipients: list[str] = []
        self.tried = 0
        self.eight_bit = False

    def switched(self) -> None:
        """TLS from here on: all that was said before counts for nothing."""
        self.encrypted, self.switching = True, False
        self.__post_init__()

    def hear(self, octets: bytes) -> bytes:
        self.unread += octets
        said = ""
        while not self.closed and not self.switching:
            reply = self.next_message() if self.in_data else self.next_command()
            if reply is None:
                break
            said += reply
        if self.switching:
            self.unread = b""
        return said.encode()

    # The message

    def next_message(self) -> str | None:
        end = (b"\r\n" + self.unread).find(b"\r\n.\r\n")
        if end < 0:
            return None
        raw, self.unread = self.unread[:end], self.unread[end + 3 :]
        self.in_data = False
        self.messages += 1
        content = b"\r\n".join(line[line.startswith(b".") :] for line in raw.split(b"\r\n"))
        reply = message_fault(content, self.bounds.message_octets)
        if reply is None:
            assert self.mail_from is not None
            kept = tuple(self.recipients[:50])
            reply = self.accept(Message(self.mail_from, kept, len(self.recipients), self.eight_bit, content))
        if reply.startswith("250"):
            self.bad = 0
        self.forget()
        return reply + "\r\n"

    # Commands

    def next_command(self) -> str | None:
        line, newline, rest = self.unread.partition(b"\n")
        if len(line) > ENDLESS_LINE:
            self.closed = True
            return f"500 Command line too long\r\n{LAST_WORDS['endless']}\r\n"
        if not newline:
            return None
        self.unread = rest
        return self.answer(line.removesuffix(b"\r")) + "\r\n"

    def answer(self, line: bytes) -> str:
        may_be_long = self.asked_for is not None or line[:5].upper() == b"AUTH "
        if len(line) > (LONGEST_AUTH_LINE if may_be_long else LONGEST_COMMAND):
            self.asked_for = None
            return self.nonsense("500 Command line too long")
        if self.asked_for is not None:
            return self.response(line.strip())
        verb, _, argument = line.partition(b" ")
        name = verb.upper().decode("latin-1")
        argument = argument.strip(b" \t")
        if name in ("EXPN", "TURN"):
            return self.nonsense("502 Error: command not implemented")
        if name not in (
            "EHLO",
            "HELO",
            "STARTTLS",
            "AUTH",
            "MAIL",
            "RCPT",
            "DATA",
            "RSET",
            "NOOP",
            "QUIT",
            "HELP",
            "VRFY",
        ):
            readable = line.strip() and max(line) < 128 and not CONTROLS & {*line}
            return self.nonsense("502 5.5.2 Error: command not recognized" if readable else "500 Error: bad syntax")
        return str(getattr(self, name.lower())(argument))

    def nonsense(self, reply: str) -> str:
        self.bad += 1
        return reply if self.bad < self.bounds.session_bad_commands else self.last_word("commands", reply)

    def last_word(self, why: str, reply: str = "") -> str:
        self.closed = True
        return (reply and reply + "\r\n") + LAST_WORDS[why]

    def too_early(self) -> str:
        if not self.encrypted:
            return self.nonsense("530 Must issue a STARTTLS command first")
        return self.nonsense("530 Authentication required" if self.named else "503 Error: send EHLO first")

    def greet(self, verb: str, name: bytes, reply: str) -> str:
        if not name or CONTROLS & {*name}:
            return self.nonsense(f"501 Syntax: {verb} hostname")
        self.named = True
        self.forget()
        return reply

    def ehlo(self, name: bytes) -> str:
        offers = ["PIPELINING", "AUTH PLAIN LOGIN"] if self.encrypted else ["STARTTLS"]
        lines = [self.host, "8BITMIME", f"SIZE {self.bounds.message_octets}", *offers]
        return self.greet("EHLO", name, "".join(f"250-{line}\r\n" for line in lines) + "250 Ok")

    def helo(self, name: bytes) -> str:
        return self.greet("HELO", name, f"250 {self.host}")

    def starttls(self, argument: bytes) -> str:
        if self.encrypted:
            return self.nonsense("503 Error: TLS is already active")
        if argument:
            return self.nonsense("501 Syntax: STARTTLS")
        self.switching = True
        return "220 Ready to start TLS"

    def rset(self, argument: bytes) -> str:
        if argument:
            return self.nonsense("501 Syntax: RSET")
        self.forget()
        return "250 Ok"

    def noop(self, argument: bytes) -> str:
        return self.nonsense("500 Error: bad syntax") if CONTROLS & {*argument} else "250 Ok"

    def help(self, argument: bytes) -> str:
        if CONTROLS & {*argument}:
            return self.nonsense("500 Error: bad syntax")
        return "214 EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY QUIT"

    def vrfy(self, argument: bytes) -> str:
        if CONTROLS & {*argument}:
            return self.nonsense("500 Error: bad syntax")
        if not self.encrypted:
            return self.nonsense("530 Must issue a STARTTLS command first")
        return "252 Cannot VRFY user, but will accept message and attempt delivery"

    def quit(self, argument: bytes) -> str:
        if argument:
            return self.nonsense("501 Syntax: QUIT")
        self.closed = True
        return "221 Bye"

    # AUTH

    def auth(self, argument: bytes) -> str:
        if self.logged_in:
            return self.nonsense("503 Already authenticated")
        if not self.encrypted or not self.named:
            return self.too_early()
        mechanism, _, initial = argument.partition(b" ")
        if not mechanism:
            return self.nonsense("501 Syntax: AUTH mechanism [initial-response]")
        if mechanism.upper() not in (b"PLAIN", b"LOGIN"):
            return self.nonsense("504 Unrecognized authentication type")
        self.asked_for = "all" if mechanism.upper() == b"PLAIN" else "user"
        initial = initial.strip()
        if initial:
            return self.response(b"" if initial == b"=" else initial)
        return "334 " if self.asked_for == "all" else "334 VXNlcm5hbWU6"

    def response(self, line: bytes) -> str:
        asked_for, self.asked_for = self.asked_for, None
        if line == b"*":
            return self.nonsense("501 Authentication cancelled")
        if not BASE64.fullmatch(line):
            return self.nonsense("501 Invalid base64 data")
        octets = base64.b64decode(line)
        if asked_for == "user":
            self.asked_for, self.user = "password", octets
            return "334 UGFzc3dvcmQ6"
        if asked_for == "password":
            return self.check(self.user, octets)
        if octets.count(b"\0") != 2:
            return self.nonsense("501 Invalid PLAIN authentication data")
        return self.check(*octets.split(b"\0")[1:])

    def check(self, user: bytes, password: bytes) -> str:
        reply = self.login(user.decode("latin-1"), password)
        self.logged_in = reply.startswith("235")
        self.failed += reply.startswith("535")
        if reply.startswith("535") and self.failed >= self.bounds.session_failed_logins:
            return self.last_word("logins", reply)
        return reply

    # The envelope

    def mail(self, argument: bytes) -> str:
        if not self.logged_in:
            return self.too_early()
        if self.mail_from is not None:
            return self.nonsense("503 Error: nested MAIL command")
        if self.messages >= self.bounds.session_messages:
            return self.last_word("messages")
        if argument[:5].upper() != b"FROM:":
            return self.nonsense("501 Syntax: MAIL FROM:<address> [SP parameters]")
        found = path(argument[5:])
        if found is None:
            return bad_address(argument, "501 Invalid MAIL FROM address provided")
        fault = self.mail_parameters(found[1] or b"")
        if fault is None:
            self.mail_from = found[0]
            return "250 Ok"
        return fault if fault.startswith("552") else self.nonsense(fault)

    def mail_parameters(self, text: bytes) -> str | None:
        given = parameters(text)
        if given is None:
            return "501 Syntax: MAIL FROM:<address> [SP parameters]"
        size = given.get("SIZE", b"0")
        if not re.fullmatch(rb"[0-9]{1,20}", size):
            return "501 Error: SIZE must be a number"
        if int(size) > self.bounds.message_octets:
            return "552 5.3.4 Message is too long."
        body = given.get("BODY", b"7BIT").upper()
        if body not in (b"7BIT", b"8BITMIME"):
            return "501 Error: BODY can only be one of 7BIT, 8BITMIME"
        if "SMTPUTF8" in given:
            return "555 5.6.7 SMTPUTF8 is not supported: addresses are 7-bit ASCII, domains in punycode"
        if set(given) - {"SIZE", "BODY", "AUTH", "RET", "ENVID"}:
            return "555 MAIL FROM parameters not recognized or not implemented"
        self.eight_bit = body == b"8BITMIME"
        return None

    def rcpt(self, argument: bytes) -> str:
        if not self.logged_in:
            return self.too_early()
        if self.mail_from is None:
            return self.nonsense("503 Error: need MAIL command")
        self.tried += 1
        if self.tried > self.bounds.session_recipients:
            return self.last_word("recipients")
        if argument[:3].upper() != b"TO:":
            return "501 Syntax: RCPT TO:<address>"
        found = path(argument[3:])
        if found is None:
            return bad_address(argument, "501 Invalid RCPT TO address provided")
        given = parameters(found[1] or b"")
        if given is None or set(given) - {"NOTIFY", "ORCPT"}:
            return self.nonsense("555 RCPT TO parameters not recognized or not implemented")
        self.recipients.append(found[0])
        return "250 Ok"

    def data(self, argument: bytes) -> str:
        if not self.logged_in:
            return self.too_early()
        if not self.recipients:
            return self.nonsense("503 Error: need RCPT command")
        if argument:
            return self.nonsense("501 Syntax: DATA")
        self.in_data = True
        return "354 End data with <CR><LF>.<CR><LF>"


def message_fault(content: bytes, limit: int) -> str | None:
    """Why a message is refused whoever sends it."""
    if len(content) > limit:
        return "552 5.3.4 Message is too long."
    if re.search(rb"\r(?!\n)|(?<!\r)\n", content):
        return "554 Transaction failed: Message contains a bare CR or LF, lines must end in CRLF."
    if 0 in content:
        return "554 Transaction failed: Message contains a NUL character."
    if any(len(line) > LONGEST_LINE - 2 for line in content.split(b"\r\n")):
        return "554 Transaction failed: Message contains a line of more than 1000 octets."
    return None


def bad_address(argument: bytes, reply: str) -> str:
    if CONTROLS & {*argument}:
        return "500 Error: bad syntax"
    if max(argument) < 128:
        return reply
    return "553 5.6.7 Addresses must be 7-bit ASCII: SMTPUTF8 is not supported, write domains in punycode"


def parameters(text: bytes) -> Mapping[str, bytes] | None:
    given = {}
    for word in text.split():
        match = re.fullmatch(rb"([A-Za-z0-9-]*[A-Za-z0-9][A-Za-z0-9-]*)(?:=(.+))?", word)
        if match is None:
            return None
        given[match[1].decode().upper()] = match[2] or b""
    return given


class NotHereError(Exception):
    """The text goes on with something else."""


def path(text: bytes) -> tuple[str, bytes | None] | None:
    """The address and what stands behind it, read octet by octet."""
    try:
        return Path(text).read()
    except NotHereError:
        return None


class Path:
    """RFC 5321 §4.1.2, with blanks in front, angle brackets or none, and no address literals."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> int:
        return self.text[self.at] if self.at < len(self.text) else -1

    def take(self, *allowed: int) -> int:
        octet = self.peek()
        if octet not in allowed:
            raise NotHereError
        self.at += 1
        return octet

    def while_in(self, allowed: bytes) -> bytes:
        start = self.at
        while self.peek() in allowed if self.peek() >= 0 else False:
            self.at += 1
        return self.text[start : self.at]

    def read(self) -> tuple[str, bytes | None]:
        self.while_in(b" \t")
        angle = self.peek() == ord("<")
        if angle:
            self.at += 1
            self.route()
        local = self.quoted() if self.peek() == ord('"') else self.dot_atom()
        self.take(ord("@"))
        domain = self.domain()
        if len(local) > 64 or len(domain) > 255:
            raise NotHereError
        if angle:
            self.take(ord(">"))
        address = (local + b"@" + domain).decode()
        if self.peek() < 0:
            return address, None
        self.take(*b" \t")
        self.while_in(b" \t")
        behind = self.text[self.at :]
        if any(octet != 9 and not 32 <= octet < 127 for octet in behind):
            raise NotHereError
        return address, behind

    def route(self) -> None:
        if self.peek() != ord("@"):
            return
        self.at += 1
        self.domain()
        while self.peek() == ord(","):
            self.at += 1
            self.take(ord("@"))
            self.domain()
        self.take(ord(":"))

    def dot_atom(self) -> bytes:
        words = [self.word(ATOM)]
        while self.peek() == ord("."):
            self.at += 1
            words.append(self.word(ATOM))
        return b".".join(words)

    def domain(self) -> bytes:
        labels = [self.label()]
        while self.peek() == ord("."):
            self.at += 1
            labels.append(self.label())
        return b".".join(labels)

    def label(self) -> bytes:
        label = self.word(ALPHANUMERICS + b"_-")
        if label.startswith(b"-") or label.endswith(b"-"):
            raise NotHereError
        return label

    def word(self, allowed: bytes) -> bytes:
        found = self.while_in(allowed)
        if not found:
            raise NotHereError
        return found

    def quoted(self) -> bytes:
        """As it stands; without its quotes where they were not needed."""
        start = self.at
        self.take(ord('"'))
        bare = bytearray()
        while (octet := self.take(*range(32, 127))) != ord('"'):
            bare.append(self.take(*range(32, 127)) if octet == ord("\\") else octet)
        if not bare:
            raise NotHereError
        plain = all(word and all(octet in ATOM for octet in word) for word in bare.split(b"."))
        return bytes(bare) if plain else self.text[start : self.at]

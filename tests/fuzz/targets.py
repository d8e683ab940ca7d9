"""What is fed with octets that nobody has chosen: each target takes some and raises when a promise is broken.

The promises: no exception but the ones that are named, time in proportion to the octets, the same answer however the
octets were cut, and the same answer as a reference that is plain where the product is quick. Hypothesis feeds them in
the test-suite (``test_targets``), libFuzzer in ``make fuzz`` (``python -m tests.fuzz``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sesrelay.delivery.conversation import Conversation
from sesrelay.delivery.replies import REPLY_OCTETS, ReplyReader
from sesrelay.delivery.transaction import Terms, Transaction
from sesrelay.fronts.smtp import paths
from sesrelay.fronts.smtp.data import BodyReader, WorkerOctets
from sesrelay.fronts.smtp.session import Next, Session
from sesrelay.model.account import Login
from sesrelay.model.message import MessageId
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.model.reply import Reply
from sesrelay.rules import headers, mailboxes
from sesrelay.rules.fields import ACTIONS, COUNT_HOP, NOTE, PASS, READ_SUBJECT, TAKE_OFF
from sesrelay.settings import Smtp
from tests.fronts.smtp import model

SECONDS: Final = 0.25
SECONDS_PER_OCTET: Final = 50e-6
"""A hundred times what the slowest target takes, so that only something that is not linear is found out."""


@contextmanager
def in_proportion(octets: int) -> Iterator[None]:
    """Time of this process, not of a machine that others use as well."""
    began = time.process_time()
    yield
    took = time.process_time() - began
    assert took < SECONDS + octets * SECONDS_PER_OCTET, f"{took:.2f} s for {octets} octets"


def chunks(data: bytes) -> tuple[bytes, list[bytes]]:
    """The octets behind the first two, whole and in pieces whose lengths the first two tell."""
    first, second, octets = (*data[:2], 0, 0)[0], (*data[:2], 0, 0)[1], data[2:]
    cut, pieces, step = 0, [], (first % 29, second % 7)
    while cut < len(octets):
        length = 1 + step[len(pieces) % 2]
        pieces.append(octets[cut : cut + length])
        cut += length
    return octets, pieces


# The front door


def session(data: bytes) -> None:
    """``Session.command``, line by line, against the model of the whole dialogue."""
    flags, octets = (data[:1] or b"\0")[0], data[1:]
    bounds = model.Bounds(100, 3, 60, 3, 10)
    right = (flags & 1, flags & 2, flags & 4)

    def login(user: str, password: bytes) -> str:
        return "235 Authentication successful." if len(password) % 2 else "535 Authentication Credentials Invalid"

    expected = model.Model("h", login, lambda _: "", bounds, encrypted=bool(right[0]))
    actual = Session(Smtp(**vars(bounds)), region="r", host="h", client_address="192.0.2.1", encrypted=bool(right[0]))
    if right[1]:
        assert actual.command(b"EHLO me").reply == expected.hear(b"EHLO me\n")
    if right[2] and right[0]:
        expected.logged_in = True
        actual.logged_in(Login("1", "u", "k"))
    with in_proportion(len(octets)):
        for line in octets.split(b"\n"):
            if expected.closed or expected.switching or expected.in_data:
                break
            decision = actual.command(line)
            if decision.credentials is not None:
                right_password = len(decision.credentials.password) % 2
                decision = (
                    actual.logged_in(Login("1", "u", "k"))
                    if right_password
                    else actual.login_refused(Refused(Refusal.BAD_CREDENTIALS))
                )
            assert decision.reply == (expected.answer(line) + "\r\n").encode()
            assert re.fullmatch(rb"(\d{3}-[\x20-\x7e]*\r\n)*(\d{3} [\x20-\x7e]*\r\n)+", decision.reply)
            assert (decision.next is Next.CLOSE) is expected.closed
            assert (decision.next is Next.DATA) is expected.in_data
            assert (decision.next is Next.STARTTLS) is expected.switching


FAULTS: Final = {
    Refusal.TOO_LONG: "552 5.3.4 Message is too long.",
    Refusal.BARE_LINE_ENDING: "554 Transaction failed: Message contains a bare CR or LF, lines must end in CRLF.",
    Refusal.NUL_IN_MESSAGE: "554 Transaction failed: Message contains a NUL character.",
    Refusal.LINE_TOO_LONG: "554 Transaction failed: Message contains a line of more than 1000 octets.",
}


def body(data: bytes) -> None:
    """``BodyReader.feed`` in pieces, against a reader that looks at the whole."""
    octets, pieces = chunks(data)
    end = (b"\r\n" + octets).find(b"\r\n.\r\n")
    memory = WorkerOctets(1 << 30)
    reader = BodyReader(2000, memory, _no_spool)
    rest: bytes | None = None
    with in_proportion(len(octets)):
        for piece in pieces:
            rest = reader.feed(piece) if rest is None else rest + piece
    if end < 0:
        assert rest is None
        reader.close()
    else:
        assert rest == octets[end + 3 :]
        content = b"\r\n".join(line[line.startswith(b".") :] for line in octets[:end].split(b"\r\n"))
        fault = model.message_fault(content, 2000)
        got = reader.content()
        assert (FAULTS[got] if isinstance(got, Refusal) else got) == (fault or content)
        reader.close(accepted=True)
    assert memory.held == 0


def _no_spool(header: bytes) -> object:
    raise AssertionError("small messages stay in memory")


def path(data: bytes) -> None:
    """``paths.parse``, against a reader of single octets, and ``parameters`` on what is left."""
    with in_proportion(len(data)):
        found = paths.parse(data)
        if found is not None and found[1]:
            assert paths.parameters(found[1]) == (
                None
                if (given := model.parameters(found[1])) is None
                else {name.encode(): value for name, value in given.items()}
            )
    assert found == model.path(data)
    if found is not None:
        assert not re.search(r"[^\x20-\x7e]|[<>]\Z", found[0])


# What is in a message

STAMP: Final = headers.Stamp(
    MessageId.make(0, 1_795_446_608_123_456, bytes(range(16))), 1_795_446_608_123_456, "123456789012", "us-east-1",
    "relay.example.net", "email-smtp.us-east-1.relay.example.net", "ESMTPSA", "env@example.com", "192.0.2.25",
)  # fmt: skip
_OWN: Final = headers.rewrite(b"", STAMP).header
_RECEIVED, _OWN_DATE, _OWN_ID, _OWN_FROM, _OWN_FEEDBACK, _OUTGOING = re.findall(
    rb"[A-Z][^:]*: (?:[^\r]|\r\n\t)*\r\n", _OWN
)


def header(data: bytes) -> None:
    """``headers.rewrite``, against one that goes line by line. A bare CR or LF never comes so far (SMTP-10)."""
    data = re.sub(rb"\r(?!\n)|(?<!\r)\n", b"\r\n", data)
    with in_proportion(len(data)):
        try:
            read = headers.rewrite(data, STAMP)
            got: object = (read.header, data[read.consumed :], read.subject, read.hops)
        except Refused as refused:
            got = (refused.refusal, *refused.details)
    assert got == _slow_header(data)


def _slow_header(message: bytes) -> object:
    fields, rest = _fields(message)
    kept, seen, subject, hops = [], set(), b"", 0
    for field in fields:
        spelled = field.partition(b":")[0].rstrip(b" \t")
        name = spelled.lower()
        action = ACTIONS.get(name, -1)
        if PASS <= action < TAKE_OFF:
            if name in seen:
                return Refusal.DUPLICATE_HEADER, spelled.decode()
            seen.add(name)
        if action == NOTE:
            seen.add(name)
        hops += action == COUNT_HOP
        if action == READ_SUBJECT:
            subject = field.partition(b":")[2].removesuffix(b"\r\n")
        whole = field if field.endswith(b"\r\n") else field + b"\r\n"
        if name == b"date":
            kept.append(_OWN_DATE)
        elif name == b"message-id":
            kept.append(_OWN_ID)
        elif action in (-1, PASS, 1, 2, READ_SUBJECT, COUNT_HOP, NOTE):
            kept.append(whole)
    missing = ((b"date", _OWN_DATE), (b"message-id", _OWN_ID), (b"from", _OWN_FROM), (b"feedback-id", _OWN_FEEDBACK))
    added = [own for name, own in missing if name not in seen]
    return b"".join([_RECEIVED, *kept, *added, _OUTGOING, b"\r\n"]), rest, subject, hops


def _fields(message: bytes) -> tuple[list[bytes], bytes]:
    """The fields, each with its folded lines, and what follows the header."""
    fields: list[bytes] = []
    rest = message
    while rest:
        if rest.startswith(b"\r\n"):
            return fields, rest[2:]
        line, newline, behind = rest.partition(b"\r\n")
        if b"\r" in line or b"\n" in line:
            break
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += line + newline
        elif re.match(rb"[!-9;-~]+[ \t]*:", line):
            fields.append(line + newline)
        else:
            break
        rest = behind
    return fields, rest


def mailbox(data: bytes) -> None:
    """``mailboxes.parse``: boxes that are addresses, or a refusal in words of ours; the quick way as the slow one."""
    with in_proportion(len(data)):
        got = _mailboxes(data, mailboxes.parse)
    if len(data) <= mailboxes.LONGEST_FIELD:
        assert got == _mailboxes(data, _slow_mailboxes)
    if isinstance(got, str):
        assert got.isascii()
        assert got.isprintable()
        return
    assert got
    for box in got:
        mailboxes.check_address(box.address)
        assert box.address.isascii()
        assert "\r" not in box.address
        assert "\n" not in box.address


def _mailboxes(
    data: bytes, parse: Callable[[bytes], tuple[mailboxes.Mailbox, ...]]
) -> tuple[mailboxes.Mailbox, ...] | str:
    try:
        return parse(data)
    except Refused as refused:
        return refused.details[0] if refused.refusal is Refusal.MALFORMED else repr(refused.refusal) + "\0"


def _slow_mailboxes(data: bytes) -> tuple[mailboxes.Mailbox, ...]:
    text = re.sub(r"\r\n(?=[ \t])", "", data.decode("latin-1")).strip(" \t\r\n")
    return tuple(mailboxes._mailboxes(text)) or mailboxes.parse(b"")


# Delivery


def replies(data: bytes) -> None:
    """``ReplyReader.feed`` in pieces, against one that takes the lines apart when all are there."""
    octets, pieces = chunks(data)
    reader = ReplyReader()
    with in_proportion(len(octets)):
        got = [reply for piece in pieces for reply in reader.feed(piece)]
    expected, trouble = _slow_replies(octets)
    assert got == expected
    assert bool(reader.trouble) is trouble
    for reply in got:
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", str(reply).replace("\n", ""))


def _slow_replies(octets: bytes) -> tuple[list[Reply], bool]:
    found: list[Reply] = []
    lines: list[bytes] = []
    *complete, begun = octets.split(b"\n")
    for line in complete:
        lines.append(line)
        length = sum(len(each) + 1 for each in lines)
        if line[3:4] == b"-" and length <= REPLY_OCTETS:
            continue
        if length > REPLY_OCTETS or not all(re.match(rb"[2-5]\d\d([ -]|\r?\Z)", each) for each in lines):
            return found, True
        found.append(_slow_reply([each.rstrip(b"\r") for each in lines]))
        lines = []
    return found, sum(len(each) + 1 for each in lines) + len(begun) > REPLY_OCTETS


def _slow_reply(lines: list[bytes]) -> Reply:
    status, texts = "", []
    for line in lines:
        text = "".join(
            "?" if c != "\t" and (ord(c) < 32 or ord(c) == 127) else c
            for c in line[4:].decode("utf-8", "backslashreplace")
        )
        first, _, others = text.partition(" ")
        if re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", first, re.ASCII) and status in ("", first):
            status, text = first, others
        texts.append(text)
    return Reply(int(lines[-1][:3]), status, tuple(texts))


def conversation(data: bytes) -> None:
    """``Conversation`` with a server that says anything at all: every recipient gets one outcome, and only once.

    The first octet chooses our terms; a line of the rest is said by the server as it stands, with its line end, and
    one that begins with ``!`` is something that happens to us instead.
    """
    flags, octets = (data[:1] or b"\0")[0], data[1:]
    terms = Terms(
        "me.example", tls=("never", "opportunistic", "require")[flags % 3], user="u" * (flags & 4), password="p"
    )
    talk = Conversation(terms)
    begun = ended = 0
    with in_proportion(len(octets)):
        for line in octets.splitlines(keepends=True):
            if talk.closed:
                break
            if talk.wants_tls:
                talk.output.clear()
                talk.receive(b"250 in clear behind STARTTLS\r\n")
                assert not talk.output
                talk.tls_started()
            if talk.ready:
                talk.begin(Transaction("a@b.example", {3: "c@d.example", 8: "e@f.example"}, b".x\r\n", eight_bit=True))
                begun += 1
            if line.startswith(b"!broken"):
                talk.broken("it broke")
            elif line.startswith(b"!abandon") and not talk.content_sent:
                talk.abandon("we stop")
            else:
                talk.receive(line)
            while talk.has_content:
                talk.next_piece()
            ended += _take_outcome(talk)
            for said in talk.output:
                assert re.fullmatch(rb"([\x20-\x7e]*\r\n)+", said)
            talk.output.clear()
        talk.broken("the end")
        ended += _take_outcome(talk)
    assert begun == ended
    assert talk.closed
    assert not talk.ready


def _take_outcome(talk: Conversation) -> int:
    if talk.outcome is None:
        return 0
    assert set(talk.outcome.answers) == {3, 8}
    talk.outcome = None
    return 1


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target for target in (session, body, path, header, mailbox, replies, conversation)
}
WORDS: Final[dict[str, list[bytes]]] = {
    "session": [
        b"EHLO me\n",
        b"HELO ",
        b"AUTH PLAIN ",
        b"AUTH LOGIN\n",
        b"AHgAeA==",
        b"eHg=",
        b"*\n",
        b"MAIL FROM:",
        b"RCPT TO:",
        b"<a@b.example>",
        b" SIZE=",
        b" BODY=8BITMIME",
        b" AUTH=<>",
        b" SMTPUTF8",
        b"DATA\n",
        b"RSET\n",
        b"NOOP",
        b"QUIT\n",
        b"STARTTLS\n",
        b"VRFY x\n",
        b"\n",
        b"\r\n",
        b"\0",
        b"\xff",
        b"x" * 2050,
        b"TURN",
    ],
    "body": [b"\r\n", b".", b"\r", b"\n", b"\0", b"\r\n.\r\n", b"..", b"x" * 999, b"text", b"a" * 700],
    "path": [
        b"<",
        b">",
        b"@",
        b"a",
        b"b.example",
        b'"',
        b"\\",
        b".",
        b"-",
        b" ",
        b":",
        b",",
        b"SIZE=1",
        b"=",
        b"\t",
        b"l" * 64,
    ],
    "header": [
        b"\r\n",
        b" ",
        b"\t",
        b":",
        b"From: a@b\r\n",
        b"Date: x\r\n",
        b"message-id:y\r\n",
        b"Bcc: z\r\n",
        b"Return-Path: r\r\n",
        b"Received: by\r\n",
        b"Feedback-ID: f\r\n",
        b"Subject: s\r\n t\r\n",
        b"X-SES-MESSAGE-TAGS: t\r\n",
        b"\r",
        b"\n",
        b"To: u",
        b"no field",
        b"Body",
        b"\0",
        b"\xff",
    ],
    "mailbox": [
        b"a@b.example",
        b"c@d.example",
        b"Name ",
        b"<",
        b">",
        b'"',
        b"(",
        b")",
        b"[",
        b"]",
        b",",
        b":",
        b";",
        b"\\",
        b"@",
        b".",
        b"\r\n ",
        b"\xe9",
        b" ",
        b"=?utf-8?q?x?=",
    ],
    "replies": [
        b"250 ",
        b"250-",
        b"550 5.1.1 ",
        b"550-5.7.1 ",
        b"\r\n",
        b"\n",
        b"\r",
        b"Ok",
        b"\xff",
        b"\0",
        b"999",
        b"4",
        b"-",
    ],
    "conversation": [
        b"220 hi\r\n",
        b"250-me\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n",
        b"250 Ok\r\n",
        b"354 go\r\n",
        b"421 bye\r\n",
        b"550 no\r\n",
        b"451 later\r\n",
        b"235 in\r\n",
        b"334 VXNl\r\n",
        b"250-a\r\n250 SIZE 3\r\n",
        b"!broken\r\n",
        b"!abandon\r\n",
        b"502 what\r\n",
        b"nonsense\r\n",
        b"25",
        b"250 a\r\n250 b\r\n250 c\r\n",
    ],
}
"""What makes sense to a target, so that those who draw octets do not have to invent it."""

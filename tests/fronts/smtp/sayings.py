"""What clients say, as Hypothesis draws it: sense, near-sense and nonsense, and where it is cut on its way."""

from __future__ import annotations

import base64

from hypothesis import strategies as st

from tests.fronts.smtp.house import PASSWORD, PLAIN, USER

USER64, PASSWORD64 = base64.b64encode(USER.encode()), base64.b64encode(PASSWORD)
GREETINGS = [
    b"EHLO me", b"HELO me", b"ehlo [192.168.1.110]", b"EHLO", b"HELO \t", b"EHLO a\0b", b"EHLO \xc3\xbc", b"EHLO  a b ",
]  # fmt: skip
LOGINS = [
    b"AUTH PLAIN " + PLAIN, b"auth plain " + PLAIN, b"AUTH PLAIN", b"AUTH LOGIN", b"AUTH LOGIN " + USER64, b"AUTH",
    b"AUTH CRAM-MD5", b"AUTH PLAIN =", b"AUTH LOGIN =", b"AUTH PLAIN AHgAeA==", b"AUTH PLAIN !!!!", b"AUTH PLAIN AH=AA",
    b"AUTH PLAIN x " + PLAIN, b"AUTH  PLAIN  " + PLAIN,
]  # fmt: skip
RESPONSES = [PLAIN, USER64, PASSWORD64, b"*", b"=", b" ", b"QUIT", b"mail", b"AHgAeA==", b"A" * 8000, b"A" * 12_290]
MAILS = [
    b"MAIL FROM:<a@sender.example>", b"mail from: a@sender.example size=10", b"MAIL FROM:<a@b.example> BODY=8BITMIME",
    b"MAIL FROM:<a@sender.example> SIZE=5 AUTH=<> RET=HDRS ENVID=x", b"MAIL FROM:<>", b"MAIL FROM:<a>", b"MAIL FROM:",
    b"MAIL", b"MAIL TO:<a@b.example>", b"MAIL FROM:<a@b.example> SIZE=999999", b"MAIL FROM:<a@b.example> SIZE=x",
    b"MAIL FROM:<a@b.example> BODY=BINARYMIME", b"MAIL FROM:<a@b.example> SMTPUTF8", b"MAIL FROM:<a@b.example> X=Y",
    b"MAIL FROM:<a@b.example\0>", b"MAIL FROM:<\xc3\xa9@b.example>", b'MAIL FROM:<"a b"@c.example>',
    b"MAIL FROM:<a@b.example> =", b"MAIL FROM:<a@b.example>x",
]  # fmt: skip
RECIPIENTS = [
    b"RCPT TO:<b@example.com>", b"rcpt to: c@example.com", b"RCPT TO:<@x.example:d@example.com> NOTIFY=NEVER", b"RCPT",
    b"RCPT TO:<b>", b"RCPT TO:<b@example.com> X=1", b"RCPT FROM:<b@example.com>", b"RCPT TO:<b@[192.0.2.1]>",
    b"RCPT TO:<b@example.com>\x01", b"RCPT TO:<b@\xff>",
]  # fmt: skip
OTHERS = [
    b"DATA", b"data", b"DATA x", b"RSET", b"RSET x", b"NOOP", b"NOOP x", b"NOOP \x07", b"VRFY x", b"VRFY \x07", b"HELP",
    b"HELP \x07", b"EXPN l", b"TURN", b"STARTTLS x", b"XYZZY", b"", b" ", b"\xff", b"N\0", b".", b"..", b"QUIT x",
    b"NOOP\tx", b" NOOP", b"NOOP " + b"x" * 2044, b"VRFY " + b"x" * 2043, b"NOOP " + b"x" * 20_000, b"x" * 80_000,
    b"Subject: x", b"GET / HTTP/1.1", b"\x16\x03\x01\x02",
]  # fmt: skip
MESSAGE_LINES = [
    b"Subject: x", b"", b".x", b"..", b"x" * 998, b"x" * 999, b"\xff\xfe", b"a\0b", b"a\rb", b"a\nb", b"a\n.\nQUIT",
    b"a\r.\r", b"RSET", b"From: a@sender.example", b" ", b"a.b", b"z" * 900, b"\r",
]  # fmt: skip

GOOD_LOGIN = [b"EHLO me", b"AUTH PLAIN " + PLAIN]
ENVELOPE = [b"MAIL FROM:<a@sender.example>", b"RCPT TO:<b@example.com>", b"DATA"]


def any_of(lines: list[bytes]) -> st.SearchStrategy[bytes]:
    """As ``sampled_from``, whose own description of so long lines takes longer than the tests."""
    return st.integers(0, len(lines) - 1).map(lambda number: lines[number])


line = st.one_of(
    *map(any_of, (GREETINGS, LOGINS, RESPONSES, MAILS, RECIPIENTS, OTHERS)),
    st.binary(max_size=40).filter(lambda octets: b"\n" not in octets),
)
line_end = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\r\n"])
command = st.builds(lambda octets, end: octets + end, line, line_end)


def message(lines: list[bytes], ends: list[bytes]) -> bytes:
    """A message on the wire, its dots doubled, as DATA's client sends it."""
    body = b"".join(line + end for line, end in zip(lines, ends * 8, strict=False))
    return (b"." if body.startswith(b".") else b"") + body.replace(b"\r\n.", b"\r\n..") + b".\r\n"


data = st.builds(
    message,
    st.lists(any_of(MESSAGE_LINES), max_size=6),
    st.lists(st.sampled_from([b"\r\n"] * 8 + [b"\n"]), min_size=1, max_size=3),
)
transaction = st.builds(lambda octets: b"".join(line + b"\r\n" for line in ENVELOPE) + octets, data)
login = st.just(b"".join(line + b"\r\n" for line in GOOD_LOGIN))

cuts = st.lists(st.integers(0, 1 << 16), max_size=8)
near_the_end = st.lists(st.integers(-7, -1), max_size=5)
"""In the midst of CRLF.CRLF, as a rule."""


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """The octets in chunks, none of them empty; a negative place counts from the end."""
    ends = sorted({place % (len(octets) + 1) for place in places} | {len(octets)} - {0})
    return [octets[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]

"""The address grammar of MAIL and RCPT."""

from __future__ import annotations

import pytest

from sesrelay.fronts.smtp import paths


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (b"<a@b.example>", "a@b.example"),
        (b"a@b.example", "a@b.example"),
        (b"  <A.b@B.Example>", "A.b@B.Example"),
        (b"\t<a@b.example>\t", "a@b.example"),
        (b"<user+tag@b.example>", "user+tag@b.example"),
        (b"<a@localhost>", "a@localhost"),
        (b"<!#$%&'*+-/=?^_`{|}~@b.example>", "!#$%&'*+-/=?^_`{|}~@b.example"),
        (b'<"two words"@b.example>', '"two words"@b.example'),
        (b'<"a@b"@c.example>', '"a@b"@c.example'),
        (b'<"a\\"b"@c.example>', '"a\\"b"@c.example'),
        (b'<"plain.name"@b.example>', "plain.name@b.example"),
        (b'<"pl\\ain"@b.example>', "plain@b.example"),
        (b'"two words"@b.example', '"two words"@b.example'),
        (b"<@relay.example:a@b.example>", "a@b.example"),
        (b"<@one.example,@two.example:a@b.example>", "a@b.example"),
        (b"<a@xn--bcher-kva.example>", "a@xn--bcher-kva.example"),
        (b"<a@_tcp.b.example>", "a@_tcp.b.example"),
        (b"<" + b"l" * 64 + b"@b.example>", "l" * 64 + "@b.example"),
    ],
)
def test_an_address(text: bytes, address: str) -> None:
    parsed = paths.parse(text)
    assert parsed is not None
    assert parsed[0] == address


@pytest.mark.parametrize(
    "text",
    [
        b"", b" ", b"<>", b"<a>", b"a", b"<a@>", b"<@b.example>", b"@b.example", b"<a@b.example", b"a@b.example>",
        b"<a@@b.example>", b"<a@b@c.example>", b"<.a@b.example>", b"<a.@b.example>", b"<a..b@c.example>",
        b"<a b@c.example>", b"<a@b .example>", b"<a @b.example>", b"< a@b.example>", b"<a@b.example >",
        b"<a@b..example>", b"<a@.example>", b"<a@b.example.>", b"<a@-b.example>", b"<a@b-.example>", b"<a@b/c>",
        b"<a@[192.0.2.1]>", b"<a@[IPv6:::1]>", b"<a@b.example\0>", b"<a\0@b.example>", b"<a@b.example\r>",
        b"<a,c@b.example>", b"<(comment)a@b.example>", b"Name <a@b.example>", b"<<a@b.example>>", b"a@b.example,c@d.e",
        b"@relay.example:a@b.example", b"<@relay.example a@b.example>", b'<"@b.example>', b'<""@b.example>',
        b'<"a"b@c.example>', b"<\xc3\xa9@b.example>", b"<a@b\xc3\xa9.example>", b"<a@b.example>x", b"<a@b.example>\0",
        b"<" + b"l" * 65 + b"@b.example>", b"<a@" + b"d." * 128 + b"example>",
    ],
)  # fmt: skip
def test_no_address(text: bytes) -> None:
    assert paths.parse(text) is None


def test_parameters_come_behind_a_blank() -> None:
    assert paths.parse(b"<a@b.example> SIZE=1 BODY=7BIT ") == ("a@b.example", b"SIZE=1 BODY=7BIT ")
    assert paths.parse(b"a@b.example SIZE=1") == ("a@b.example", b"SIZE=1")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"SIZE=1", {b"SIZE": b"1"}),
        (b"size=1  Body=8BitMime", {b"SIZE": b"1", b"BODY": b"8BitMime"}),
        (b"SMTPUTF8", {b"SMTPUTF8": b""}),
        (b"AUTH=a+3Db@c", {b"AUTH": b"a+3Db@c"}),
        (b"X-Y=a=b", {b"X-Y": b"a=b"}),
        (b"SIZE=", None),
        (b"=1", None),
        (b"<>", None),
    ],
)
def test_parameters(text: bytes, found: dict[bytes, bytes] | None) -> None:
    assert paths.parameters(text) == found


def test_an_address_of_the_longest_line_is_judged_in_no_time() -> None:
    for evil in (b"<" + b"a." * 6000 + b"@", b"<a@" + b"a-" * 6000 + b">", b'<"' + b"\\a" * 6000, b"<@" + b"a," * 6000):
        assert paths.parse(evil) is None

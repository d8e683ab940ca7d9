from __future__ import annotations

from collections.abc import Callable
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import mimefields
from sesrelay.rules.mimefields import Content, boundary, content_type, disposition, encoding


@pytest.mark.parametrize(
    ("field", "content"),
    [
        (b" text/plain", Content(b"text/plain")),
        (b"TEXT/HTML; charset=utf-8", Content(b"text/html", ((b"charset", b"utf-8"),))),
        (b" text/html;", Content(b"text/html")),
        (b' multipart/mixed;\r\n\tboundary="a b"', Content(b"multipart/mixed", ((b"boundary", b'"a b"'),))),
        (b" (c) text (d) / (e (f)) plain (g) ; (h) A (i) = (j) b (k) ; (l)", Content(b"text/plain", ((b"a", b"b"),))),
        (b" a/x; name=\xfc.pdf; a*0*=b'c'd", Content(b"a/x", ((b"name", b"\xfc.pdf"), (b"a*0*", b"b'c'd")))),
        (b' a/b; x="; name=no"; y="\\""', Content(b"a/b", ((b"x", b'"; name=no"'), (b"y", b'"\\""')))),
    ],
)  # fmt: skip
def test_what_a_content_type_says(field: bytes, content: Content) -> None:
    assert content_type(field) == content
    assert content_type(field, strict=False) == content


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (b"", "Expected MIME type, got null"),
        (b" ;", "Expected MIME type, got ;"),
        (b' "text"/plain', "Expected MIME type, got text"),
        (b" text", "Expected '/', got null"),
        (b" text; charset=x", "Expected '/', got ;"),
        (b" text html", "Expected '/', got html"),
        (b" text/", "Expected MIME subtype, got null"),
        (b" text/;", "Expected MIME subtype, got ;"),
        (b" text/plain:", "Expected ';', got \":\""),
        (b" text/plain charset=x", "Expected ';', got \"charset\""),
        (b" text/plain; name=a b.pdf", "Expected ';', got \"b.pdf\""),
        (b" text/plain; a=b=c", "Expected ';', got \"=\""),
        (b" text/plain; =x", "Expected parameter name, got \"=\""),
        (b" text/plain;; a=b", "Expected parameter name, got \";\""),
        (b' text/plain; "a"=b', "Expected parameter name, got \"a\""),
        (b" text/plain; charset", "Expected '=', got \"null\""),
        (b" text/plain; charset: x", "Expected '=', got \":\""),
        (b" text/plain; charset=", "Expected parameter value, got \"null\""),
        (b" text/plain; charset=;", "Expected parameter value, got \";\""),
        (b' text/plain; a="b', "Unbalanced quoted string"),
        (b" text/plain (a", "Unbalanced comments"),
        (b" text/plain; a=b)", "Unbalanced comments"),
        (b" a/b" + b"; c=d" * 65, "Content field has more than 64 parameters"),
        (b" a/b; c=" + b"d" * 8192, "Content field is longer than 8192 octets"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_content_type_that_cannot_be_read_is_refused_in_javamails_words(field: bytes, words: str) -> None:
    with pytest.raises(Refused) as caught:
        content_type(field)
    assert (caught.value.refusal, caught.value.details) == (Refusal.MALFORMED_MIME, (words,))


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (b" =?utf-8?q?attachment?=", "Expected disposition, got ="),
        (b"", "Expected disposition, got null"),
        (b" attachment filename=x", "Expected ';', got \"filename\""),
        (b" attachment; filename=a b.pdf", "Expected ';', got \"b.pdf\""),
    ],
)
def test_a_disposition_too(field: bytes, words: str) -> None:
    with pytest.raises(Refused) as caught:
        disposition(field)
    assert (caught.value.refusal, caught.value.details) == (Refusal.MALFORMED_MIME, (words,))
    assert disposition(b' ATTACHMENT ; FileName="a b"') == ((b"filename", b'"a b"'),)


@pytest.mark.parametrize(
    ("field", "content"),
    [
        (b"", Content(b"text/plain")),
        (b" what", Content(b"text/plain")),
        (b" text/HTML charset=x; name = evil.exe ;", Content(b"text/html", ((b"name", b"evil.exe"),))),
        (b" a/b; filename*0=c d.e; boundary=f g", Content(b"a/b", ((b"filename*0", b"c d.e"), (b"boundary", b"f g")))),
    ],
)  # fmt: skip
def test_in_an_attached_message_whatever_can_be_read_counts(field: bytes, content: Content) -> None:
    assert content_type(field, strict=False) == content


@pytest.mark.parametrize(
    ("field", "name"),
    [(b" base64", b"base64"), (b"BASE64 ", b"base64"), (b" (c) Quoted-Printable; x", b"quoted-printable"), (b" ", b"")],
)
def test_encodings(field: bytes, name: bytes) -> None:
    assert encoding(field) == name


def test_a_boundary_is_read_without_its_quotes_and_blanks_and_must_be_one() -> None:
    assert boundary(content_type(b' multipart/x; boundary="a b  "')) == b"a b"
    assert boundary(content_type(b" multipart/x; a=b")) == b""
    two = content_type(b" multipart/x; boundary=a; boundary=b")
    with pytest.raises(Refused) as caught:
        boundary(two)
    assert caught.value.details == ("Duplicate parameter 'boundary'",)
    assert boundary(two, strict=False) == b"a"


tokens = st.text("abcXYZ09-._+!#$%&'*^`{|}~", min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30)


@given(tokens, tokens, st.dictionaries(st.text("abcd", min_size=1), values, max_size=6))
def test_what_the_standard_library_writes_is_read_as_it_was_meant(
    main: str, sub: str, parameters: dict[str, str]
) -> None:
    message = Message()
    message.add_header("X", f"{main}/{sub}", **parameters)
    read = content_type(message["X"].encode())
    assert read.kind == f"{main}/{sub}".lower().encode()
    assert {n.decode(): mimefields.unquoted(v).decode() for n, v in read.parameters} == parameters


@given(st.text('a/;="\\() \t\r\n:\xfc', max_size=40))
def test_whatever_comes_is_read_or_refused_by_name_and_read_somehow_in_an_attached_message(text: str) -> None:
    field = text.encode("latin-1")
    for read in (content_type, disposition):
        assert refusal_of(read, field) in (None, Refusal.MALFORMED_MIME)
        read(field, strict=False)


def refusal_of(read: Callable[[bytes], object], field: bytes) -> Refusal | None:
    try:
        read(field)
    except Refused as refused:
        return refused.refusal
    return None


@pytest.mark.parametrize(
    "field",
    [b" a/b; c=" + b"(" * 8000, b' a/b; c="' + b"\\" * 8000, b"(" * 8000, b"()" * 4000, b" a/b" + b"; a" * 2600],
)
@pytest.mark.timeout(10)
def test_no_field_takes_long(field: bytes) -> None:
    with pytest.raises(Refused):
        content_type(field)
    content_type(field, strict=False)

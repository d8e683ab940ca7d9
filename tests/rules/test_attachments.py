from __future__ import annotations

import base64
from email.header import Header
from email.message import EmailMessage
from email.utils import encode_rfc2231

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.rules.attachments import UNSUPPORTED, from_base64, unquoted, unsupported_extension
from sesrelay.rules.mimefields import disposition


def found(parameters: bytes) -> str:
    return unsupported_extension(disposition(b" attachment; " + parameters))


def test_all_90_extensions_of_the_guides_appendix_are_there() -> None:
    assert len(UNSUPPORTED) == 90
    assert {b"ade", b"com", b"exe", b"js", b"msh2xml", b"ps1", b"url", b"vsmacros", b"xnk"} < UNSUPPORTED


@pytest.mark.parametrize("extension", sorted(UNSUPPORTED))
def test_each_of_them_is_refused_and_named(extension: bytes) -> None:
    assert found(b"filename=report." + extension) == extension.decode()
    assert found(b'filename="My Report.' + extension.upper() + b'"') == extension.decode()


DISGUISES = [
    b"filename=evil.exe",
    b'FileName="EVIL.ExE"',
    b'filename="evil.exe."',
    b'filename="evil.exe . . "',
    b'filename="evil.exe  "',
    b"name=evil.exe",
    b"filename=fine.txt; name=evil.exe",
    b"filename=fine.txt; filename=evil.exe",
    b'filename="ev\\il.e\\xe"',
    b'filename="fine.txt\\".exe"',
    b"filename*=utf-8''evil.exe",
    b"filename*=utf-8'en'ev%69l%2Eex%65",
    b"filename*=evil.exe",
    b"filename=fine.txt; filename*=us-ascii''evil.exe",
    b"filename*0=ev; filename*1=il.; filename*2=exe",
    b"filename*2=exe; filename*1=il.; filename*0=ev",
    b"filename*0*=utf-8''%C3%BCbel; filename*1=.e; filename*2*=%78e",
    b"filename*10=e; filename*9=x; filename*0=a.e",
    b'filename="=?utf-8?B?ZXZpbC5leGU=?="',
    b'filename="=?UTF-8?q?evil=2Eexe?="',
    b'filename="=?utf-8?q?evil=2E?= =?utf-8?b?ZXhl?="',
    b'filename="=?utf-8?q?evil?=.exe"',
    b'filename="=?utf-8?b?ZXZpbC5leGUu?= "',
    b"filename*=utf-16le''e%00v%00i%00l%00.%00e%00x%00e%00",
    b'filename="fine.txt.exe"',
    b"filename=\xfcbel.exe",
    b'filename="a;b=c.exe"',
    b"filename=.exe",
    b"filename=\"'evil.exe'\"",
]


@pytest.mark.parametrize("parameters", DISGUISES)
def test_a_name_is_known_in_its_disguise(parameters: bytes) -> None:
    assert found(parameters) == "exe"


@pytest.mark.parametrize(
    "parameters",
    [
        b"filename=fine.exe.txt",
        b"filename=exe",
        b'filename="evil.exe?"',
        b"filename=fine.exes",
        b"filename=fine.pdf; charset=evil.exe",
        b"xfilename=evil.exe",
        b"filename*x=evil.exe",
        b"filename*0=evil.exe; filename*1=.txt",
        b"filename=",
        b'filename=""',
        b"filename=...",
        b"filename*=''",
        b'filename="=?utf-8?x?ZXZpbC5leGU=?="',
        b'filename="=?utf-8?b?ZXZpbC5leGU=?=.txt"',
        b"filename=fine.docx",
        b'filename="fine .zip"',
    ],
)
def test_other_names_pass(parameters: bytes) -> None:
    assert unsupported_extension(disposition(b" a; " + parameters, strict=False)) == ""


names = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters='"\\', exclude_categories=("Cs",)),
    min_size=1,
    max_size=60,
)
extensions = st.sampled_from([*sorted(UNSUPPORTED), b"txt", b"pdf", b"exx"]).map(bytes.decode)


@given(names, extensions)
def test_whatever_the_standard_library_makes_of_a_name_its_extension_is_found(name: str, extension: str) -> None:
    expected = extension if extension.encode() in UNSUPPORTED else ""
    whole = f"{name}.{extension}"
    message = EmailMessage()
    message.add_attachment(b"x", maintype="application", subtype="octet-stream", filename=whole)
    (attachment,) = message.iter_attachments()
    header = bytes(attachment).partition(b"\n\n")[0].replace(b"\n", b"\r\n")
    field = header.partition(b"Content-Disposition:")[2].partition(b"\r\nMIME")[0]
    assert unsupported_extension(disposition(field)) == expected
    extended = encode_rfc2231(whole, "utf-8").encode()
    assert found(b"filename*=" + extended) == expected
    words = Header(whole, "utf-8", maxlinelen=60).encode().encode()
    assert found(b'filename="' + words + b'"') == expected


@given(st.binary(max_size=80))
def test_whatever_the_parameters_are_the_answer_is_an_extension_or_none(value: bytes) -> None:
    for name in (b"name", b"filename*", b"filename*0", b"filename*99*"):
        answer = unsupported_extension([(name, value), (name, b'"' + value)])
        assert answer == "" or answer.encode() in UNSUPPORTED


def test_a_name_of_many_encoded_words_is_read_where_its_extension_is() -> None:
    letters = b"".join(b"=?utf-8?q?%c?= " % letter for letter in b"x" * 300 + b".vsmacros")
    assert found(b'filename="%b"' % letters) == "vsmacros"


@given(st.binary(max_size=60), st.binary(max_size=5).filter(lambda b: not set(b) & set(b"=")))
def test_base64_is_read_whatever_stands_between(content: bytes, between: bytes) -> None:
    clean = base64.b64encode(content)
    noise = bytes(set(between) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
    assert from_base64(noise.join([clean[:3], clean[3:7], clean[7:]])) == content


def test_quotes_are_taken_off() -> None:
    assert unquoted(b'"a\\"b\\\\c"') == b'a"b\\c'
    assert unquoted(b"a") == b"a"
    assert unquoted(b'"') == b""

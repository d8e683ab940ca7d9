"""Messages of 10 MB that are made to cost much."""

from __future__ import annotations

import base64
from collections.abc import Callable

from sesrelay.rules.content import DEEPEST, MOST_PARTS

SIZE = 10 * 1024 * 1024


def filled(beginning: bytes, filling: bytes, end: bytes = b"") -> bytes:
    """As often as it takes for the size of a message."""
    return beginning + filling * ((SIZE - len(beginning) - len(end)) // len(filling)) + end


def multipart(boundary: bytes) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n"


def nested(levels: int, name: Callable[[int], bytes]) -> bytes:
    """The beginning of a message of so many multiparts within each other."""
    return b"".join(multipart(name(level)) + b"--" + name(level) + b"\r\n" for level in range(levels))


def html(encoding: bytes) -> bytes:
    return b"Content-Type: text/html\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n"


def base64_lines(content: bytes) -> bytes:
    return base64.encodebytes(content).replace(b"\n", b"\r\n")


def many_parts(header: bytes) -> bytes:
    part = b"--b\r\n" + header + b"\r\n\r\n"
    return filled(multipart(b"b") + part * min(MOST_PARTS, SIZE // len(part)), b"x" * 76 + b"\r\n")


HOSTILE: dict[str, bytes] = {
    "as many boundaries as fit": filled(multipart(b"b"), b"--b\r\n"),
    "as many lookalikes as fit": filled(multipart(b"b") + b"--b\r\n", b"--bb\r\n"),
    "beginnings of a short boundary": filled(multipart(b"bb") + b"--bb\r\n", b"\r\n--b"),
    "beginnings of a boundary": filled(multipart(b"abcdefg") + b"--abcdefg\r\n", b"\r\n--abcdef"),
    "beginnings of a long boundary": filled(multipart(b"a" * 69 + b"b") + b"--x\r\n", b"\r\n--" + b"a" * 69),
    "dashes": filled(multipart(b"-" * 70), b"-" * 69 + b"\r\n"),
    "multiparts within each other": filled(nested(DEEPEST + 5, b"n%d".__mod__), b"x" * 76 + b"\r\n"),
    "as deep as it may be, over beginnings": filled(nested(6, b"abcdef%d".__mod__), b"\r\n--abcdef"),
    "as deep as it may be, over short beginnings": filled(nested(6, b"a%d".__mod__), b"\r\n--a"),
    "attached messages within each other": filled(b"", b"Content-Type: message/rfc822\r\n\r\n"),
    "a header of a part without end": filled(multipart(b"b") + b"--b\r\n", b"a: b\r\n"),
    "long headers": many_parts(b"Content-A: b\r\n" * 4600),
    "long headers of capitals": many_parts(b"CONTENT-TYP: b\r\n" * 4000),
    "headers of many parameters": many_parts(b"Content-Type: a/b" + b";a=b" * 64),
    "headers of long parameters": many_parts(b"Content-Type: a/b" + b';a="' + b"\\a" * 4000 + b'"'),
    "names in many pieces": many_parts(b"Content-Disposition: a" + b"".join(b";name*%d*=%%41" % n for n in range(64))),
    "names of many encoded words": many_parts(b'Content-Disposition: a; name="' + b"=?a?q?=41?= " * 600 + b'"'),
    "headers of many parameters, as many as may be": many_parts(b"Content-Type: a/b" + b";a=b" * 8),
    "names in many pieces, as many as may be": many_parts(
        b"Content-Disposition: a" + b"".join(b";name*%d*=%%41" % n for n in range(8))
    ),
    "names of encoded words, as long as may be": many_parts(
        b'Content-Disposition: a; name="' + b"=?a?q?=41?= " * 40 + b'"'
    ),
    "headers as long as may be": many_parts(b"CONTENT-TYP: b\r\n" * 240),
    "comments": many_parts(b"Content-Type: a/b " + b"(())" * 2000),
    "base64 HTML": filled(html(b"base64"), base64_lines(b" data:a; data, <p>data, more text")),
    "base64 HTML deep within": filled(nested(1, b"abcdefg%d".__mod__) + html(b"base64"), b"QUFB\r\n--abcdefg\r\n"),
    "quoted-printable HTML": filled(
        html(b"quoted-printable"), b"=3D=41 data=\r\n: =20 " + b"=41=42=43=44=45=46=47=48 data=\r\n" * 12
    ),
    "plain HTML": filled(html(b"8bit"), b'<a b="data:a' + b" " * 25),
    "HTML of suspects": filled(html(b"8bit"), b" a=data:/;" + b" " * 25),
    "HTML of suspects, as many as may be": filled(
        html(b"8bit") + b"".join(b'<a b="data:,' + b"x" * 4000 for _ in range(1900)), b"<" * 40 + b" data:a"
    ),
    "HTML of tags without end": filled(html(b"8bit"), b"<a 'data:x,"),
    "HTML of styles": filled(
        html(b"8bit"), b"<styl </styl <style url( data:;<styl </styl <style x=y </style>" + b"<style x" * 12
    ),
    "an encoded attached message": filled(
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n", base64_lines(b"a: b\n" * 11)
    ),
    "an encoded attached HTML message": filled(
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        base64_lines(b" data:a; data, <p>data, more text"),
    ),
}

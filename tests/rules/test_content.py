from __future__ import annotations

import base64
import hashlib
import quopri
import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules.content import MOST_PARTS, Fields, check, is_decided
from sesrelay.rules.headers import rewrite
from tests.rules.hostile import HOSTILE
from tests.rules.test_headers import STAMP

CRLF = b"\r\n"


def judged(message: bytes) -> tuple[object, ...] | None:
    """What is said about a message: the refusal's name and details; None: it passes."""
    try:
        read = rewrite(message, STAMP)
        if not is_decided(read.content):
            check(message, read.consumed, read.content)
    except Refused as refused:
        return refused.refusal, *refused.details
    return None


def of(boundary: bytes, *parts: bytes) -> bytes:
    """A multipart of these parts, each with its header and empty line."""
    lines = b"".join(b"--" + boundary + CRLF + part + CRLF for part in parts)
    header = b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n\r\n'
    return header + b"preamble\r\n" + lines + b"--" + boundary + b"--\r\n"


TEXT = b"\r\nHello\r\n"
EXE = b"Content-Disposition: attachment; filename=evil.exe\r\n\r\nMZ"
HTML = b"Content-Type: text/html\r\n\r\n<img src='data:image/png;base64,AAAA'>"
STATUS = b"Content-Type: message/delivery-status\r\n\r\nAction: failed"
FORWARDED = b"Content-Type: message/rfc822\r\n\r\n"
BASE64 = b"Content-Transfer-Encoding: base64\r\n"
QP = b"Content-Transfer-Encoding: quoted-printable\r\n"
R = Refusal
b64 = base64.encodebytes

REFUSED = [
    (EXE, R.UNSUPPORTED_ATTACHMENT, "exe", ""),
    (b"Content-Type: application/x; name=evil.VBS\r\n\r\n", R.UNSUPPORTED_ATTACHMENT, "vbs", ""),
    (b"Content-Type: text/plain; name=evil.bat\r\n\r\n", R.UNSUPPORTED_ATTACHMENT, "bat", ""),
    (HTML, R.DATA_URI, ""),
    (STATUS, R.DELIVERY_STATUS, ""),
    (of(b"b", TEXT, EXE), R.UNSUPPORTED_ATTACHMENT, "exe", "part 2"),
    (of(b"b", EXE, HTML), R.UNSUPPORTED_ATTACHMENT, "exe", "part 1"),
    (of(b"b", TEXT, of(b"c", TEXT, TEXT, STATUS)), R.DELIVERY_STATUS, "part 2.3"),
    (of(b"b", of(b"bb", TEXT), TEXT, HTML), R.DATA_URI, "part 3"),
    (of(b"b", FORWARDED + EXE), R.UNSUPPORTED_ATTACHMENT, "exe", "part 1"),
    (of(b"b", TEXT, FORWARDED + of(b"b2", TEXT, EXE)), R.UNSUPPORTED_ATTACHMENT, "exe", "part 2.2"),
    (FORWARDED + FORWARDED + of(b"c", STATUS), R.DELIVERY_STATUS, "part 1"),
    (b"Content-Type: message/rfc822; name=x.url\r\n\r\n" + TEXT, R.UNSUPPORTED_ATTACHMENT, "url", ""),
    (BASE64 + FORWARDED + b64(of(b"c", EXE)), R.UNSUPPORTED_ATTACHMENT, "exe", "part 1"),
    (BASE64 + FORWARDED + b64(of(b"c", EXE).replace(CRLF, b"\n")), R.UNSUPPORTED_ATTACHMENT, "exe", "part 1"),
    (of(b"b", CRLF + EXE).replace(b"mixed", b"digest"), R.UNSUPPORTED_ATTACHMENT, "exe", "part 1"),
    (b"Content-Type: text/html\r\n" + BASE64 + CRLF + b64(HTML), R.DATA_URI, ""),
    (b"Content-Type: text/html\r\n" + QP + b"\r\n<p b=3D'da=\r\nta:,x'>", R.DATA_URI, ""),
    (b"Content-Type: Application/XHTML+xml\r\n\r\n<p b='data:,x'/>", R.DATA_URI, ""),
    # Malformed MIME: the sender's own
    (b"Content-Type: multipart/mixed\r\n\r\nx", R.MISSING_BOUNDARY, ""),
    (b'Content-Type: multipart/mixed; boundary=""\r\n\r\nx', R.MISSING_BOUNDARY, ""),
    (b"Content-Type: multipart/mixed; boundary=b\r\n\r\nx", R.MISSING_START_BOUNDARY, ""),
    (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n", R.MISSING_START_BOUNDARY, ""),
    (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--bc\r\n-- b\r\n", R.MISSING_START_BOUNDARY, ""),
    (b"Content-Type: multipart/mixed; boundary=b", R.MISSING_START_BOUNDARY, ""),
    (of(b"b", TEXT, b"Content-Type: multipart/x; boundary=c\r\n\r\nx"), R.MISSING_START_BOUNDARY, "part 2"),
    (of(b"b", b"Content-Type: text; a\r\n\r\nx"), R.MALFORMED_MIME, "Expected '/', got ;", "part 1"),
    (of(b"b", b"Content-Disposition: =\r\n\r\nx"), R.MALFORMED_MIME, "Expected disposition, got =", "part 1"),
    (of(b"b", b"Content-Type: a/b\r\nX: y\r\nCONTENT-Type: c/d"), R.DUPLICATE_HEADER, "CONTENT-Type", "part 1"),
    (b"Content-Type: a/b\r\nContent-type: c/d\r\n\r\nx", R.DUPLICATE_HEADER, "Content-type"),
    # Where readers differ, all of it counts
    (of(b"b", b"no field\r\n" + EXE), R.UNSUPPORTED_ATTACHMENT, "exe", "part 1"),
    (of(b"b", b"Content-Disposition : a;\r\n\tfilename\r\n =evil.exe"), R.UNSUPPORTED_ATTACHMENT, "exe", "part 1"),
    (of(b"b", TEXT)[:-7] + b"--b \t\r\n" + EXE, R.UNSUPPORTED_ATTACHMENT, "exe", "part 2"),
    (FORWARDED + b"Content-Type: a/b\r\n" * 17 + CRLF, R.DUPLICATE_HEADER, "Content-Type", ""),
    # Caps
    (of(b"b", *[TEXT] * (MOST_PARTS + 1)), R.TOO_MANY_PARTS, ""),
    (of(b"b", *[of(b"c", *[TEXT] * 50)] * 10), R.TOO_MANY_PARTS, "part 10"),
    (of(b"b", TEXT + b"\r\n--b." * 1001), R.TOO_MANY_PARTS, ""),
    (FORWARDED * 51, R.NESTED_TOO_DEEPLY, ""),
    (of(b"b", TEXT, b"X: " + b"y" * 65_540), R.PART_HEADER_TOO_LONG, "part 2"),
    (of(b"b", *[b"X: " + b"y" * 60_000 + b"\r\n\r\n"] * 40), R.PART_HEADER_TOO_LONG, "part 35"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "said"), [(row[0], row[1:]) for row in REFUSED], ids=lambda v: repr(v)[:60])
def test_what_is_refused_and_where(message: bytes, said: tuple[object, ...]) -> None:
    assert judged(message) == said
    assert judged(b"From: a@b.example\r\nMIME-Version: 1.0\r\n" + message) == said


PASSED = [
    b"",
    TEXT,
    b"Content-Type: text/plain; charset=utf-8; format=flowed\r\n\r\n<img src='data:image/png;base64,AAAA'>",
    b"Content-Disposition: inline\r\n\r\nx",
    b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>Hello",
    b"Content-Type: text/html\r\n" + BASE64 + b"\r\n*",
    of(b"b", TEXT, TEXT),
    of(b"b", b""),
    of(b"b", b"X: y"),
    of(b"b", b"Content-Disposition: attachment; filename=fine.pdf\r\n\r\n%PDF"),
    of(b"b", TEXT, of(b"bb", TEXT, TEXT), of(b"b-", TEXT)),
    of(b"b", TEXT)[:-5],  # without its last boundary
    of(b"b", TEXT) + EXE + b"\r\n--b\r\n" + EXE,  # behind the last boundary nobody looks
    of(b"b", *[TEXT] * MOST_PARTS),
    of(b"b", TEXT + b"\r\n--b." * 1000),
    FORWARDED * 50,
    of(b"b", b"X: " + b"y" * 65_000 + b"\r\n\r\n"),
    b"Content-Type: multipart/mixed; boundary=b\r\n" + BASE64 + of(b"b", TEXT).partition(CRLF)[2],
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b",
    b"Content-Type: image/png\r\nContent-Transfer-Encoding: utf-8\r\n\r\n\x00",
    # An attached message may be as broken as it likes
    FORWARDED + b"Content-Type: multipart/mixed\r\n\r\nx",
    FORWARDED + b"Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\nx",
    FORWARDED + b"Content-Type: what\r\nContent-Disposition: =\r\nContent-Type: x\r\n\r\nx",
    FORWARDED,
    BASE64 + FORWARDED + b"not base64",
    b"X: y\r\nno field\r\n" + EXE,
]


@pytest.mark.parametrize("message", PASSED, ids=lambda v: repr(v)[:60])
def test_what_passes(message: bytes) -> None:
    assert judged(message) is None


@pytest.mark.parametrize(
    ("fields", "decided"),
    [
        ((None, None, None), True),
        ((b" text/plain", None, b" base64"), True),
        ((b' TEXT/Plain;\r\n\tcharset="utf-8"; format=flowed;', None, None), True),
        ((b" text/plain; name=x", None, None), False),
        ((b" text/plain; charset=a b", None, None), False),
        ((b" text/plain; x=y", None, None), False),
        ((b" text/html", None, None), False),
        ((b"", None, None), False),
        ((None, b" inline", None), False),
    ],
)
def test_a_plain_text_is_decided_by_its_header(fields: tuple[bytes | None, ...], decided: bool) -> None:
    assert is_decided(Fields(*fields)) is decided


class Tree(NamedTuple):
    """A part that was made, and what must be found in it, with the path from itself; None: nothing."""

    octets: bytes
    found: tuple[Refusal, tuple[int, ...]] | None
    boundaries: tuple[str, ...] = ()


def leaf(header: bytes, body: bytes, refusal: Refusal | None) -> Tree:
    return Tree(header + CRLF + body, (refusal, ()) if refusal else None)


def html(body: bytes, encoding: str, refusal: Refusal | None) -> Tree:
    encoders: dict[str, Callable[[bytes], bytes]] = {
        "base64": lambda text: base64.encodebytes(text).replace(b"\n", CRLF),
        "quoted-printable": lambda text: quopri.encodestring(text).replace(b"\n", CRLF),
        "8bit": lambda text: text,
    }
    header = f"Content-Type: text/html; charset=utf-8\r\ncontent-transfer-encoding: {encoding}\r\n".encode()
    return leaf(header, encoders[encoding](body), refusal)


encodings = st.sampled_from(["base64", "quoted-printable", "8bit"])
innocent = st.text(max_size=60).map(lambda text: text.replace("\r", "").replace("\n", "\r\n").encode())
leaves = st.one_of(
    innocent.map(lambda text: leaf(b"", text, None)),
    innocent.map(lambda text: leaf(b"Content-Type: text/plain\r\n", text + b"<img src='data:,x'>", None)),
    st.builds(lambda text, how: html(b"<p>" + text.replace(b"data", b""), how, None), innocent, encodings),
    st.builds(
        lambda text, how: html(text.replace(b"<", b"") + b"<img src='data:,x'>", how, Refusal.DATA_URI),
        innocent,
        encodings,
    ),
    st.just(leaf(b"Content-Type: application/pdf; name=fine.pdf\r\n", b"%PDF", None)),
    st.just(
        leaf(b"X: y\r\nContent-Disposition: a;\r\n filename*=utf-8''a%2Epif\r\n", b"x", Refusal.UNSUPPORTED_ATTACHMENT)
    ),
    st.just(leaf(b"Content-Type: message/delivery-status\r\n", b"Action: failed", Refusal.DELIVERY_STATUS)),
)


def joined(trees: list[Tree], boundary: str) -> Tree:
    inner = [(number, tree.found) for number, tree in enumerate(trees, 1) if tree.found]
    found = (inner[0][1][0], (inner[0][0], *inner[0][1][1])) if inner and inner[0][1] else None
    boundaries = (boundary, *[name for tree in trees for name in tree.boundaries])
    return Tree(of(boundary.encode(), *[tree.octets for tree in trees]), found, boundaries)


def forwarded(tree: Tree, how: str) -> Tree:
    if how == "base64":
        return tree._replace(octets=BASE64 + FORWARDED + b64(tree.octets).replace(b"\n", CRLF))
    return tree._replace(octets=FORWARDED + tree.octets)


boundaries = st.integers(0, 10**9).map("=_{}".format)  # some begin as others do
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(joined, st.lists(inner, min_size=1, max_size=4), boundaries), st.builds(forwarded, inner, encodings)
    ),
    max_leaves=12,
)


def clear(tree: Tree) -> bool:
    """By chance a boundary may be that of two multiparts within each other: then nobody could tell them apart."""
    return len(set(tree.boundaries)) == len(tree.boundaries)


@settings(max_examples=300, deadline=None)
@given(trees.filter(clear))
def test_what_was_built_is_what_is_found(tree: Tree) -> None:
    if tree.found is None:
        assert judged(tree.octets) is None
        return
    refusal, path = tree.found
    said = judged(tree.octets)
    assert said is not None
    assert (said[0], said[-1]) == (refusal, f"part {'.'.join(map(str, path))}" if path else "")


@settings(max_examples=300, deadline=None)
@given(trees, st.data())
def test_no_octet_can_be_changed_so_that_anything_is_raised_but_a_refusal(tree: Tree, data: st.DataObject) -> None:
    octets = bytearray(tree.octets)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(octets)))
        end = data.draw(st.integers(at, min(at + 30, len(octets))))
        octets[at:end] = data.draw(
            st.sampled_from([b"", b"\r\n", b"--", b'"', b";", b"=", b":", b"\n", b"(", octets[end : end + 40]])
        )
    said = judged(bytes(octets))
    assert said is None or isinstance(said[0], Refusal)


class Mapped:
    """As a mapped file: no ``bytes``, but slices are."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    def __len__(self) -> int:
        return len(self.octets)

    def __getitem__(self, place: slice) -> bytes:
        return self.octets[place]


@settings(max_examples=100, deadline=None)
@given(trees)
def test_a_message_in_a_file_is_judged_as_one_in_memory(tree: Tree) -> None:
    read = rewrite(tree.octets, STAMP)

    def said(octets: object, start: int) -> object:
        try:
            check(octets, start, read.content)  # type: ignore[arg-type]
        except Refused as refused:
            return refused.args
        return None

    assert said(Mapped(b"\0" * 100 + tree.octets[read.consumed :]), 100) == said(tree.octets, read.consumed)


def least(function: Callable[[], object], times: int) -> float:
    """Seconds of this thread, at the best of so many times."""
    best = float("inf")
    for _ in range(times):
        begin = time.thread_time()
        function()
        best = min(best, time.thread_time() - begin)
    return best


@pytest.mark.parametrize("name", HOSTILE)
def test_no_message_costs_more_than_ten_times_its_hash(name: str) -> None:
    """Least of several, until it is so: others use the machine as well."""
    message = HOSTILE[name]
    check_seconds = hash_seconds = float("inf")
    for _ in range(20):
        hash_seconds = min(hash_seconds, least(lambda: hashlib.sha256(message).digest(), 3))
        check_seconds = min(check_seconds, least(lambda: judged(message), 2))
        if check_seconds <= 10 * hash_seconds:
            return
    raise AssertionError(f"{check_seconds / hash_seconds:.1f} times")


def test_memory_does_not_grow_with_the_message() -> None:
    message = HOSTILE["base64 HTML"]
    tracemalloc.start()
    try:
        judged(message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024


def test_a_message_of_ten_megabytes_within_usual_multiparts_is_looked_through() -> None:
    attachment = b"Content-Type: application/zip\r\n" + BASE64 + CRLF + (b"QUFB" * 19 + CRLF) * 130_000
    message = of(b"a", of(b"b", of(b"c", TEXT, b"Content-Type: text/html\r\n\r\n<p>"), TEXT), of(b"d", attachment), EXE)
    assert judged(message) == (Refusal.UNSUPPORTED_ATTACHMENT, "exe", "part 3")


@pytest.mark.parametrize(("octets", "levels"), [(10_000_000, 1), (3_000_000, 3), (1_000_000, 7)])
def test_big_html_is_read_within_usual_multiparts(octets: int, levels: int) -> None:
    message = b"Content-Type: text/html\r\n" + BASE64 + CRLF + (b"QUFB" * 19 + CRLF) * (octets // 78)
    for level in range(levels):
        message = of(b"level %d" % level, message, TEXT)
    assert judged(message) is None

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from email.headerregistry import HeaderRegistry
from email.utils import getaddresses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import mailboxes
from sesrelay.rules.mailboxes import Mailbox


def addresses(field: bytes) -> list[str]:
    return [mailbox.address for mailbox in mailboxes.parse(field)]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b" a@b.example", ["a@b.example"]),
        (b" Name <a@b.example>", ["a@b.example"]),
        (b' "Last, First" <a@b.example>\r\n', ["a@b.example"]),
        (b' "a \\" quote <x@y>" <a@b.example>', ["a@b.example"]),
        (b" <a@b.example>", ["a@b.example"]),
        (b" < a@b.example >", ["a@b.example"]),
        (b" a@b.example (Name, with (nested) comment)", ["a@b.example"]),
        (b" (comment) Name (another) <a@b.example> (third)", ["a@b.example"]),
        (b" Name\r\n <a@b.example>", ["a@b.example"]),
        (b" =?utf-8?q?J=C3=B6rg?= <a@b.example>", ["a@b.example"]),
        (b" J\xc3\xb6rg <a@b.example>", ["a@b.example"]),
        (b" a@b.example, C <c@d.example>,, e@f.example", ["a@b.example", "c@d.example", "e@f.example"]),
        (b' "quoted local"@b.example', ['"quoted local"@b.example']),
        (b' "a@b"@c.example', ['"a@b"@c.example']),
        (b' <"a>b"@c.example>', ['"a>b"@c.example']),
        (b" Name <@one.example,@two.example:a@b.example>", ["a@b.example"]),
        (b" a@[192.0.2.1]", ["a@[192.0.2.1]"]),
        (b" Group: a@b.example, C <c@d.example>;", ["a@b.example", "c@d.example"]),
        (b" Group: a@b.example;, c@d.example", ["a@b.example", "c@d.example"]),
        (b" a@localhost", ["a@localhost"]),
        (b" O'Neill+x_y=z@b.example", None),
        (b" Mr. Dot <a@b.example>", ["a@b.example"]),
        (b" a@b.example <c@d.example>", ["c@d.example", "a@b.example"]),
        (b" Team @ Office [e@f.example] <c@d.example>", ["c@d.example", "Team@Office", "e@f.example"]),
        (b' "a@b.example" (e@f.example) <c@d.example>', ["c@d.example"]),
        (b' "a\\"b".c@d.example', ['"a\\"b".c@d.example']),
        (b' "Group: a@b.example" (<e@f.example>): c@d.example;', ["c@d.example"]),
    ],
)
def test_mailboxes_that_are_taken(field: bytes, expected: list[str] | None) -> None:
    assert addresses(field) == (expected or [field.decode().strip()])


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (b"", "Empty address"),
        (b" \r\n ", "Empty address"),
        (b" <>", "Empty address"),
        (b" undisclosed-recipients:;", "Empty address"),
        (b" name", "Missing final '@domain'"),
        (b" a@", "Missing domain"),
        (b" @b.example", "Missing local name"),
        (b" .a@b.example", "Local address starts with dot"),
        (b" a.@b.example", "Local address ends with dot"),
        (b" a..b@b.example", "Local address contains dot-dot"),
        (b" a b@b.example", "Local address contains control or whitespace"),
        (b" J\xc3\xb6rg@b.example", "Local address contains control or whitespace"),
        (b" a]b@b.example", "Local address contains illegal character"),
        (b' "a@b.example', "Missing '\"'"),
        (b' <"a@b.example>', "Missing '\"'"),
        (b" a@.b.example", "Domain starts with dot"),
        (b" a@b.example.", "Domain ends with dot"),
        (b" a@b..example", "Domain contains dot-dot"),
        (b" a@b_c.example", "Domain contains illegal character"),
        (b" a@b@c.example", "Domain contains illegal character"),
        (b" a@b c.example", "Domain contains control or whitespace"),
        (b" a@b\xc3\xbc.example", "Domain contains control or whitespace"),
        (b" a@[192.0.2.1", "Missing ']'"),
        (b" a@[192.0.2.1]x", "Domain literal end not at end of domain"),
        (b" Name (comment <a@b.example>", "Missing ')'"),
        (b" Name) <a@b.example>", "Missing '('"),
        (b" Name <a@b.example", "Missing '>'"),
        (b" Name a@b.example>", "Missing '<'"),
        (b" <a@b.example> <c@d.example>", "Extra route-addr"),
        (b" a@b.example; c@d.example", "Illegal semicolon, not in group"),
        (b" one: two: a@b.example;", "Nested group"),
        (b" <@one.example a@b.example>", "Illegal route-addr"),
        (b" <@one.example,two.example:a@b.example>", "Illegal route-addr"),
        (b" <@x@one.example :a@b.example>", "Domain contains illegal character"),
        (b" <a@b.example> c@d.example", "Illegal address"),
        (b' <a@b.example> "c@d.example"', "Illegal address"),
        (b" Boss <a@b.example>: c@d.example;", "Illegal address"),
        (b" a@b.example: c@d.example;", "Illegal address"),
        (b" [a@b.example]: c@d.example;", "Illegal address"),
        (b" Team @ <c@d.example>", "Missing domain"),
        (b" user\\ name@b.example", "Local address contains illegal character"),
        (b" a\\@b.example@c.example", "Local address contains illegal character"),
        (b' "a@b.example"c@d.example', "Local address contains illegal character"),
        (b' a"@b.example "@d.example', "Local address contains illegal character"),
        (b' "J\xc3\xb6rg"@b.example', "Local address contains control or whitespace"),
        (b" a@b.example().c.example", "Domain contains control or whitespace"),
        (b" a@b(comment)c.example", "Domain contains control or whitespace"),
        (b" a(comment)b@c.example", "Local address contains control or whitespace"),
        (b" <one.example,@two:a@b.example>", "Local address contains illegal character"),
    ],
)
def test_what_is_refused_is_refused_in_javamails_words(field: bytes, words: str) -> None:
    with pytest.raises(Refused) as caught:
        mailboxes.parse(field)
    refusal = Refusal.MALFORMED if field.isascii() else Refusal.NON_ASCII_ADDRESS
    assert (caught.value.refusal, caught.value.details) == (refusal, (words,))


def test_a_field_of_unreasonable_length_is_not_read() -> None:
    many = b",".join([b"a@b.example"] * 1365)
    assert len(mailboxes.parse(many)) == 1365
    with pytest.raises(Refused, match="Illegal address"):
        mailboxes.parse(many + b",c@d.example")


def test_a_mailbox_keeps_its_spelling_in_ascii() -> None:
    assert mailboxes.parse(b' "A, B"\r\n\t<a@b.example>, J\xf6rg <c@d.example>') == (
        Mailbox("a@b.example", '"A, B"\t<a@b.example>'),
        Mailbox("c@d.example", "J?rg <c@d.example>"),
    )


@given(st.text(alphabet='ab.@<>"\\(),:;[] \t-', max_size=25).map(str.encode))
def test_the_quick_way_for_usual_mailboxes_gives_what_the_parser_gives(field: bytes) -> None:
    assert outcome(mailboxes._parse, field) == outcome(slowly, field)


def slowly(field: bytes) -> tuple[Mailbox, ...]:
    return tuple(mailboxes._mailboxes(field.decode("latin-1").strip(" \t\r\n"))) or mailboxes.parse(b"")


def outcome(function: object, field: bytes) -> object:
    try:
        return function(field)  # type: ignore[operator]
    except Refused as refused:
        return refused.details


PARTS = (
    "ours@good.example", "theirs@evil.example", "evil.example", "good.example", "CEO", "<", ">", '"', ",", ":", ";",
    "(", ")", "[", "]", "\\", "@", ".", " ",
)  # fmt: skip


@example(["CEO", "<", "theirs@evil.example", ">", ":", "ours@good.example", ";"])
@example(["theirs@evil.example", "<", "ours@good.example", ">"])
@example(["theirs@evil.example", "(", ")", "good.example"])
@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_no_other_reader_sees_an_author_whom_we_did_not(parts: list[str]) -> None:
    field = "".join(parts)
    try:
        ours = addresses(field.encode())
    except Refused:
        return
    domains = {address.rpartition("@")[2] for address in ours}
    for reader in READERS:
        for address in reader(field):
            assert not address.endswith("@evil.example") or "evil.example" in domains


READERS: tuple[Callable[[str], list[str]], ...] = (
    lambda field: [address for _, address in getaddresses([field])],
    lambda field: [address.addr_spec for address in HeaderRegistry()("From", field).addresses],
)


@given(st.binary(max_size=60))
def test_whatever_comes_is_taken_or_refused_by_name(field: bytes) -> None:
    try:
        found = mailboxes.parse(field)
    except Refused as refused:
        refusal: Refusal | None = refused.refusal
    else:
        refusal = Refusal.MALFORMED if found else None
    assert refusal in (Refusal.MALFORMED, Refusal.NON_ASCII_ADDRESS)


def filled(head: bytes, piece: bytes, tail: bytes, octets: int) -> bytes:
    """A field of at most so many octets, most of it one thing again and again."""
    return head + piece * ((octets - len(head) - len(tail)) // len(piece)) + tail


HOSTILE = [
    (b"", b"a@b,", b""),
    (b"", b"a@b.example,", b""),
    (b"", b"N <a@b.example>,", b""),
    (b'"', b"\\x", b'" <a@b.example>'),
    (b"a@b.example (", b"()", b")"),
    (b"a@b.example", b"()", b""),
    (b"a@b.example ", b"(", b""),
    (b'"', b"x", b'"@b.example'),
    (b"a@", b"x.", b"_"),
    (b"a@[", b"x", b"]"),
    (b"", b"a@b ", b"<c@d.example>"),
    (b"", b"@", b"<c@d.example>"),
    (b"<", b"@a.b,", b"@c.d:a@b.example>"),
    (b"x:", b"a@b;x:", b"a@b;"),
    (b"", b"[]", b" <c@d.example>"),
    (b"", b'""', b" <c@d.example>"),
    (b"", b'"" ', b""),
    (b"", b",", b"c@d.example"),
    (b"<", b'""', b"@c.d>"),
    (b"<", b"\\", b""),
    (b'"', b"x", b""),
    (b"", b"x ", b"<c@d.example> "),
    (b"a", b"\r\n ", b"<c@d.example>"),
]


def lines_run(function: Callable[[bytes], object], field: bytes) -> int:
    """How many lines of ours a call runs: its work, however busy the machine is."""
    count = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        outcome(function, field)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(("head", "piece", "tail"), HOSTILE)
def test_the_work_for_a_hostile_field_grows_with_its_length_and_no_more(head: bytes, piece: bytes, tail: bytes) -> None:
    small, large = (lines_run(mailboxes._parse, filled(head, piece, tail, octets)) for octets in (2000, 16_000))
    assert large <= 8.8 * small
    assert small <= 32_000, "a field that is read on the event loop"


@pytest.mark.parametrize("piece", [b"(", b"<", b'"', b"[", b"\\", b'"\\', b'<"', b"a.", b"a@", b"(a", b"x <"])
def test_no_pattern_tries_again_and_again(piece: bytes) -> None:
    """Lines say nothing of a pattern that goes back: eight times the octets may take eight times as long, not sixty."""
    seconds = [
        min(seconds_of(lambda field=field: outcome(mailboxes._parse, field)) for _ in range(5))
        for field in (piece * (2000 // len(piece)), piece * (16_000 // len(piece)))
    ]
    assert seconds[1] <= 30 * max(seconds[0], 2e-5)


def seconds_of(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


@pytest.mark.parametrize(
    "body",
    [
        b" a@b.example",
        b' "Doe, John" <j@d.example>,\r\n\t<x@y.example> , J\xc3\xb6rg <z@y.example>\r\n',
        b" undisclosed-recipients:;",
        b" Friends: a@b.example, C <c@d.example>;, e@f.example",
        b' "a \\" b" <a@b.example> (comment)',
        b" " + b"Some One <someone@somewhere.example>,\r\n " * 5000 + b"a@b.example",
    ],
    ids=lambda body: body[:20],
)
def test_lists_of_addresses_that_pass(body: bytes) -> None:
    for name in (b"to", b"cc", b"reply-to"):
        mailboxes.check_lists([(name, body)])


@pytest.mark.parametrize(
    ("body", "refusal", "words"),
    [
        (b" J\xc3\xb6rg@b.example", Refusal.NON_ASCII_ADDRESS, "Local address contains control or whitespace"),
        (b" a@b.example, <x@\xc3\xbc.example>", Refusal.NON_ASCII_ADDRESS, "Domain contains control or whitespace"),
        (b' "J\xc3\xb6rg"@b.example', Refusal.NON_ASCII_ADDRESS, "Local address contains control or whitespace"),
        (b" a@[\xc3\xbc]", Refusal.NON_ASCII_ADDRESS, "Domain contains control or whitespace"),
        (b" Doe, John <j@d.example>", Refusal.MALFORMED, "Missing final '@domain'"),
        (b" a@b.example.", Refusal.MALFORMED, "Domain ends with dot"),
        (b" <a@b.example", Refusal.MALFORMED, "Missing '>'"),
        (b" (" * 9000, Refusal.MALFORMED, "Illegal address"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_lists_of_addresses_that_are_refused(body: bytes, refusal: Refusal, words: str) -> None:
    with pytest.raises(Refused) as caught:
        mailboxes.check_lists([(b"cc", b" fine@b.example"), (b"reply-to", body)])
    assert (caught.value.refusal, caught.value.details) == (refusal, (words,))


def test_only_to_must_not_be_empty() -> None:
    mailboxes.check_lists([(b"cc", b""), (b"reply-to", b" \r\n ")])
    with pytest.raises(Refused) as caught:
        mailboxes.check_lists([(b"to", b" \r\n ")])
    assert caught.value.details == ("Empty address",)


@given(st.text(alphabet='ab.@<>"\\(),:;[] \t-', max_size=25).map(str.encode))
def test_the_quick_way_for_lists_lets_nothing_through_that_the_parser_would_not(body: bytes) -> None:
    if mailboxes._USUAL_LIST.match(body):
        assert tuple(mailboxes._mailboxes(body.decode())) is not None


@given(st.lists(st.binary(max_size=60)))
def test_whatever_lists_come_they_are_taken_or_refused_by_name(bodies: list[bytes]) -> None:
    refusal: Refusal | None = None
    try:
        mailboxes.check_lists([(b"to", body) for body in bodies])
    except Refused as refused:
        refusal = refused.refusal
    assert refusal in (None, Refusal.MALFORMED, Refusal.NON_ASCII_ADDRESS)

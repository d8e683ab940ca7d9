"""docs/REFUSALS.md says what is so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import sesrelay
from sesrelay.fronts.smtp import replies
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import content, mailboxes, mimefields
from sesrelay.rules.attachments import UNSUPPORTED

TEXT = (Path(__file__).parents[3] / "docs" / "REFUSALS.md").read_text()
ROWS = {
    name: (reply.strip(), advice)
    for name, reply, advice in re.findall(r"^\| `([\w-]+)` \| `(.+?)`+ \| (.+) \|$", TEXT, re.MULTILINE)
}
RULES = Path(sesrelay.__file__).parent / "rules"

DETAILS: dict[Refusal, tuple[str, ...]] = {
    Refusal.MALFORMED: ("Missing final '@domain'",),
    Refusal.NON_ASCII_ADDRESS: ("Domain contains control or whitespace",),
    Refusal.DUPLICATE_HEADER: ("Subject",),
    Refusal.MALFORMED_MIME: ("Expected '/', got ;", "part 2.1"),
    Refusal.MISSING_BOUNDARY: ("part 2.1",),
    Refusal.MISSING_START_BOUNDARY: ("part 2.1",),
    Refusal.PART_HEADER_TOO_LONG: ("part 2.1",),
    Refusal.NOT_AUTHORIZED: (
        "arn:aws:iam::123456789012:user/jo",
        "ses:SendRawEmail",
        "arn:aws:ses:us-east-1:123456789012:identity/b.example",
    ),
    Refusal.NOT_VERIFIED: ("us-east-1", "a@b.example"),
    Refusal.UNSUPPORTED_ATTACHMENT: ("exe", "part 2.1"),
    Refusal.DATA_URI: ("part 2.1",),
    Refusal.DELIVERY_STATUS: ("part 2.1",),
}
"""The details of the refusals that have some, as the page shows them."""


def test_the_page_has_every_refusal_and_no_other() -> None:
    assert set(ROWS) == {refusal.value for refusal in Refusal}


@pytest.mark.parametrize("refusal", Refusal)
def test_each_is_shown_in_its_own_words_with_what_to_do(refusal: Refusal) -> None:
    reply, advice = ROWS[refusal.value]
    assert reply.lstrip("`") == replies.refused(Refused(refusal, *DETAILS.get(refusal, ()))).decode().rstrip()
    assert len(advice) > 15


def test_no_two_refusals_of_a_message_have_the_same_words() -> None:
    said = [replies.refused(Refused(refusal)) for refusal in Refusal]
    assert len(set(said)) == len(said)


def test_where_it_is_is_left_out_when_it_is_the_message_itself() -> None:
    assert replies.refused(Refused(Refusal.MALFORMED_MIME, "Expected '/', got ;", "")) == (
        b"554 Transaction failed: Expected '/', got ;\r\n"
    )
    assert replies.refused(Refused(Refusal.DATA_URI, "")).endswith(b"Data URIs are not supported\r\n")


def test_every_text_of_a_parser_is_on_the_page() -> None:
    described = set(re.findall(r"`([^`]+)`", TEXT.partition("## Texts")[2]))
    said = {*texts_of("mailboxes"), *texts_of("mimefields"), *texts_of("content")}
    assert len(said) > 30
    assert said <= described


NUMBERS = {"LONGEST_FIELD": mimefields.LONGEST_FIELD, "MOST_PARAMETERS": mimefields.MOST_PARAMETERS}
SPECIAL = {
    "{what}": ("MIME type", "'/'", "MIME subtype", "disposition", "';'", "parameter name", "'='", "parameter value"),
    "{missing}": ("<", "(", ">", ")", '"', "]"),
    "{where}": ("Local address", "Domain"),
}


def texts_of(module: str) -> set[str]:
    """What the module gives to Refused(MALFORMED…), as it is written on the page."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((RULES / f"{module}.py").read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("_malformed", "_UnbalancedError"):
                found |= strings(node.args[0])
            elif node.func.id == "Refused" and len(node.args) > 1 and "MALFORMED" in ast.unparse(node.args[0]):
                found |= strings(node.args[1])
    return found


def strings(node: ast.expr) -> set[str]:
    """Every string that the expression may be."""
    if isinstance(node, ast.IfExp):
        return strings(node.body) | strings(node.orelse)
    if isinstance(node, ast.Constant):
        return {str(node.value)}
    if isinstance(node, ast.JoinedStr):
        text = ast.unparse(node)[2:-1]
        for name, number in NUMBERS.items():
            text = text.replace(f"{{{name}}}", str(number))
        for place, words in SPECIAL.items():
            if place in text:
                return {text.replace(place, word).replace("{got}", "…") for word in words}
        return {text}
    return set()


def test_the_extensions_are_those_that_are_refused() -> None:
    (listed,) = re.findall(r"```\n(.+?)```", TEXT, re.DOTALL)
    assert [word.encode() for word in listed.split()] == sorted(UNSUPPORTED, key=[*listed.encode().split()].index)
    assert len(listed.split()) == len(UNSUPPORTED)


@pytest.mark.parametrize(
    "number",
    [
        *(content.MOST_PARTS, content.DEEPEST, content.LONGEST_PART_HEADER, mailboxes.LONGEST_FIELD),
        *(content._MOST_HEADER_OCTETS, content._MOST_FIELD_OCTETS, content._MOST_PARAMETERS),
    ],
)
def test_every_cap_is_on_the_page(number: int) -> None:
    assert re.search(rf"\b{number}\b", TEXT)

"""Wildcards of policies, against a definition that is too simple to be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.rules.wildcards import literal, matcher

TEXTS = st.text("ab.[\n", max_size=12)


def by_definition(pattern: str, text: str) -> bool:
    """``?`` is any one character, ``*`` any number of them."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(by_definition(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and by_definition(pattern[1:], text[1:])


@given(pattern=st.text("ab.[\n*?", max_size=8), text=TEXTS)
def test_a_pattern_matches_as_defined(pattern: str, text: str) -> None:
    for variables in (False, True):
        assert matcher(pattern, variables=variables)(text) is by_definition(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "newer", "older"),
    [
        ("${*}", "*", True, False),
        ("${*}", "x", False, False),
        ("${*}", "${}", False, True),
        ("${*}", "${xyz}", False, True),
        ("a${?}*", "a?b", True, False),
        ("${$}{x}", "${x}", True, False),
        ("cost $5", "cost $5", True, True),
        ("$*", "$", True, True),
    ],
)
def test_escapes_are_the_newer_versions(pattern: str, text: str, newer: bool, older: bool) -> None:
    assert matcher(pattern, variables=True)(text) is newer
    assert matcher(pattern, variables=False)(text) is older


def test_a_literal_has_its_escapes_undone_in_the_newer_version() -> None:
    assert literal("a${*}${$}", variables=True) == "a*$"
    assert literal("a${*}", variables=False) == "a${*}"


@pytest.mark.parametrize("pattern", ["${aws:username}", "x*${aws:username, 'nobody'}", "${", "${aws:", "${}"])
def test_policy_variables_are_refused(pattern: str) -> None:
    for reading in (matcher, literal):
        with pytest.raises(ValueError, match=r"policy variables \(\$\{.* are not supported"):
            reading(pattern, variables=True)
        reading(pattern, variables=False)


def test_a_hostile_text_costs_no_more_than_its_length() -> None:
    assert not matcher("*a" * 40 + "*b", variables=True)("a" * 100_000)
    assert matcher("*a" * 40 + "*b", variables=True)("a" * 100_000 + "b")

from __future__ import annotations

import pytest

from sesrelay.model.account import VerifiedIdentities
from sesrelay.rules.verification import covering_identity, unverified

VERIFIED = VerifiedIdentities(
    addresses=frozenset({"user@example.com", "User@Case.example", "labelled+one@example.com", "both@mixed.example"}),
    domains=frozenset({"domain.example", "deep.domain.example", "mixed.example", "xn--bcher-kva.example"}),
)


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        ("user@example.com", "user@example.com"),
        # ID-2: addresses with case, in whole; domains without
        ("User@example.com", None),
        ("user@Example.com", None),
        ("User@Case.example", "User@Case.example"),
        ("user@case.example", None),
        ("any@DOMAIN.example", "domain.example"),
        ("any@domain.example.", "domain.example"),
        # ID-3: labels
        ("user+label@example.com", "user@example.com"),
        ("user+a+b@example.com", "user@example.com"),
        ("user+@example.com", "user@example.com"),
        ("labelled+one@example.com", "labelled+one@example.com"),
        ("labelled+two@example.com", None),
        ("labelled@example.com", None),
        ("labelled+one+two@example.com", None),
        ("+user@example.com", None),
        # ID-4: subdomains, and no more than those
        ("a@sub.domain.example", "domain.example"),
        ("a@very.deep.domain.example", "deep.domain.example"),
        ("a@notdomain.example", None),
        ("a@example", None),
        ("a@xn--bcher-kva.example", "xn--bcher-kva.example"),
        # ID-5: the most specific one counts
        ("both@mixed.example", "both@mixed.example"),
        ("both+label@mixed.example", "both@mixed.example"),
        ("other@mixed.example", "mixed.example"),
        # quoted local parts may contain anything
        ('"a@b"@domain.example', "domain.example"),
        ("nothing", None),
        ("", None),
    ],
)
def test_the_most_specific_verified_identity_covers_an_address(address: str, identity: str | None) -> None:
    assert covering_identity(address, VERIFIED) == identity


def test_each_failing_spelling_is_named_once_in_order() -> None:
    spelled = [
        ("b@x.y", "B <b@x.y>"),
        ("user@example.com", "U <user@example.com>"),
        ("b@x.y", "b@x.y"),
        ("b@x.y", "b@x.y"),
    ]
    assert unverified(spelled, VERIFIED) == ["B <b@x.y>", "b@x.y"]


def test_a_name_of_thousands_of_labels_is_looked_at_from_its_end() -> None:
    class Counting(frozenset[str]):
        asked = 0

        def __contains__(self, name: object) -> bool:
            Counting.asked += 1
            return super().__contains__(name)

    verified = VerifiedIdentities(frozenset(), Counting({"example.com"}))
    assert covering_identity("a@" + "x." * 8000 + "example.com", verified) == "example.com"
    assert covering_identity("a@" + "x" * 8000 + "example.com", verified) is None
    assert Counting.asked < 260

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


GUIDE = VerifiedIdentities(
    addresses=frozenset({"user@a.b.example.com"}),
    domains=frozenset({"a.b.example.com", "b.example.com", "example.com"}),
)
"""The guide, "Verifying Domains": verified are user@a.b.example.com, a.b.example.com, b.example.com, example.com."""
DOMAIN = VerifiedIdentities(frozenset(), frozenset({"example.com"}))
UNLABELLED = VerifiedIdentities(frozenset({"user@example.com"}), frozenset())
LABELLED = VerifiedIdentities(frozenset({"andrew+recipient1@example.com"}), frozenset())


@pytest.mark.parametrize(
    ("verified", "address", "identity"),
    [
        # "Verifying Domains": which settings are used
        (GUIDE, "user@example.com", "example.com"),
        (GUIDE, "user@a.b.example.com", "user@a.b.example.com"),
        (GUIDE, "user@b.example.com", "b.example.com"),
        (GUIDE, "other@a.b.example.com", "a.b.example.com"),
        (GUIDE, "user@c.a.b.example.com", "a.b.example.com"),
        (GUIDE, "user+label@a.b.example.com", "user@a.b.example.com"),
        # "you do not need to verify a.example.com or a.b.example.com"
        (DOMAIN, "u@a.example.com", "example.com"),
        (DOMAIN, "u@a.b.example.com", "example.com"),
        (DOMAIN, "u@EXAMPLE.com", "example.com"),
        # "Verifying Email Addresses": case, and labels
        (VerifiedIdentities(frozenset({"sender@example.com"}), frozenset()), "sender@EXAMPLE.com", None),
        (UNLABELLED, "user+recipient1@example.com", "user@example.com"),
        (UNLABELLED, "user+recipient2@example.com", "user@example.com"),
        (LABELLED, "andrew@example.com", None),
        (LABELLED, "andrew+recipient2@example.com", None),
        (LABELLED, "andrew+recipient1+recipient2@example.com", None),
        # "the settings of the email address override the domain-level settings"
        (
            VerifiedIdentities(frozenset({"sender@example.com"}), frozenset({"example.com"})),
            "sender@example.com",
            "sender@example.com",
        ),
    ],
)  # fmt: skip
def test_the_guides_own_examples(verified: VerifiedIdentities, address: str, identity: str | None) -> None:
    assert covering_identity(address, verified) == identity


labels = st.sampled_from(["a", "b", "example", "com", "A", "Example"])
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
locals_ = st.sampled_from(["user", "User", "user+l", "user+l+m", "+user", "u"])
addresses = st.tuples(locals_, domains).map("@".join)
names = st.builds(
    VerifiedIdentities,
    addresses=st.frozensets(addresses, max_size=6),
    domains=st.frozensets(domains.map(str.lower), max_size=6),
)


@given(addresses, names, names)
def test_adding_identities_never_makes_a_verified_sender_unverified(
    address: str, some: VerifiedIdentities, others: VerifiedIdentities
) -> None:
    both = VerifiedIdentities(some.addresses | others.addresses, some.domains | others.domains)
    before = covering_identity(address, some) or covering_identity(address, others)
    assert (covering_identity(address, both) is not None) == (before is not None)


@given(addresses, names)
def test_settings_come_from_one_identity_that_is_verified_and_covers_by_itself(
    address: str, verified: VerifiedIdentities
) -> None:
    identity = covering_identity(address, verified)
    if identity is None:
        alone = [VerifiedIdentities(frozenset({name}), frozenset()) for name in verified.addresses]
        alone += [VerifiedIdentities(frozenset(), frozenset({name})) for name in verified.domains]
        assert not any(covering_identity(address, one) for one in alone)
        return
    assert (identity in verified.addresses) != (identity in verified.domains)
    only = frozenset({identity})
    by_itself = VerifiedIdentities(only if "@" in identity else frozenset(), only - verified.addresses)
    assert covering_identity(address, by_itself) == identity
    # no more specific one is passed over: without it what is left is less specific
    rest = VerifiedIdentities(verified.addresses - {identity}, verified.domains - {identity})
    next_best = covering_identity(address, rest)
    assert next_best is None or "@" not in next_best or "@" in identity
    assert next_best is None or "@" in identity or len(next_best) < len(identity)

"""IAM's evaluation: default deny, explicit Deny wins, the order of statements means nothing, root may do everything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.policy import KeyHolder, PolicyDocument
from sesrelay.rules import conditions
from sesrelay.rules.conditions import Context, nothing_known
from sesrelay.rules.policy import Permissions, Source, Verdict, permissions_of
from tests.rules.test_policy_document import GUIDE

ARN = "arn:aws:ses:us-east-1:123456789012:identity/"
MAIL = ARN + "example.com"
YES, NO, DEPENDS = Verdict.YES, Verdict.NO, Verdict.DEPENDS


def statement(effect: str = "Allow", action: Any = "ses:SendRawEmail", resource: Any = "*", **more: Any) -> Any:
    return {"Effect": effect, "Action": action, "Resource": resource} | more


def text(*statements: Any, version: str = "2012-10-17") -> str:
    return json.dumps({"Version": version, "Statement": list(statements)})


def permissions(*documents: Any) -> Permissions:
    """Each a statement, a list of them, or a document's text."""
    texts = [d if isinstance(d, str) else text(*(d if isinstance(d, list) else [d])) for d in documents]
    return Permissions([PolicyDocument(f"p{number}", one) for number, one in enumerate(texts)])


def context(**values: str | tuple[str, ...] | None) -> Context:
    """Of the keys by their bare names; None: not known; what is not named is missing."""
    found = {
        conditions.key_of(f"{'ses' if name in ('FromAddress', 'Recipients') else 'aws'}:{name}"): value
        for name, value in values.items()
    }

    def lookup(key: str) -> tuple[str, ...] | None:
        value = found.get(key, ())
        return (value,) if isinstance(value, str) else value

    return lookup


def verdict(
    asked: Permissions, action: str = "ses:SendRawEmail", resource: str | None = MAIL, **values: Any
) -> Verdict:
    return asked.decide(action, resource, context(**values)).verdict


@pytest.mark.parametrize(
    ("name", "action", "expected"),
    [
        ("obtaining credentials", "ses:SendRawEmail", YES),
        ("obtaining credentials", "ses:SendEmail", NO),
        ("example 1", "ses:SendRawEmail", YES),
        ("example 1", "ses:SendEmail", YES),
        ("example 1", "ses:GetSendStatistics", NO),
        ("example 2", "ses:GetSendStatistics", YES),
        ("example 2", "ses:SendRawEmail", YES),
        ("example 2", "iam:ListUsers", NO),
    ],
)
def test_the_guides_own_policies(name: str, action: str, expected: Verdict) -> None:
    asked = permissions(GUIDE[name])
    assert verdict(asked, action) is expected
    assert verdict(asked, action, resource="*") is expected
    assert asked.may_always_send


@pytest.mark.parametrize(
    ("pattern", "action", "about"),
    [
        ("ses:SendRawEmail", "ses:sendrawemail", True),
        ("SES:sendRAWemail", "ses:SendRawEmail", True),
        ("ses:Send*", "ses:SendRawEmail", True),
        ("ses:Send?awEmail", "ses:SendRawEmail", True),
        ("ses:Send", "ses:SendRawEmail", False),
        ("ses:*", "iam:ListUsers", False),
        ("*", "iam:ListUsers", True),
        (["ses:GetSendQuota", "ses:SendRawEmail"], "ses:SendRawEmail", True),
    ],
)
def test_action_names_have_wildcards_and_no_case(pattern: Any, action: str, about: bool) -> None:
    assert verdict(permissions(statement(action=pattern)), action) is (YES if about else NO)
    but = {"Effect": "Allow", "NotAction": pattern, "Resource": "*"}
    assert verdict(permissions(but), action) is (NO if about else YES)


@pytest.mark.parametrize(
    ("resource", "matches"),
    [
        ("*", True),
        (MAIL, True),
        (ARN + "*", True),
        ("arn:aws:ses:*:*:identity/example.com", True),
        ("arn:aws:ses:us-*-1:12345678901?:identity/*.com", True),
        ("arn:aws:ses:us-east-1:123456789012:*", True),
        (ARN + "example.org", False),
        (ARN + "EXAMPLE.com", False),
        ("arn:aws:ses:eu-west-1:*:identity/*", False),
        ([ARN + "example.org", MAIL], True),
    ],
)
def test_resources_are_identities_with_wildcards(resource: Any, matches: bool) -> None:
    assert verdict(permissions(statement(resource=resource))) is (YES if matches else NO)
    everything_but = {"Effect": "Deny", "Action": "*", "NotResource": resource}
    assert verdict(permissions([statement(), everything_but])) is (YES if matches else NO)


def test_an_action_without_a_resource_is_covered_by_the_star_alone() -> None:
    assert verdict(permissions(statement(action="*", resource=ARN + "*")), "ses:GetSendQuota", resource="*") is NO
    assert verdict(permissions(statement(action="*")), "ses:GetSendQuota", resource="*") is YES


def test_without_a_policy_nothing_is_allowed() -> None:
    decision = permissions().decide("ses:SendRawEmail", MAIL, context())
    assert (decision.verdict, decision.by) == (NO, None)


def test_an_explicit_deny_wins_wherever_it_stands() -> None:
    deny = statement("Deny", action="ses:*", resource=MAIL)
    for documents in ([statement(), deny], [deny, statement()], [[statement(), deny]]):
        assert verdict(permissions(*documents)) is NO
        assert verdict(permissions(*documents), resource=ARN + "example.org") is YES


def test_a_decision_names_its_statement() -> None:
    documents = [
        PolicyDocument("Own", text(statement(action="ses:GetSendQuota"), statement(Sid="MaySend"))),
        PolicyDocument("House", text(statement("Deny", resource=ARN + "ceo@*")), "Everybody"),
    ]
    asked = Permissions(documents)
    yes = asked.decide("ses:SendRawEmail", MAIL, context())
    assert (yes.verdict, yes.by) == (YES, Source("Own", "", 1, "MaySend"))
    assert str(yes.by) == "policy Own, Statement[1] (MaySend)"
    no = asked.decide("ses:SendRawEmail", ARN + "ceo@example.com", context())
    assert (no.verdict, no.by) == (NO, Source("House", "Everybody", 0, ""))
    assert str(no.by) == "policy House of group Everybody, Statement[0]"


def test_all_conditions_of_a_statement_must_hold() -> None:
    both = {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}, "Bool": {"AWS:secure-transport": "true"}}
    asked = permissions(statement(Condition=both))
    assert verdict(asked, SourceIp="192.0.2.1", SecureTransport="true") is YES
    assert verdict(asked, SourceIp="192.0.2.1", SecureTransport="false") is NO
    assert verdict(asked, SourceIp="192.0.3.1", SecureTransport="true") is NO
    assert verdict(asked, SourceIp="192.0.2.1") is NO
    assert verdict(asked, SourceIp=None, SecureTransport="true") is DEPENDS
    assert verdict(asked, SourceIp=None, SecureTransport="false") is NO


def test_what_depends_names_what_it_depends_on() -> None:
    asked = permissions(
        statement(Condition={"IpAddress": {"aws:sourceip": "192.0.2.0/24"}}, resource=ARN + "*"),
        statement("Deny", Condition={"StringLike": {"ses:FromAddress": "boss@*"}}),
    )
    decision = asked.decide("ses:SendRawEmail", None, nothing_known)
    assert decision.verdict is DEPENDS
    assert set(decision.depends_on) == {"Resource", "aws:SourceIp", "ses:FromAddress"}
    known = asked.decide("ses:SendRawEmail", MAIL, context(SourceIp="192.0.2.1", FromAddress=None))
    assert (known.verdict, known.depends_on) == (DEPENDS, ("ses:FromAddress",))
    assert verdict(asked, SourceIp="198.51.100.1", FromAddress=None) is NO


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([statement()], True),
        ([statement(action="*")], True),
        ([statement(), statement(Condition={"Bool": {"aws:SecureTransport": "true"}})], True),
        ([statement(), statement("Deny", action="ses:SendEmail")], True),
        ([statement(), statement("Deny", Condition={"Bool": {"aws:SecureTransport": "false"}})], False),
        ([statement(), statement("Deny", resource=MAIL)], False),
        ([statement(resource=ARN + "*")], False),
        ([statement(Condition={"Null": {"aws:UserAgent": "true"}})], False),
        ([statement(action="ses:SendEmail")], False),
        ([], False),
        ([statement(), "no policy"], False),
    ],
)
def test_whoever_may_always_send_needs_no_asking(documents: list[Any], expected: bool) -> None:
    assert permissions(*documents).may_always_send is expected


def test_a_document_that_cannot_be_read_denies_everything_since_nobody_knows_what_it_forbids() -> None:
    asked = permissions(statement(action="*"), '{"Statement": "from the future"}')
    decision = asked.decide("ses:SendRawEmail", MAIL, context())
    assert decision.verdict is NO
    assert str(decision.by) == "policy p1, which cannot be read"


def test_the_root_user_may_do_everything() -> None:
    root = permissions_of(KeyHolder("", (PolicyDocument("p", text(statement("Deny", action="*"))),)))
    assert root.may_always_send
    assert verdict(root, "iam:DeleteUser", resource="*") is YES


def test_what_a_user_may_do_is_worked_out_once() -> None:
    holder = KeyHolder("u", (PolicyDocument("p", text(statement())),))
    assert permissions_of(holder) is permissions_of(holder)


# Properties

ACTIONS = ["ses:SendRawEmail", "ses:SendEmail", "ses:GetSendQuota"]
RESOURCES = ["*", MAIL, ARN + "example.org"]
CONDITIONS = [
    {},
    {"StringLike": {"ses:FromAddress": "*@example.com"}},
    {"StringNotLike": {"ses:FromAddress": "*@example.com"}},
    {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
    {"NotIpAddressIfExists": {"aws:SourceIp": "192.0.2.0/24"}},
    {"ForAllValues:StringLike": {"ses:Recipients": "*@example.com"}},
    {"ForAnyValue:StringLike": {"ses:Recipients": "*@example.com"}},
    {"Null": {"aws:UserAgent": "true"}, "Bool": {"aws:SecureTransport": "true"}},
]


def statements(effects: tuple[str, ...] = ("Allow", "Deny")) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda effect, actions, action, resources, resource, condition: {
            "Effect": effect,
            actions: action,
            resources: resource,
            "Condition": condition,
        },
        st.sampled_from(effects),
        st.sampled_from(["Action", "NotAction"]),
        st.sampled_from([*ACTIONS, "ses:Send*", "*"]),
        st.sampled_from(["Resource", "NotResource"]),
        st.sampled_from([*RESOURCES, ARN + "*"]),
        st.sampled_from(CONDITIONS),
    )


ADDRESSES = st.sampled_from(["a@example.com", "b@example.net"])
REQUESTS = st.fixed_dictionaries(
    {
        "action": st.sampled_from(ACTIONS),
        "resource": st.sampled_from(RESOURCES),
        "FromAddress": ADDRESSES | st.just(()),
        "SourceIp": st.sampled_from(["192.0.2.1", "198.51.100.1", ()]),
        "Recipients": st.lists(ADDRESSES, max_size=3).map(tuple),
        "UserAgent": st.sampled_from(["mailer", ()]),
        "SecureTransport": st.sampled_from(["true", ()]),
    }
)
DOCUMENTS = st.lists(st.lists(statements(), min_size=1, max_size=3), max_size=3)


@given(documents=DOCUMENTS, request=REQUESTS)
def test_of_a_request_that_is_known_nothing_depends(documents: list[Any], request: Any) -> None:
    assert verdict(permissions(*documents), **request) is not DEPENDS


@given(documents=DOCUMENTS, one=statements(("Allow",)), request=REQUESTS)
def test_one_more_allow_never_makes_a_no_of_a_yes(documents: list[Any], one: Any, request: Any) -> None:
    if verdict(permissions(*documents), **request) is YES:
        assert verdict(permissions(*documents, one), **request) is YES


@given(documents=DOCUMENTS, one=statements(("Deny",)), request=REQUESTS)
def test_one_more_deny_never_makes_a_yes_of_a_no(documents: list[Any], one: Any, request: Any) -> None:
    if verdict(permissions(*documents), **request) is NO:
        assert verdict(permissions(*documents, one), **request) is NO


@given(documents=DOCUMENTS, request=REQUESTS, data=st.data())
def test_the_order_and_the_grouping_of_statements_mean_nothing(documents: list[Any], request: Any, data: Any) -> None:
    before = verdict(permissions(*documents), **request)
    shuffled = data.draw(st.permutations([one for document in documents for one in document]))
    assert verdict(permissions(*shuffled), **request) is before
    assert verdict(permissions(shuffled) if shuffled else permissions(), **request) is before


@given(documents=DOCUMENTS, request=REQUESTS, hidden=st.sets(st.sampled_from(["resource", "FromAddress", "SourceIp"])))
def test_what_is_said_before_everything_is_known_stays_true(documents: list[Any], request: Any, hidden: Any) -> None:
    asked = permissions(*documents)
    early = verdict(asked, **(request | dict.fromkeys(hidden)))
    assert early in (DEPENDS, verdict(asked, **request))


@given(documents=DOCUMENTS, request=REQUESTS)
def test_whoever_may_always_send_is_never_refused(documents: list[Any], request: Any) -> None:
    asked = permissions(*documents)
    if asked.may_always_send:
        assert verdict(asked, **(request | {"action": "ses:SendRawEmail"})) is YES

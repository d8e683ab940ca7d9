"""Malformed documents are refused, each with the place of its fault; what the guide shows is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.rules import conditions
from sesrelay.rules.policy_document import LONGEST, MalformedPolicy, read

ALLOW = {"Effect": "Allow", "Action": "ses:SendRawEmail", "Resource": "*"}


def document(*statements: Any, **top: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)} | top)


def fault(text: str) -> str:
    with pytest.raises(MalformedPolicy) as caught:
        read(text)
    (line,) = str(caught.value).splitlines()
    assert line.isprintable()
    return line


def with_condition(condition: Any) -> str:
    return document(ALLOW, ALLOW | {"Condition": condition})


GUIDE = {
    "obtaining credentials": """{ "Statement": [{
        "Effect": "Allow",
        "Action": "ses:SendRawEmail",
        "Resource": "*" } ] }""",
    "example 1": """{"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["ses:SendEmail", "ses:SendRawEmail"], "Resource": "*" }] }""",
    "example 2": """{"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["ses:*"], "Resource": "*" }] }""",
}


@pytest.mark.parametrize("text", GUIDE.values(), ids=GUIDE)
def test_the_guides_own_policies_are_read(text: str) -> None:
    (statement,) = read(text).statements
    assert statement.allows
    assert statement.every_resource
    assert not statement.conditions


def test_a_single_statement_needs_no_list() -> None:
    (statement,) = read(json.dumps({"Statement": ALLOW, "Id": "mine"})).statements
    assert (statement.number, statement.sid) == (0, "")


def test_the_example_of_the_operators_manual_is_read() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "OPERATING.md").read_text()
    (example,) = re.findall(r"```json\n(\{\"Version.*?)```", manual, re.DOTALL)
    (statement,) = read(example).statements
    assert len(statement.conditions) == 3


def test_every_key_and_operator_is_described() -> None:
    described = (Path(__file__).parents[2] / "docs" / "STANDARDS.md").read_text()
    for name in [*conditions.KEYS.values(), "StringEquals", "StringLike", "NumericEquals", "IpAddress", "Null"]:
        assert f"`{name}`" in described


def test_the_longest_policy_that_may_be_set_is_read_and_asked_in_no_time() -> None:
    values = ["*" + "a*" * 1000, *[f"*{number}" for number in range(400)]]
    (_, statement) = read(with_condition({"ForAllValues:StringNotLike": {"ses:Recipients": values}})).statements
    recipients = tuple(f"{'a' * 60}{number}@example.com" for number in range(50))
    assert statement.conditions[0].holds(lambda _: recipients)


def test_everything_that_is_supported_is_read_at_once() -> None:
    everything = document(
        {
            "Sid": "Send1",
            "Effect": "Allow",
            "NotAction": ["ses:Delete*", "iam:*"],
            "Resource": ["arn:aws:ses:*:123456789012:identity/*example.com", "arn:aws:ses:us-east-1:*:*"],
            "Condition": {
                "Bool": {"aws:SecureTransport": True},
                "NumericLessThan": {"aws:EpochTime": [1893456000, "1.9e9"]},
                "ForAllValues:StringLike": {"ses:Recipients": ["*@example.com"]},
            },
        },
        {"Effect": "Deny", "Action": "*", "NotResource": "*"},
        Id="x",
        Version="2008-10-17",
    )
    first, second = read(everything).statements
    assert (first.sid, first.other_actions, len(first.conditions)) == ("Send1", True, 3)
    assert (second.allows, second.other_resources, second.every_resource) == (False, True, True)


def test_keys_that_no_request_has_are_named() -> None:
    read_one = read(with_condition({"Bool": {"aws:MultiFactorAuthPresent": "true", "aws:SecureTransport": "true"}}))
    assert read_one.unknown_keys == ("aws:MultiFactorAuthPresent",)


TWICE = '{"Statement": {"Effect": "Allow", "Effect": "Deny", "Action": "*", "Resource": "*"}}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1, column 1: no JSON: "),
        ('{\n  "Version": }', "line 2, column 14: no JSON: "),
        ('{"Statement": []} x', "line 1, column 19: no JSON: "),
        ('{"Statement": NaN}', "no JSON: NaN is not a value of JSON"),
        ("[]", "an object ({…}) is wanted, not []"),
        ("7", "an object ({…}) is wanted, not 7"),
        ("{}", "Statement is missing"),
        (document(ALLOW, Version="2014-01-01"), 'Version: 2008-10-17 or 2012-10-17 is wanted, not "2014-01-01"'),
        (document(ALLOW, Version=["2012-10-17"]), "Version: "),
        (document(ALLOW, Id=7), "Id: a text is wanted, not 7"),
        (document(ALLOW, statement=[]), "statement: there is no such element: did you mean Statement?"),
        (document(ALLOW, Owner="x"), "Owner: there is no such element"),
        (document(), "Statement: a statement or a list of statements is wanted"),
        (document(ALLOW, Statement="all"), "Statement: a statement or a list"),
        (document(ALLOW, "all"), 'Statement[1]: an object ({…}) is wanted, not "all"'),
        (TWICE, 'Statement: "Effect" stands there twice'),
        ('{"Version": "2012-10-17", "Version": "2012-10-17"}', '"Version" stands there twice'),
        (document(ALLOW | {"Effect": "allow"}), "Statement[0].Effect: Effect must be Allow or Deny"),
        (document(ALLOW | {"Effect": ["Allow"]}), "Statement[0].Effect: Effect must be"),
        (document({"Action": "*", "Resource": "*"}), "Statement[0]: Effect must be"),
        (document({"Effect": "Deny", "Resource": "*"}), "Statement[0]: Action is missing"),
        (document({"Effect": "Deny", "Action": "*"}), "Statement[0]: Resource is missing"),
        (document(ALLOW | {"NotAction": "*"}), "Statement[0]: Action and NotAction exclude each other"),
        (document(ALLOW | {"NotResource": "*"}), "Statement[0]: Resource and NotResource exclude each other"),
        (document(ALLOW | {"Action": []}), "Statement[0].Action: the list is empty"),
        (document(ALLOW | {"Action": ["ses:*", 7]}), "Statement[0].Action[1]: a text is wanted, not 7"),
        (document(ALLOW | {"Action": None}), "Statement[0].Action: a text is wanted, not null"),
        (document(ALLOW | {"Action": "SendRawEmail"}), 'Action: "SendRawEmail" is no action such as'),
        (document(ALLOW | {"Action": "ses:"}), 'Action: "ses:" is no action'),
        (document(ALLOW | {"Action": "ses:Send Email"}), "is no action"),
        (document(ALLOW | {"Resource": "arn:aws:s3:::bucket"}), "Statement[0].Resource: "),
        (
            document(ALLOW | {"Resource": "arn:aws:ses:us-east-1:123456789012:configuration-set/x"}),
            "only * and identit",
        ),
        (document(ALLOW | {"Resource": ["*", "example.com"]}), 'Statement[0].Resource[1]: "example.com": only *'),
        (document(ALLOW | {"Resource": "arn:aws:ses:us-east-1:1:identity/"}), "only * and identities"),
        (document(ALLOW | {"Resource": "arn:aws:ses:*:*:identity/${aws:username}"}), "Resource: policy variables"),
        (document(ALLOW | {"Principal": "*"}), "Statement[0].Principal: a policy of a user or a group has none"),
        (document(ALLOW | {"Conditions": {}}), "Statement[0].Conditions: there is no such element: did you mean Cond"),
        (document(ALLOW | {"Sid": "a b"}), "Statement[0].Sid: up to 128 of A-Z a-z 0-9 are wanted"),
        (document(ALLOW | {"Sid": 1}), "Statement[0].Sid: a text is wanted"),
        (document(ALLOW | {"Sid": "one"}, ALLOW | {"Sid": "one"}), "Statement[1].Sid: one stands there twice"),
        (with_condition([]), "Statement[1].Condition: an object ({…}) is wanted, not []"),
        (with_condition({"IpAddress": "192.0.2.1"}), "Statement[1].Condition.IpAddress: an object ({…}) is wanted"),
        (with_condition({"IpAddress": {}}), "Statement[1].Condition.IpAddress: it names no condition key"),
        (with_condition({"Ipaddress": {"aws:SourceIp": "::"}}), "Statement[1].Condition.Ipaddress.aws:SourceIp: there"),
        (with_condition({"IpAddress": {"aws:SourceIp": "x"}}), "Statement[1].Condition.IpAddress.aws:SourceIp: 'x' is"),
        (with_condition({"IpAddress": {"aws:SourceIp": []}}), "aws:SourceIp: the list is empty"),
        (with_condition({"IpAddress": {"aws:SourceIp": ["::", {}]}}), "aws:SourceIp[1]: a text is wanted, not {}"),
        (with_condition({"StringLike": {"": "x"}}), "a condition key is wanted, not an empty name"),
        (with_condition({"StringLike": {"ses:Recipients": "x"}}), "ses:Recipients has several values: say"),
        (document(*[ALLOW | {"Sid": f"s{n}" * 20} for n in range(60)]), f"a policy has at most {LONGEST} characters"),
        (" " * 70_000 + document(ALLOW), f"a policy has at most {LONGEST} characters"),
        (document(ALLOW | {"Action": "x" * 300}), "…"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, words: str) -> None:
    assert words in fault(text)


def test_a_number_of_any_length_does_no_harm() -> None:
    text = with_condition({"NumericEquals": {"aws:EpochTime": 0}}).replace(": 0}", ": " + "9" * 5500 + "}")
    assert "is no number" in fault(text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("closed", [True, False])
def test_a_document_that_is_nested_deeply_is_refused(opening: str, closing: str, closed: bool) -> None:
    for deep in (100, 900, 3000 if opening == "[" else 1000):
        text = opening * deep + "1" + closing * deep * closed
        assert fault(text)
        assert fault(f'{{"Statement": {text}}}')


def read_or_refused(text: str) -> None:
    try:
        read(text)
    except MalformedPolicy:
        fault(text)


def test_a_fault_is_one_line_for_a_terminal_whatever_the_document_says() -> None:
    line = fault(with_condition({"Bool\x1b[2J\u2028\ud800": {"k" * 5000: "true"}}))
    assert len(line) <= 401


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["*", "Allow"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["Version", "Statement", "Effect", "Action", "NotAction", "Resource", "Condition", "Sid", "Bool"]
                ),
                inner,
                max_size=6,
            )
        ),
    )
)
def test_whatever_json_comes_it_is_read_or_refused(value: Any) -> None:
    for text in (json.dumps(value), json.dumps({"Statement": value})):
        read_or_refused(text)


@given(st.text())
def test_whatever_text_comes_it_is_read_or_refused(text: str) -> None:
    read_or_refused(text)

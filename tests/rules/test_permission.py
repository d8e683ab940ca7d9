"""What is asked for a message: each author, Sender and the envelope, with everything that is known of the mail."""

from __future__ import annotations

from typing import Any

import pytest

from sesrelay.model.account import VerifiedIdentities
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import permission
from sesrelay.rules.mailboxes import Mailbox, display_name, parse
from sesrelay.rules.permission import Request
from tests.core.fakes import facts, holder
from tests.rules.test_policy import statement, text

FACTS = facts(verified=VerifiedIdentities(frozenset({"me@example.com"}), frozenset({"example.com", "other.example"})))
ARN = "arn:aws:ses:us-east-1:123456789012:identity/"
USER = "arn:aws:iam::123456789012:user/mailer"


def request(header_from: str = "a@example.com", *others: str, **more: Any) -> Request:
    values: dict[str, Any] = {
        "authors": parse(header_from.encode()),
        "others": tuple(Mailbox(one, one) for one in others or ("a@example.com",)),
        "recipients": ("to@example.net",),
        "client_address": "192.0.2.1",
        "at": 1_406_808_000_000_000,
    }
    return Request(**(values | more))


def refused(asked: Request, *statements: Any) -> str | None:
    """The resource that was refused; None: all was allowed."""
    try:
        permission.check(holder(text(*statements)), FACTS, asked)
    except Refused as caught:
        refusal = caught
    else:
        return None
    assert refusal.refusal is Refusal.NOT_AUTHORIZED
    user, action, resource = refusal.details
    assert (user, action) == (USER, asked.action)
    return resource.removeprefix(ARN)


def only(**condition: Any) -> Any:
    """An Allow on that condition; ``__`` stands for the colon of an operator."""
    return statement(Condition={name.replace("__", ":"): keys for name, keys in condition.items()})


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        ("me@example.com", "me@example.com"),
        ("me+label@example.com", "me@example.com"),
        ("a@example.com", "example.com"),
        ("a@mail.example.com", "example.com"),
        ("a@nowhere.example", "a@nowhere.example"),
    ],
)
def test_a_sender_is_the_identity_whose_settings_count(address: str, identity: str) -> None:
    assert permission.identity_arn(FACTS, address) == ARN + identity
    everything_but = statement("Deny", resource=ARN + identity)
    assert refused(request(address, address), statement(), everything_but) == identity


def test_every_author_sender_and_envelope_must_be_allowed() -> None:
    here = statement(resource=ARN + "example.com")
    assert refused(request("a@example.com, b@example.com"), here) is None
    assert refused(request("a@example.com, b@other.example"), here) == "other.example"
    assert refused(request("a@example.com", "sender@other.example", "a@example.com"), here) == "other.example"
    assert refused(request("a@example.com", "bounces@other.example"), here) == "other.example"


def test_a_condition_on_the_author_is_one_on_every_author() -> None:
    marketing = only(StringEquals={"ses:FromAddress": "marketing@example.com"})
    assert refused(request("Marketing <marketing@example.com>", "bounces+7@example.com"), marketing) is None
    assert refused(request("marketing@example.com, ceo@example.com"), marketing) == "example.com"
    assert refused(request("ceo@example.com, marketing@example.com"), marketing) == "example.com"


@pytest.mark.parametrize(
    ("condition", "asked", "allowed"),
    [
        ({"StringLike": {"ses:FromDisplayName": "News*"}}, request("News of today <a@example.com>"), True),
        ({"StringLike": {"ses:FromDisplayName": "News*"}}, request('"News, today" <a@example.com>'), True),
        ({"StringLike": {"ses:FromDisplayName": "Chef"}}, request("=?utf-8?q?Ch=65f?= <a@example.com>"), True),
        ({"StringLike": {"ses:FromDisplayName": "*"}}, request("a@example.com"), False),
        ({"StringEquals": {"ses:FeedbackAddress": "b@example.com"}}, request("a@example.com", "b@example.com"), True),
        ({"StringEquals": {"ses:FeedbackAddress": "a@example.com"}}, request("a@example.com", "b@example.com"), False),
        ({"ForAllValues__StringLike": {"ses:Recipients": "*@example.net"}}, request(), True),
        (
            {"ForAllValues__StringLike": {"ses:Recipients": "*@example.net"}},
            request(recipients=("a@example.net", "b@example.org")),
            False,
        ),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, request(), True),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, request(client_address=""), False),
        ({"Bool": {"aws:SecureTransport": "true"}}, request(), True),
        ({"DateLessThan": {"aws:CurrentTime": "2014-07-31T12:00:01Z"}}, request(), True),
        ({"DateLessThan": {"aws:CurrentTime": "2014-07-31T12:00:00Z"}}, request(), False),
        ({"NumericLessThan": {"aws:EpochTime": "1406808001"}}, request(), True),
        ({"DateGreaterThan": {"aws:EpochTime": "2014-07-31T12:00:00Z"}}, request(), False),
        ({"StringLike": {"aws:UserAgent": "*"}}, request(), False),
        ({"StringLike": {"aws:UserAgent": "Boto*"}}, request(user_agent="Boto3/1.40"), True),
        ({"Null": {"aws:UserAgent": "true"}}, request(), True),
        ({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, request(), False),
        ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}, request(), True),
    ],
)
def test_what_is_known_of_a_message(condition: dict[str, Any], asked: Request, allowed: bool) -> None:
    assert (refused(asked, only(**condition)) is None) is allowed


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("a@b.example", ""),
        ("<a@b.example>", ""),
        ("a@b.example (Somebody)", ""),
        ("Some Body <a@b.example>", "Some Body"),
        ('"Body, <Some>" <a@b.example>', "Body, <Some>"),
        (r'"a \"quoted\" name" <a@b.example>', 'a "quoted" name'),
        ("=?iso-8859-1?q?J=F6rg?= <a@b.example>", "Jörg"),
        ("=?utf-8?b?SsO2cmc=?= Two <a@b.example>", "Jörg Two"),
        ("=?no-such-charset?q?x?= <a@b.example>", "=?no-such-charset?q?x?="),
        ("=?utf-8?q?=FF?= <a@b.example>", "=?utf-8?q?=FF?="),
        ('"never closed <a@b.example>', ""),
    ],
)
def test_a_display_name_is_what_a_reader_sees(spelled: str, name: str) -> None:
    assert display_name(Mailbox("a@b.example", spelled)) == name


OFFICE = {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}
TO_US = {"ForAllValues:StringLike": {"ses:Recipients": "*@example.com"}}
PAST = {"DateLessThan": {"aws:CurrentTime": "2014-01-01"}}


@pytest.mark.parametrize(
    ("statements", "client", "let_in"),
    [
        ([statement()], "198.51.100.1", True),
        ([statement(action="ses:SendEmail")], "192.0.2.1", False),
        ([statement(), statement("Deny", action="ses:*")], "192.0.2.1", False),
        ([statement(Condition=OFFICE)], "192.0.2.1", True),
        ([statement(Condition=OFFICE)], "198.51.100.1", False),
        ([statement(Condition=OFFICE)], "", True),
        ([statement(Condition=TO_US)], "198.51.100.1", True),
        ([statement(), statement("Deny", Condition=TO_US)], "198.51.100.1", True),
        ([statement(resource=ARN + "nothing.example")], "198.51.100.1", True),
        ([statement(Condition=PAST)], "198.51.100.1", True),
        ([statement(Condition={"StringLike": {"aws:UserAgent": "*"}})], "198.51.100.1", False),
        ([statement(), statement("Deny", Condition={"Null": {"aws:UserAgent": "true"}})], "198.51.100.1", False),
    ],
)
def test_at_login_only_a_definite_no_is_a_no(statements: list[Any], client: str, let_in: bool) -> None:
    assert permission.may_log_in(holder(text(*statements)), FACTS, client) is let_in


def test_an_action_that_sends_nothing_has_no_identity_and_no_keys_of_a_message() -> None:
    asked = request(action="ses:GetSendQuota")
    assert refused(asked, statement(action="ses:*", resource=ARN + "*")) == "*"
    assert refused(asked, statement(action="ses:*")) is None
    for key in ("ses:FromAddress", "ses:FeedbackAddress", "ses:Recipients"):
        assert refused(asked, statement(action="ses:*", Condition={"Null": {key: "true"}})) is None


def test_the_root_user_may_send() -> None:
    permission.check(holder(text(statement("Deny", action="*")), user_name=""), FACTS, request())
    assert permission.user_arn("1", "") == "arn:aws:iam::1:root"

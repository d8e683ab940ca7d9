"""``policy``, ``user`` and ``group``, from outside: set and refused, shown, simulated, counted at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fronts.cli.conftest import Cli

SENDS = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ses:SendRawEmail", "Resource": "*"}]}'
OFFICE = """{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "Office", "Effect": "Allow", "Action": "ses:Send*", "Resource": "*",
     "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}},
    {"Effect": "Deny", "Action": "ses:Send*", "Resource": "arn:aws:ses:*:*:identity/ceo@relay.test"}
  ]
}
"""


@pytest.fixture
def jira(both: Cli) -> Cli:
    """With a user jira who has what `credentials create` gives, on each database."""
    assert both("credentials", "create", "--user", "jira").status == 0
    return both


def simulated(cli: Cli, *arguments: str) -> Any:
    return cli("policy", "simulate", "jira", *arguments, "--json").json


def test_a_new_user_has_the_policy_of_the_guide(jira: Cli) -> None:
    (shown,) = jira("policy", "show", "JIRA", "--json").json
    assert (shown["user_name"], shown["group_name"], shown["policy_name"]) == ("jira", None, "AmazonSesSendingAccess")
    assert shown["document"]["Statement"] == [{"Effect": "Allow", "Action": "ses:SendRawEmail", "Resource": "*"}]


def test_a_policy_without_a_name_takes_the_place_of_the_only_one(jira: Cli, tmp_path: Path) -> None:
    path = tmp_path / "office.json"
    path.write_text(OFFICE)
    said = jira("policy", "set", "jira", "--file", str(path))
    assert said.out == "policy AmazonSesSendingAccess of user jira: replaced\n"
    assert jira("policy", "show", "jira", "--name", "AmazonSesSendingAccess").out == OFFICE
    assert jira("policy", "set", "jira", "--name", "Second", stdin=SENDS).out == "policy Second of user jira: set\n"
    several = "user jira has several policies: say which one with --name (AmazonSesSendingAccess, Second)"
    assert several in jira("policy", "set", "jira", stdin=SENDS).line
    assert several in jira("policy", "remove", "jira").line
    assert jira("policy", "remove", "jira", "--name", "Second", "--json").json["policy_name"] == "Second"
    assert jira("policy", "remove", "jira").status == 0
    assert "user jira has no policy" in jira("policy", "remove", "jira").line
    assert jira("policy", "set", "jira", stdin=SENDS).out == "policy Policy of user jira: set\n"


def test_groups_share_their_policies(jira: Cli) -> None:
    assert jira("group", "create", "Everybody", "--json").json["users"] == []
    assert jira("group", "add-user", "everybody", "jira", "--json").json["users"] == ["jira"]
    assert jira("group", "add-user", "everybody", "jira", "--json").json["users"] == ["jira"]
    deny = '{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}'
    assert jira("policy", "set", "--group", "everybody", "--name", "Stop", stdin=deny).status == 0
    assert [each["group_name"] for each in jira("policy", "show", "jira", "--json").json] == [None, "Everybody"]
    told = simulated(jira)
    assert told["allowed"] is False
    statement = {"policy_name": "Stop", "group_name": "Everybody", "number": 0, "sid": None}
    assert told["decisions"] == [{"resource": None, "allowed": False, "statement": statement, "depends_on": []}]
    assert "group Everybody still has 1 users" in jira("group", "delete", "Everybody").line
    assert jira("group", "remove-user", "Everybody", "Jira", "--json").json["users"] == []
    assert "user jira is not in group Everybody" in jira("group", "remove-user", "Everybody", "jira").line
    assert simulated(jira)["allowed"] is True
    assert jira("group", "delete", "Everybody").out == "deleted: group Everybody\n"
    assert jira("group", "list", "--json").json == []


def test_users_are_listed_with_everything_that_hangs_on_them(jira: Cli) -> None:
    jira("group", "create", "b")
    jira("group", "create", "a")
    jira("group", "add-user", "b", "jira")
    jira("group", "add-user", "a", "jira")
    jira("credentials", "create", "--user", "jira")
    key = jira("credentials", "list", "--json").json[0]["access_key_id"]
    jira("credentials", "disable", key)
    created = jira("user", "create", "idle", "--json").json
    assert (created["access_keys"], created["policies"]) == (0, [])
    listed = {user["user_name"]: user for user in jira("user", "list", "--json").json}
    assert len(listed) == 3
    assert listed["jira"] == jira("user", "show", "jira", "--json").json
    shown = listed["jira"]
    assert (shown["access_keys"], shown["active_access_keys"], shown["console_password"]) == (2, 1, False)
    assert (shown["groups"], shown["policies"]) == (["a", "b"], ["AmazonSesSendingAccess"])
    lines = jira("user", "list").out.splitlines()
    assert lines[0].split() == ["USER", "ACTIVE", "KEYS", "GROUPS", "POLICIES"]
    assert ["jira", "1", "of", "2", "a,", "b", "AmazonSesSendingAccess"] in [line.split() for line in lines]
    assert jira("user", "delete", "jira").out == "deleted: user jira with 2 access keys\n"
    assert "no user jira" in jira("user", "show", "jira").line
    assert jira("group", "show", "a", "--json").json["users"] == []


SIMULATIONS = [
    ((), None, None),
    (("--source-ip", "192.0.2.1"), None, None),
    (("--source-ip", "198.51.100.1"), False, None),
    (("--source-ip", "192.0.2.1", "--from", "Us <us@relay.test>"), True, "Office"),
    (("--source-ip", "192.0.2.1", "--from", "ceo@relay.test"), True, "Office"),
    (("--source-ip", "192.0.2.1", "--resource", "arn:aws:ses:x:1:identity/ceo@relay.test"), False, None),
    (("--source-ip", "192.0.2.1", "--from", "a@elsewhere.example"), True, "Office"),
    (("--action", "ses:SendEmail", "--source-ip", "192.0.2.1", "--from", "us@relay.test"), True, "Office"),
    (("--action", "ses:GetSendQuota", "--source-ip", "192.0.2.1"), False, None),
]


def test_simulating_says_yes_or_no_and_why(jira: Cli) -> None:
    jira("policy", "set", "jira", stdin=OFFICE)
    for arguments, allowed, sid in SIMULATIONS:
        told = simulated(jira, *arguments)
        assert told["allowed"] is allowed, arguments
        assert (told["decisions"][0]["statement"] or {}).get("sid") == sid, arguments
    jira("identity", "add", "ceo@relay.test", "--verified")
    told = simulated(jira, "--source-ip", "192.0.2.1", "--from", "us@relay.test, ceo@relay.test")
    assert told["allowed"] is False
    assert [(each["resource"].partition("/")[2], each["allowed"]) for each in told["decisions"]] == [
        ("relay.test", True),
        ("ceo@relay.test", False),
    ]
    assert told["decisions"][1]["statement"]["number"] == 1


def test_a_simulation_reads_as_a_table(jira: Cli) -> None:
    jira("policy", "set", "jira", stdin=OFFICE)
    assert jira("policy", "simulate", "jira").out.splitlines() == [
        "ALLOWED  RESOURCE  BECAUSE",
        "depends  -         it depends on aws:SourceIp, Resource",
    ]
    told = jira("policy", "simulate", "jira", "--source-ip", "192.0.2.9", "--from", "us@relay.test").out
    assert told.splitlines()[1].split(maxsplit=2) == [
        "yes",
        "arn:aws:ses:us-east-1:111122223333:identity/relay.test",
        "policy AmazonSesSendingAccess, Statement[0] (Office)",
    ]
    assert "no statement allows it" in jira("policy", "simulate", "jira", "--source-ip", "::1").out


CONDITIONS = [
    ({"DateLessThan": {"aws:CurrentTime": "2014-01-01"}}, (), False),
    ({"DateLessThan": {"aws:CurrentTime": "2014-01-01"}}, ("--at", "2013-12-31T23:59:59"), True),
    ({"StringLike": {"aws:UserAgent": "Boto*"}}, (), False),
    ({"StringLike": {"aws:UserAgent": "Boto*"}}, ("--user-agent", "Boto3"), True),
    ({"ForAllValues:StringLike": {"ses:Recipients": "*@a.example"}}, (), None),
    ({"ForAllValues:StringLike": {"ses:Recipients": "*@a.example"}}, ("--recipient", "x@a.example"), True),
    (
        {"ForAllValues:StringLike": {"ses:Recipients": "*@a.example"}},
        ("--recipient", "x@a.example", "--recipient", "x@b.example"),
        False,
    ),
    ({"StringEquals": {"ses:FromDisplayName": "Us"}}, ("--from", "Us <us@relay.test>"), True),
    ({"StringEquals": {"ses:FeedbackAddress": "b@relay.test"}}, ("--from", "us@relay.test"), False),
    (
        {"StringEquals": {"ses:FeedbackAddress": "b@relay.test"}},
        ("--from", "us@relay.test", "--mail-from", "b@relay.test"),
        True,
    ),
    ({"StringEquals": {"ses:FeedbackAddress": "b@relay.test"}}, ("--mail-from", "b@relay.test"), True),
]


def test_every_option_of_a_simulation_is_heard(made: Cli) -> None:
    made("user", "create", "jira")
    for condition, arguments, allowed in CONDITIONS:
        allow = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}
        assert made("policy", "set", "jira", stdin=json.dumps({"Statement": allow})).status == 0
        assert simulated(made, *arguments)["allowed"] is allowed, (condition, arguments)


def test_a_malformed_document_changes_nothing_and_is_one_line_with_its_place(made: Cli, tmp_path: Path) -> None:
    made("credentials", "create", "--user", "jira")
    before = made("policy", "show", "jira").out
    path = tmp_path / "bad.json"
    path.write_text('{"Statement":\n  {"Effect": "Allow"\n   "Action": "*"}}')
    line = made("policy", "set", "jira", "--file", str(path)).line
    assert line.startswith(f"sesrelay: {path}: malformed policy: line 3, column 4: no JSON: ")
    wrong = OFFICE.replace("192.0.2.0/24", "192.0.2.0/99")
    line = made("policy", "set", "jira", stdin=wrong).line
    assert "stdin: malformed policy: Statement[0].Condition.IpAddress.aws:SourceIp: '192.0.2.0/99' is neither" in line
    path.write_bytes(b"\xff\xfe{}")
    assert made("policy", "set", "jira", "--file", str(path)).line == f"sesrelay: {path}: the document is not UTF-8"
    not_utf8 = SENDS.replace("2012-10-17", "\udcff")
    assert made("policy", "check", stdin=not_utf8).line == "sesrelay: stdin: the document is not UTF-8"
    missing = tmp_path / "no.json"
    assert made("policy", "check", "--file", str(missing)).line == f"sesrelay: {missing}: No such file or directory"
    assert made("policy", "show", "jira").out == before


def test_a_document_is_checked_without_setting_it(made: Cli) -> None:
    for text in (SENDS, f"\N{ZERO WIDTH NO-BREAK SPACE}{SENDS}"):
        assert made("policy", "check", stdin=text).out == "ok\n"
    assert made("policy", "check", "--json", stdin=SENDS).json == {"ok": True}
    assert "Statement is missing" in made("policy", "check", stdin="{}").line


def test_a_key_that_no_request_has_is_remarked_on(made: Cli) -> None:
    made("user", "create", "jira")
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:Viamfa": "true"}}}
    result = made("policy", "set", "jira", stdin=json.dumps({"Statement": allow}))
    assert result.status == 0
    assert result.err == "condition key aws:Viamfa: no request here has it, so it always counts as missing\n"


FAILURES = [
    (("policy", "show", "nobody"), "account 111122223333 has no user nobody"),
    (("policy", "show", "--group", "none"), "account 111122223333 has no group none"),
    (("policy", "set", "nobody"), "has no user nobody"),
    (("policy", "set", "jira", "--name", "a b"), "policy name 'a b': 1 to 128 of"),
    (("policy", "set", "jira", "--account", "1"), "there is no account 1"),
    (("policy", "remove", "jira", "--name", "x"), "user jira has no policy x"),
    (("policy", "simulate", "nobody"), "has no user nobody"),
    (("user", "create", "a b"), "user name 'a b': 1 to 64 of"),
    (("user", "create", "JIRA"), "user jira exists already"),
    (("user", "delete", "nobody"), "has no user nobody"),
    (("group", "create", "x" * 129), "1 to 128 of"),
    (("group", "create", ""), "group name '': 1 to 128 of"),
    (("group", "delete", "none"), "has no group none"),
    (("group", "add-user", "none", "jira"), "has no group none"),
]


def test_what_is_not_there_or_cannot_be_is_one_line(made: Cli) -> None:
    made("user", "create", "jira")
    for arguments, words in FAILURES:
        result = made(*arguments, stdin=SENDS)
        assert result.status == 1, arguments
        assert words in result.line


WRONG_USAGE = [
    (("policy", "show"), "name one user, or one group with --group"),
    (("policy", "show", "jira", "--group", "g"), "name one user, or one group with --group"),
    (("policy", "simulate", "jira", "--source-ip", "300.1.1.1"), "'300.1.1.1' is no IP address"),
    (("policy", "simulate", "jira", "--from", "nobody"), "Missing final '@domain'"),
    (("policy", "simulate", "jira", "--action", "SendRawEmail"), "'SendRawEmail' is no action such as"),
    (("policy", "simulate", "jira", "--resource", "example.com"), "'example.com' is no ARN such as"),
    (("policy", "simulate", "jira", "--at", "noon"), "'noon' is no time"),
    (("policy", "simulate", "jira", "--region", "mars"), "mars is not one of the regions"),
]


def test_wrong_usage_is_said(made: Cli) -> None:
    for arguments, words in WRONG_USAGE:
        assert words in made.usage(*arguments)


def test_another_key_does_not_widen_what_a_user_may_do(made: Cli) -> None:
    made("credentials", "create", "--user", "jira")
    made("policy", "set", "jira", stdin=OFFICE)
    assert made("credentials", "create", "--user", "jira").err == ""
    assert made("policy", "show", "jira", "--name", "AmazonSesSendingAccess").out == OFFICE


def test_a_key_that_is_of_no_use_is_remarked_on(made: Cli) -> None:
    made("user", "create", "jira")
    made("policy", "set", "jira", stdin=SENDS.replace("SendRawEmail", "GetSendQuota"))
    result = made("credentials", "create", "--user", "jira", "--json")
    assert result.status == 0
    assert "user jira had policies already, and they do not allow ses:SendRawEmail" in result.err


def test_a_user_with_more_than_a_key_stays_when_the_last_key_goes(made: Cli) -> None:
    key = made("credentials", "create", "--user", "jira", "--json").json["access_key_id"]
    made("policy", "set", "jira", stdin=OFFICE)
    made("credentials", "delete", key)
    assert made("user", "show", "jira", "--json").json["access_keys"] == 0
    key = made("credentials", "create", "--user", "jira", "--json").json["access_key_id"]
    assert made("policy", "show", "jira", "--name", "AmazonSesSendingAccess").out == OFFICE
    assert made("credentials", "delete", "jira").status == 0
    assert "has no user jira" in made("user", "show", "jira").line

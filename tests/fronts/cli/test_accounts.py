"""``account`` and ``limits``, from outside."""

from __future__ import annotations

import pytest

from tests.fronts.cli.conftest import Cli

OTHER = "444455556666"


def test_an_account_is_created_in_the_sandbox(both: Cli) -> None:
    told = both("account", "create", "--email", "ops@example.com", "--account-id", OTHER, "--json").json
    assert told["account_id"] == OTHER
    assert told["email"] == "ops@example.com"
    assert (told["production"], told["suspended"], told["closed"]) == (False, False, False)
    assert [row["account_id"] for row in both("account", "list", "--json").json] == ["111122223333", OTHER]


def test_the_account_may_be_left_out_while_there_is_one(made: Cli) -> None:
    assert made("account", "show", "--json").json["account_id"] == "111122223333"
    made("account", "create", "--account-id", OTHER)
    assert "several accounts" in made("account", "show").line
    assert made("account", "show", "--account", OTHER, "--json").json["account_id"] == OTHER


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("account", "create", "--account-id", "111122223333"), "exists already"),
        (("account", "create", "--account-id", "12"), "12 digits"),
        (("account", "create", "--email", "nobody"), "no e-mail address"),
        (("account", "show", "--account", "999999999999"), "no account 999999999999"),
        (("account", "close", "--account", "999999999999"), "no account 999999999999"),
        (("limits", "set", "--quota", "-2"), "quota -2"),
        (("limits", "set", "--quota", "9" * 30), "0 to 1000000000"),
        (("limits", "set", "--rate", "0"), "rate 0"),
        (("identity", "add", "a.example", "--account", "999999999999"), "no account 999999999999"),
        (("credentials", "create", "--account", "999999999999"), "no account 999999999999"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(made: Cli, arguments: tuple[str, ...], words: str) -> None:
    result = made(*arguments)
    assert result.status == 1
    assert words in result.line


@pytest.mark.parametrize(
    "command",
    [
        ("account", "show"), ("limits", "show"), ("credentials", "list"), ("identity", "list"), ("message", "list"),
        ("queue", "list"), ("queue", "show"), ("queue", "retry"), ("queue", "remove"),
    ],
)  # fmt: skip
def test_an_account_that_is_not_there_is_no_empty_list(made: Cli, command: tuple[str, ...]) -> None:
    result = made(*command, "--account", "999999999999")
    assert (result.status, result.line) == (1, "sesrelay: there is no account 999999999999")


def test_an_account_that_is_not_there_is_said_on_both_databases(both: Cli) -> None:
    assert both("account", "show", "999999999999").line == "sesrelay: there is no account 999999999999"


def test_suspend_and_resume_switch_one_region(both: Cli) -> None:
    assert both("account", "suspend", "--json").json["suspended"] is True
    assert "suspended" in both("account", "list").out
    assert both("account", "resume", "--json").json["suspended"] is False


def test_production_raises_the_limits_and_back_lowers_them(both: Cli) -> None:
    on = both("account", "production", "on", "--json").json
    assert on["production"] is True
    assert (on["limits"]["max_24_hour_send"], on["limits"]["max_send_rate"]) == (10_000, 5.0)
    off = both("account", "production", "off", "--json").json
    assert off["production"] is False
    assert (off["limits"]["max_24_hour_send"], off["limits"]["max_send_rate"]) == (200, 1.0)


def test_production_keeps_limits_that_are_higher_already(made: Cli) -> None:
    made("limits", "set", "--quota", "-1", "--rate", "90")
    on = made("account", "production", "on", "--json").json
    assert (on["limits"]["max_24_hour_send"], on["limits"]["max_send_rate"]) == (-1, 90.0)


def test_limits_are_set_one_or_both(both: Cli) -> None:
    told = both("limits", "set", "--quota", "5000", "--rate", "2.5", "--json").json
    assert (told["limits"]["max_24_hour_send"], told["limits"]["max_send_rate"]) == (5000, 2.5)
    both("limits", "set", "--rate", "7")
    told = both("limits", "show", "--json").json
    assert (told["limits"]["max_24_hour_send"], told["limits"]["max_send_rate"]) == (5000, 7.0)
    assert "say --quota N" in both.usage("limits", "set")


def test_a_closed_account_can_be_opened_again(both: Cli) -> None:
    assert both("account", "close", "--json").json["closed"] is True
    assert both("account", "show").out.count("closed: yes") == 1
    assert both("account", "open", "--json").json["closed"] is False


@pytest.mark.parametrize(
    "command",
    [
        ("identity", "add", "new.example"),
        ("identity", "add", "ann@new.example"),
        ("identity", "add", "new.example", "--verified"),
        ("identity", "retry", "relay.test"),
        ("limits", "request", "--message-type", "Transactional", "--quota", "300", "--use-case", "Receipts."),
    ],
)
def test_nothing_is_begun_for_a_closed_account(made: Cli, command: tuple[str, ...]) -> None:
    made("account", "close")
    result = made(*command)
    assert (result.status, "is closed (account open --account 111122223333" in result.line) == (1, True), result.err
    assert [row["identity"] for row in made("identity", "list", "--json").json] == ["relay.test"]
    assert made("limits", "requests", "--json").json == []


def test_a_region_that_is_added_later_is_opened_for_an_account(made: Cli) -> None:
    made.config.write_text(made.config.read_text().replace('["us-east-1"]', "[us-east-1, eu-west-1]"))
    assert "say which one with --region (us-east-1, eu-west-1)" in made.usage("account", "show")
    assert "has not opened region eu-west-1" in made("account", "show", "--region", "eu-west-1").line
    assert made("account", "open", "--region", "eu-west-1", "--json").json["region"] == "eu-west-1"
    assert made("account", "show", "--region", "eu-west-1", "--json").json["opened"] is True
    assert "mars-1 is not one of the regions" in made.usage("account", "show", "--region", "mars-1")

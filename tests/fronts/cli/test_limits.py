"""``limits request``, ``requests``, ``grant``, ``deny``, ``history``, ``undo``, and ``account email``, from outside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from sesrelay.fronts.cli.session import Session
from sesrelay.store.schema import outbox
from tests.fronts.cli.conftest import Cli

ACCOUNT = "111122223333"
OWNER = "owner@example.com"
WISH = (
    *("--website", "https://www.example.com", "--message-type", "System Notifications"),
    *("--quota", "50000", "--rate", "14", "--use-case", "Alarms of our machines, to their owners."),
)


def told(cli: Cli) -> list[dict[str, Any]]:
    """What the owners of accounts are about to be told."""
    rows = Session(str(cli.config)).read(lambda tx: tx.execute(select(outbox).order_by(outbox.c.outbox_id)))
    assert {row.kind for row in rows} <= {"owner-mail"}
    return [json.loads(row.payload) for row in rows]


def limits(cli: Cli) -> tuple[bool, int, float]:
    shown = cli("limits", "show", "--json").json
    return shown["production"], shown["limits"]["max_24_hour_send"], shown["limits"]["max_send_rate"]


def test_a_request_is_granted_undone_and_granted_after_all(both: Cli) -> None:
    both("account", "email", OWNER)
    asked = both("limits", "request", *WISH, "--json").json
    assert (asked["status"], asked["message_types"]) == ("open", ["System Notifications"])
    one = str(asked["request_id"])
    assert both("limits", "requests", "--json").json == [asked]
    assert limits(both) == (False, 200, 1)

    granted = both("limits", "grant", one, "--json").json
    assert (granted["status"], bool(granted["answered_at"])) == ("granted", True)
    assert limits(both) == (True, 50_000, 14)
    assert "granted already" in both("limits", "grant", one).line
    assert "has its answer: granted" in both("limits", "deny", one, "--reason", "no").line

    undone = both("limits", "undo", "--json").json
    assert (undone["kind"], str(undone["request_id"])) == ("undo", one)
    assert limits(both) == (False, 200, 1)
    assert both("limits", "requests", one, "--json").json["status"] == "undone"
    both("limits", "undo")
    assert limits(both) == (True, 50_000, 14)
    assert both("limits", "requests", one, "--json").json["status"] == "granted"
    both("limits", "undo")
    both("limits", "grant", one, "--quota", "300", "--rate", "2.5")
    assert limits(both) == (True, 300, 2.5)
    changes = both("limits", "history", "--json").json
    assert undone["undoes"] == changes[0]["change_id"]
    assert [change["kind"] for change in changes] == ["grant", "undo", "undo", "undo", "grant"]
    first, *mails = told(both)
    assert (first["tidings"], mails[1]["tidings"], mails[1]["to"]) == ("address", "waiting", "postmaster@relay.test")
    owners = [mail for mail in mails if mail["to"] == OWNER]
    assert [mail["tidings"] for mail in owners] == ["received", "granted", "undone", "undone", "undone", "granted"]
    assert (mails[1]["after"], mails[1]["reason"]) == ([True, 50_000, 14], "Alarms of our machines, to their owners.")


def test_a_request_is_denied_with_its_reason_and_may_be_made_again(both: Cli) -> None:
    one = str(both("limits", "request", *WISH, "--json").json["request_id"])
    waits = both("limits", "request", *WISH)
    assert (waits.status, "is not answered yet" in waits.line) == (1, True)
    both("limits", "deny", one, "--reason", "Say how people sign up, bitte schön.")
    assert limits(both) == (False, 200, 1)
    received, mail = told(both)
    assert received["tidings"] == "received"
    assert (mail["tidings"], mail["reason"]) == ("denied", "Say how people sign up, bitte schön.")
    assert both("limits", "request", *WISH).status == 0
    assert [each["status"] for each in both("limits", "requests", "--json").json] == ["denied", "open"]
    assert [each["request_id"] for each in both("limits", "requests", "--status", "denied", "--json").json] == [
        int(one)
    ]
    assert both("limits", "grant", one).status == 0


def test_what_an_operator_sets_is_written_down_and_undone(both: Cli) -> None:
    both("account", "production", "on")
    both("limits", "set", "--quota", "77")
    both("limits", "set", "--quota", "77")
    assert told(both) == []  # notices go to the operator himself
    both("account", "email", OWNER)
    both("limits", "set", "--rate", "-1")
    assert limits(both) == (True, 77, -1)
    both("limits", "undo")
    assert limits(both) == (True, 77, 5)
    both("account", "production", "off")
    assert limits(both) == (False, 200, 1)
    assert [mail["tidings"] for mail in told(both)] == ["address", "changed", "undone", "changed"]
    kinds = [change["kind"] for change in both("limits", "history", "--json").json]
    assert kinds == ["production", "set", "set", "undo", "production"]


def test_the_address_of_before_is_told_of_the_new_one(both: Cli) -> None:
    assert both("account", "email", OWNER, "--json").json["email"] == OWNER
    both("account", "email", OWNER)
    (mail,) = told(both)
    assert (mail["to"], mail["address"]) == ("postmaster@relay.test", OWNER)


def test_a_request_may_be_for_several_kinds_of_mail_and_needs_no_website_for_some(both: Cli) -> None:
    kinds = ("--message-type", "Transactional", "--message-type", "system-notifications", "--message-type")
    asked = both("limits", "request", *kinds, "transactional", "--quota", "20000", "--use-case", "Receipts.", "--json")
    assert asked.json["message_types"] == ["Transactional", "System Notifications"]
    assert both("limits", "requests", "--json").json == [asked.json]
    assert "Transactional, System Notifications  20000" in both("limits", "requests").out


def test_tables_are_for_people(made: Cli) -> None:
    made("limits", "request", *WISH)
    assert "System Notifications  50000  14" in made("limits", "requests").out
    assert "use_case: Alarms of our machines" in made("limits", "requests", "1").out
    made("limits", "grant", "1")
    assert "sandbox 200 1/s  production 50000 14/s" in made("limits", "history").out


def test_mail_may_be_paced(both: Cli) -> None:
    assert both("account", "pace", "on", "--json").json["pace"] is True
    assert both("account", "show", "--json").json["pace"] is True
    assert both("account", "pace", "off", "--json").json["pace"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("limits", "request", *WISH, "--website", "nowhere"), "website 'nowhere'"),
        (("limits", "request", *WISH, "--message-type", "marketing"), "opt-in URL: wanted"),
        (("limits", "request", *WISH, "--quota", "0"), "quota 0"),
        (("limits", "request", *WISH, "--use-case", " "), "use case"),
        (("limits", "request", *WISH, "--account", "999999999999"), "no account 999999999999"),
        (("limits", "grant", "7"), "there is no request 7"),
        (("limits", "grant", "9" * 30), "there is no request"),
        (("limits", "deny", "7", "--reason", "x"), "there is no request 7"),
        (("limits", "deny", "7", "--reason", " "), "reason: some words"),
        (("limits", "requests", "7"), "there is no request 7"),
        (("limits", "undo"), "never changed"),
        (("account", "email", "nobody"), "no e-mail address"),
        (("account", "email", "a,b@c.example"), "no e-mail address"),
        (("account", "email", "a..b@c.example"), "no e-mail address"),
        (("account", "email", OWNER, "--account", "999999999999"), "no account"),
        (("account", "pace", "on", "--account", "999999999999"), "no account"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_changes_nothing(
    made: Cli, arguments: tuple[str, ...], words: str
) -> None:
    result = made(*arguments)
    assert (result.status, words in result.line) == (1, True), result.err
    assert made("limits", "requests", "--json").json == []
    assert told(made) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("limits", "request", *WISH, "--message-type", "spam"), "'spam' is none of Transactional"),
        (("limits", "request", *WISH, "--quota", "many"), "'many' is not a valid integer"),
        (("limits", "request"), "Missing option"),
        (("limits", "deny", "1"), "Missing option '--reason'"),
        (("limits", "grant", "one"), "'one' is not a valid integer"),
        (("limits", "requests", "--region", "mars-1"), "mars-1 is not one of the regions"),
        (("account", "pace", "perhaps"), "'perhaps' is not one of"),
    ],
)
def test_wrong_usage_is_said_as_such(made: Cli, arguments: tuple[str, ...], words: str) -> None:
    assert words in made.usage(*arguments)

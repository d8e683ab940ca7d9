"""``credentials``, from outside: secrets once, two keys a user, revoked by deleting."""

from __future__ import annotations

import csv
import re

import pytest

from sesrelay.rules.credentials import smtp_password, smtp_password_v4
from tests.fronts.cli.conftest import Cli


def test_credentials_are_made_and_shown_once(both: Cli) -> None:
    told = both("credentials", "create", "--user", "jira", "--json").json
    assert told["user_name"] == "jira"
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", told["access_key_id"])
    assert len(told["secret_access_key"]) == 40
    assert told["smtp_user_name"] == told["access_key_id"]
    assert told["smtp_password"] == smtp_password(told["secret_access_key"])
    assert told["smtp_password_v4"] == {"us-east-1": smtp_password_v4(told["secret_access_key"], "us-east-1")}
    listed = both("credentials", "list", "--json")
    assert told["access_key_id"] in listed.out
    assert told["secret_access_key"] not in listed.out


def test_the_secret_is_nowhere_in_the_data_folder(made: Cli) -> None:
    told = made("credentials", "create", "--json").json
    for path in made.folder.rglob("*"):
        if path.is_file():
            assert told["secret_access_key"].encode() not in path.read_bytes(), path
            assert told["smtp_password"].encode() not in path.read_bytes(), path


def test_without_a_name_the_user_is_called_as_in_the_guide_even_twice_in_a_second(made: Cli) -> None:
    names = {made("credentials", "create", "--json").json["user_name"] for _ in range(3)}
    assert len(names) == 3
    assert all(re.fullmatch(r"ses-smtp-user\.\d{8}-\d{6}", name) for name in names)


def test_csv_is_the_guides(made: Cli) -> None:
    rows = list(csv.reader(made("credentials", "create", "--user", "mailer", "--csv").out.splitlines()))
    assert rows[0] == ["IAM User Name", "Smtp Username", "Smtp Password"]
    assert rows[1][0] == "mailer"
    assert len(rows) == 2
    assert "exclude each other" in made.usage("credentials", "create", "--csv", "--json")


def test_a_user_has_at_most_two_keys(both: Cli) -> None:
    both("credentials", "create", "--user", "jira")
    second = both("credentials", "create", "--user", "JIRA", "--json").json
    assert second["user_name"] == "jira"
    assert "has 2 access keys already" in both("credentials", "create", "--user", "jira").line
    gone = both("credentials", "delete", second["access_key_id"], "--json").json
    assert [key["access_key_id"] for key in gone] == [second["access_key_id"]]
    assert both("credentials", "create", "--user", "jira").status == 0


def test_a_key_is_switched_off_and_on_by_its_id_or_its_users_name(both: Cli) -> None:
    key = both("credentials", "create", "--user", "jira", "--json").json["access_key_id"]
    assert both("credentials", "disable", key, "--json").json[0]["status"] == "Inactive"
    assert both("credentials", "enable", "--user", "jira", "--json").json[0]["status"] == "Active"
    assert both("credentials", "disable", "--access-key-id", key, "--json").json[0]["status"] == "Inactive"
    assert "name one access key or one user" in both.usage("credentials", "disable")


def test_deleting_a_user_takes_all_its_keys(both: Cli) -> None:
    for _ in range(2):
        both("credentials", "create", "--user", "jira")
    assert len(both("credentials", "delete", "jira", "--json").json) == 2
    assert "no user and no access key jira" in both("credentials", "delete", "jira").line
    assert len(both("credentials", "list", "--json").json) == 1


def test_a_users_last_key_takes_the_user_with_it(made: Cli) -> None:
    key = made("credentials", "create", "--user", "jira", "--json").json["access_key_id"]
    made("credentials", "delete", key)
    assert "no user and no access key jira" in made("credentials", "disable", "jira").line


def test_an_imported_key_keeps_its_smtp_passwords(both: Cli) -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    imported = ("credentials", "import", "--access-key-id", "AKIAIOSFODNN7EXAMPLE", "--user", "old-app", "--json")
    told = both(*imported, stdin=secret + "\n").json
    assert told["smtp_user_name"] == "AKIAIOSFODNN7EXAMPLE"
    assert told["smtp_password"] == "An60U4ZD3sd4fg+FvXUjayOipTt8LO4rUUmhpdX6ctDy"
    assert told["smtp_password_v4"] == {"us-east-1": "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9"}
    assert "AKIAIOSFODNN7EXAMPLE exists already" in both(*imported, stdin=secret).line


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("create", "--user", "a b"), "", "user name 'a b'"),
        (("create", "--user", "x" * 65), "", "1 to 64 of"),
        (("import", "--access-key-id", "AKIA1"), "s", "access key id 'AKIA1'"),
        (("import", "--access-key-id", "AKIAIOSFODNN7EXAMPLE"), "", "secret access key must be"),
        (("import", "--access-key-id", "AKIAIOSFODNN7EXAMPLE"), "two\nlines", "secret access key must be"),
        (("import", "--access-key-id", "AKIAIOSFODNN7EXAMPLE"), "x" * 200, "secret access key must be"),
    ],
)
def test_bad_credentials_are_named_without_their_secret(
    made: Cli, arguments: tuple[str, ...], stdin: str, words: str
) -> None:
    result = made("credentials", *arguments, stdin=stdin)
    assert result.status == 1
    assert words in result.line
    assert len(stdin) < 3 or stdin not in result.err


def test_the_api_option_gives_an_api_users_csv(made: Cli) -> None:
    rows = list(csv.reader(made("credentials", "create", "--api", "--csv").out.splitlines()))
    assert rows[0] == ["User Name", "Access Key Id", "Secret Access Key"]


def test_another_accounts_credentials_are_out_of_reach(made: Cli) -> None:
    key = made("credentials", "create", "--json").json["access_key_id"]
    made("account", "create", "--account-id", "444455556666")
    assert "no user and no access key" in made("credentials", "delete", key, "--account", "444455556666").line

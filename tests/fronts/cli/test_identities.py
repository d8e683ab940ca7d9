"""``identity``, from outside."""

from __future__ import annotations

import pytest

from tests.fronts.cli.conftest import Cli


def test_an_identity_is_added_verified_and_removed(both: Cli) -> None:
    told = both("identity", "add", "Shop.Example.COM", "--verified", "--json").json
    assert told["identity"] == "shop.example.com"
    assert (told["type"], told["verification_status"]) == ("Domain", "Success")
    assert told["verification_token"]
    assert set(told) == {"identity", "type", "verification_status", "verification_token", "dkim", "notifications"}
    assert both("identity", "show", "SHOP.example.com", "--json").json == told
    assert both("identity", "remove", "shop.example.com").status == 0
    assert "has no identity shop.example.com" in both("identity", "show", "shop.example.com").line


def test_an_address_keeps_its_spelling(made: Cli) -> None:
    told = made("identity", "add", "Ann.Other@Example.com", "--verified", "--json").json
    assert (told["identity"], told["type"]) == ("Ann.Other@Example.com", "EmailAddress")
    assert "no identity" in made("identity", "show", "ann.other@example.com").line


def test_what_is_not_marked_stays_pending_and_says_what_is_missing(made: Cli) -> None:
    result = made("identity", "add", "example.com", "--json")
    assert result.json["verification_status"] == "Pending"
    assert "--verified" in result.err
    token = result.json["verification_token"]
    again = made("identity", "add", "example.com", "--verified", "--json").json
    assert (again["verification_status"], again["verification_token"]) == ("Success", token)
    assert made("identity", "add", "example.com", "--json").json["verification_status"] == "Success"


@pytest.mark.parametrize(
    "name",
    [
        "nodot", "a..example", "-a.example", "a_b.example", "exa mple.com", "x@", "@example.com", "a@b@example.com",
        "a@nodot", "1.2.3.4", "bücher.example", "a b@example.com", "a\x00@example.com", ".a@example.com",
        "l" * 64 + ".example", "l" * 65 + "@example.com", ".".join(["l" * 60] * 5), "example.com.",
    ],
)  # fmt: skip
def test_a_bad_name_is_one_clear_line(made: Cli, name: str) -> None:
    result = made("identity", "add", "--verified", "--", name)
    assert result.status == 1
    assert result.line


def test_one_identity_too_many_is_refused_over_all_regions(both: Cli) -> None:
    both.config.write_text(
        both.config.read_text().replace('["us-east-1"]', "[us-east-1, eu-west-1]") + "limits: {identities: 3}\n"
    )
    both("account", "open", "--region", "eu-west-1")
    assert both("identity", "add", "a.example", "--verified", "--region", "us-east-1").status == 0
    assert both("identity", "add", "a.example", "--verified", "--region", "eu-west-1").status == 0
    assert "has 3 identities over all regions" in both("identity", "add", "b.example", "--region", "eu-west-1").line
    assert both("identity", "add", "a.example", "--verified", "--region", "eu-west-1").status == 0


def test_identities_are_listed_by_name(made: Cli) -> None:
    for name in ("b.example", "a.example", "c@a.example"):
        made("identity", "add", name, "--verified")
    listed = [row["identity"] for row in made("identity", "list", "--json").json]
    assert listed == ["a.example", "b.example", "c@a.example", "relay.test"]
    assert made("identity", "list").out.splitlines()[0].split() == ["IDENTITY", "TYPE", "STATUS"]


def test_names_of_later_parts_are_reserved(made: Cli) -> None:
    for command in (("identity", "retry"), ("limits", "grant"), ("queue", "hold"), ("doctor",), ("send-email",)):
        assert "is reserved: this version of sesrelay does not have it yet" in made.usage(*command)
    assert "No such command" in made.usage("identity", "frobnicate")

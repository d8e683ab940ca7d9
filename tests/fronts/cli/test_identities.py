"""``identity``, from outside."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.fronts.cli.conftest import Cli
from tests.standins.nameserver import NameServer


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


def test_a_domain_is_pending_and_its_record_is_shown(both: Cli) -> None:
    result = both("identity", "add", "example.com", "--json")
    told = result.json
    assert told["verification_status"] == "Pending"
    assert set(told) == {"identity", "type", "verification_status", "verification_token", "dkim", "notifications"}
    assert f"_amazonses.example.com. TXT {told['verification_token']}" in result.err
    shown = both("identity", "show", "example.com").out
    assert "looked_for_until: " in shown
    again = both("identity", "retry", "example.com", "--json").json
    assert again == told
    again = both("identity", "add", "example.com", "--verified", "--json").json
    assert (again["verification_status"], again["verification_token"]) == ("Success", told["verification_token"])
    for command in ("add", "retry"):
        result = both("identity", command, "example.com", "--json")
        assert (result.json["verification_status"], result.err) == ("Success", "")


def test_an_address_is_sent_a_link_but_not_twice_in_a_minute(both: Cli) -> None:
    result = both("identity", "add", "ann@example.com", "--json")
    assert (result.json["verification_status"], result.json["verification_token"]) == ("Pending", None)
    assert "a mail with a link went to it" in result.err
    shown = both("identity", "show", "ann@example.com").out
    assert ("link_good_until: " in shown, "looked_for_until" in shown) == (True, False)
    assert "less than a minute ago" in both("identity", "retry", "ann@example.com").line
    assert both("identity", "add", "ann@example.com").status == 0


def test_records_are_ready_to_paste(made: Cli) -> None:
    token = made("identity", "add", "example.com", "--json").json["verification_token"]
    assert made("identity", "records", "example.com", "--csv").out == (
        f"Name,Type,Value\r\n_amazonses.example.com,TXT,{token}\r\n"
    )
    assert made("identity", "records", "Example.com", "--zone").out == (
        f'_amazonses.example.com.\t3600\tIN\tTXT\t"{token}"\n'
    )
    (record,) = made("identity", "records", "example.com", "--json").json
    assert record == {"name": "_amazonses.example.com", "type": "TXT", "value": token}
    assert made("identity", "records", "example.com").out.split()[-3:] == list(record.values())
    assert "one of them" in made.usage("identity", "records", "example.com", "--csv", "--check")
    made("identity", "add", "a@example.com")
    assert "only domains have records" in made("identity", "records", "a@example.com").line
    assert "has no identity" in made("identity", "records", "gone.example").line
    assert "has no identity" in made("identity", "retry", "gone.example").line


class Zone(threading.Thread):
    """A name server beside a program that runs in this thread."""

    def __init__(self, table: dict[tuple[str, str], list[str]]) -> None:
        super().__init__(daemon=True)
        self.server = NameServer(table)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.start()
        assert self._ready.wait(10)

    def run(self) -> None:
        self._loop.run_until_complete(self.server.__aenter__())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self.server.__aexit__())
        self._loop.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join()


def test_a_check_finds_the_record_or_names_the_mistake(made: Cli) -> None:
    token = made("identity", "add", "example.com", "--json").json["verification_token"]
    zone = Zone({("example.com", "TXT"): [f'"_amazonses={token}"']})
    try:
        made.config.write_text(f"{made.config.read_text()}dns: {{nameservers: ['{zone.server.address}']}}\n")
        check = ("identity", "records", "example.com", "--check")
        assert "its value the token alone" in made(*check).line
        zone.server.failing |= {"_amazonses.example.com", "amazonses.example.com", "example.com"}
        assert "nothing is known" in made(*check).line
        zone.server.failing.clear()
        zone.server.table["_amazonses.example.com", "TXT"] = [f'"{token}"']
        assert made(*check).out.startswith("found")
    finally:
        zone.end()


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
    for command in (("queue", "hold"), ("doctor",), ("send-email",)):
        assert "is reserved: this version of sesrelay does not have it yet" in made.usage(*command)
    assert "No such command" in made.usage("identity", "frobnicate")

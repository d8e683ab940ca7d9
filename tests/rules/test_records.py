from __future__ import annotations

import pytest

from sesrelay.rules.records import (
    Record,
    accepted_names,
    as_csv,
    as_zone,
    holds,
    mistakes,
    places_of_mistakes,
    verification_record,
)

TOKEN = "fmqxqT/icOYx4aA/bEUrDPMeax9/s3frblS+niiXmqk="
DOMAIN = "ses-example.com"


def test_records_are_ready_to_paste() -> None:
    record = verification_record(DOMAIN, TOKEN)
    assert record == Record("_amazonses.ses-example.com", "TXT", TOKEN)
    assert as_csv([record]) == f"Name,Type,Value\r\n_amazonses.ses-example.com,TXT,{TOKEN}\r\n"
    assert as_zone([record]) == f'_amazonses.ses-example.com.\t3600\tIN\tTXT\t"{TOKEN}"\n'
    alias = Record("a._domainkey.ses-example.com", "CNAME", "a.dkim.relay.example.net")
    assert as_zone([alias]).endswith("\tCNAME\ta.dkim.relay.example.net.\n")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((TOKEN,), True),
        (("v=spf1 -all", TOKEN, "another"), True),
        ((f'"{TOKEN}"',), True),
        ((f" {TOKEN} ",), True),
        ((TOKEN.lower(),), False),
        ((TOKEN + "x",), False),
        ((), False),
    ],
)
def test_the_token_may_stand_among_other_values(values: tuple[str, ...], found: bool) -> None:
    assert holds(TOKEN, values) is found


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (f"_amazonses.{DOMAIN}.{DOMAIN}", TOKEN, "the DNS provider appended the domain"),
        (f"amazonses.{DOMAIN}.{DOMAIN}", TOKEN, "as amazonses alone"),
        (DOMAIN, TOKEN, f"its place is the name _amazonses.{DOMAIN}"),
        (DOMAIN, f"_amazonses={TOKEN}", "its value the token alone"),
        (DOMAIN, f"amazonses={TOKEN}", "its value the token alone"),
        (f"_amazonses.{DOMAIN}", TOKEN.upper(), "other capitals"),
        (f"_amazonses.{DOMAIN}", f"_amazonses={TOKEN}", "more in it than the token"),
        (f"amazonses.{DOMAIN}", "another", "with another value"),
    ],
)
def test_each_common_mistake_is_named(name: str, value: str, words: str) -> None:
    assert name in places_of_mistakes(DOMAIN)
    (sentence,) = mistakes(DOMAIN, TOKEN, {name: (value,)})
    assert words in sentence


@pytest.mark.parametrize("name", accepted_names(DOMAIN))
def test_a_missing_underscore_is_no_mistake(name: str) -> None:
    assert mistakes(DOMAIN, TOKEN, {name: (TOKEN,), DOMAIN: ("v=spf1 -all",)}) == []

"""Every condition operator, by table: values that hold, values that do not, a key that is missing or not known."""

from __future__ import annotations

import pytest

from sesrelay.rules import conditions
from sesrelay.rules.conditions import read

KEY = "aws:UserAgent"


def holds(operator: str, wanted: str | list[str], *values: str, key: str = KEY) -> bool | None:
    condition = read(operator, key, [wanted] if isinstance(wanted, str) else wanted, variables=True)
    assert condition.key == conditions.key_of(key)
    return condition.holds(lambda _: values)


TABLE = [
    ("StringEquals", "Mailer", ["Mailer"], ["mailer", "Mailer/1", ""]),
    ("StringEqualsIgnoreCase", "Mailer", ["mailer", "MAILER"], ["mailer2"]),
    ("StringLike", "Mail*/?", ["Mailer/1", "Mail/x"], ["mailer/1", "Mailer/12"]),
    ("StringEquals", ["a", "b"], ["a", "b"], ["c"]),
    ("StringEquals", "a*", ["a*"], ["ab"]),
    ("NumericEquals", "7", ["7", "7.0", "0.7e1"], ["8", "x", ""]),
    ("NumericLessThan", "7", ["6.99", "-1"], ["7", "nothing"]),
    ("NumericLessThanEquals", "7", ["7", "6"], ["7.01"]),
    ("NumericGreaterThan", "7", ["7.01", "1e3"], ["7", "NaN", "inf"]),
    ("NumericGreaterThanEquals", "7", ["7", "8"], ["6"]),
    ("DateEquals", "2014-07-31T12:00:00Z", ["2014-07-31T12:00:00Z", "1406808000", "2014-07-31T14:00:00+02:00"], ["x"]),
    ("DateLessThan", "2014-07-31", ["2014-07-30T23:59:59Z", "1406764799"], ["2014-07-31T00:00:00Z"]),
    ("DateLessThanEquals", "1406764800", ["2014-07-31T00:00:00Z"], ["2014-07-31T00:00:01Z"]),
    ("DateGreaterThan", "2014-07-31T12:00-05:00", ["2014-07-31T17:00:01Z"], ["2014-07-31T17:00:00Z"]),
    ("DateGreaterThanEquals", "2014-07", ["2014-07-01T00:00:00Z"], ["2014-06-30T23:59:59Z"]),
    ("DateGreaterThan", "2014", ["2014-01-01T00:00:01Z"], ["2013-12-31T23:59:59Z", "13"]),
    ("Bool", "true", ["true", "True"], ["false", "yes"]),
    ("Bool", "FALSE", ["false"], ["true"]),
    ("Bool", ["true", "false"], ["true", "false"], ["maybe"]),
    ("IpAddress", "203.0.113.0/24", ["203.0.113.9", "::ffff:203.0.113.9"], ["203.0.114.1", "2001:db8::1", "name"]),
    ("IpAddress", "203.0.113.77/24", ["203.0.113.9"], ["203.0.112.9"]),
    ("IpAddress", "203.0.113.7", ["203.0.113.7"], ["203.0.113.8"]),
    ("IpAddress", ["192.0.2.0/24", "2001:db8::/32"], ["192.0.2.1", "2001:db8::1"], ["2001:db9::1", ""]),
]


@pytest.mark.parametrize(("operator", "wanted", "yes", "no"), TABLE)
def test_an_operator(operator: str, wanted: str | list[str], yes: list[str], no: list[str]) -> None:
    assert [holds(operator, wanted, value) for value in yes] == [True] * len(yes)
    assert [holds(operator, wanted, value) for value in no] == [False] * len(no)
    assert holds(operator, wanted) is False, "a key that is missing"
    assert holds(f"{operator}IfExists", wanted) is True
    assert holds(f"{operator}IfExists", wanted, no[0]) is False


NEGATED = {
    "StringEquals": "StringNotEquals",
    "StringEqualsIgnoreCase": "StringNotEqualsIgnoreCase",
    "StringLike": "StringNotLike",
    "NumericEquals": "NumericNotEquals",
    "DateEquals": "DateNotEquals",
    "IpAddress": "NotIpAddress",
}


@pytest.mark.parametrize(("operator", "wanted", "yes", "no"), [row for row in TABLE if row[0] in NEGATED])
def test_a_negated_operator_is_the_contrary_and_holds_for_a_missing_key(
    operator: str, wanted: str | list[str], yes: list[str], no: list[str]
) -> None:
    negated = NEGATED[operator]
    assert [holds(negated, wanted, value) for value in yes] == [False] * len(yes)
    assert [holds(negated, wanted, value) for value in no] == [True] * len(no)
    assert holds(negated, wanted) is True
    assert holds(f"{negated}IfExists", wanted) is True
    assert holds(f"{negated}IfExists", wanted, yes[0]) is False


@pytest.mark.parametrize(("wanted", "missing", "there"), [("true", True, False), ("false", False, True)])
def test_null_looks_at_the_presence_of_a_key_only(wanted: str, missing: bool, there: bool) -> None:
    assert holds("Null", wanted) is missing
    assert holds("Null", wanted, "x") is there
    assert holds("Null", wanted, "a", "b", key="ses:Recipients") is there


@pytest.mark.parametrize(
    ("operator", "one_of_two", "both", "neither", "missing"),
    [
        ("ForAllValues:StringLike", False, True, False, True),
        ("ForAnyValue:StringLike", True, True, False, False),
        ("ForAllValues:StringNotLike", False, False, True, True),
        ("ForAnyValue:StringNotLike", True, False, True, False),
        ("ForAnyValue:StringLikeIfExists", True, True, False, True),
    ],
)
def test_keys_with_several_values(operator: str, one_of_two: bool, both: bool, neither: bool, missing: bool) -> None:
    def recipients(*addresses: str) -> bool | None:
        return holds(operator, ["*@example.com", "boss@*"], *addresses, key="ses:Recipients")

    assert recipients("a@example.com", "a@example.net") is one_of_two
    assert recipients("a@example.com", "boss@example.net") is both
    assert recipients("a@example.org", "a@example.net") is neither
    assert recipients() is missing


def test_what_is_not_known_is_neither_true_nor_false() -> None:
    for operator, wanted, *_ in TABLE:
        for name in (operator, f"{operator}IfExists", f"ForAllValues:{operator}"):
            condition = read(name, KEY, [wanted] if isinstance(wanted, str) else wanted, variables=False)
            assert condition.holds(conditions.nothing_known) is None


@pytest.mark.parametrize("name", ["aws:CurrentTime", "AWS:current-time", "AWS:CURRENTTIME"])
def test_keys_are_compared_without_case_and_hyphens_as_the_guide_says(name: str) -> None:
    assert conditions.key_of(name) == conditions.CURRENT_TIME


def test_every_key_is_known_by_the_name_it_is_written_with() -> None:
    assert {conditions.key_of(name): name for name in conditions.KEYS.values()} == conditions.KEYS


def test_the_time_has_two_keys() -> None:
    assert conditions.moment(1_406_808_000_999_999) == {
        conditions.CURRENT_TIME: ("2014-07-31T12:00:00Z",),
        conditions.EPOCH_TIME: ("1406808000",),
    }


@pytest.mark.parametrize(
    ("operator", "values", "words"),
    [
        ("StringEqual", ["a"], "no condition operator StringEqual: did you mean StringEquals?"),
        ("stringlike", ["a"], "did you mean StringLike?"),
        ("ForAnyValue:Ipaddress", ["a"], "did you mean IpAddress?"),
        ("ForSomeValues:StringLike", ["a"], "there is no condition operator ForSomeValues:StringLike"),
        ("ArnLike", ["a"], "there is no condition operator ArnLike"),
        ("NullIfExists", ["true"], "there is no condition operator NullIfExists"),
        ("IfExists", ["true"], "there is no condition operator IfExists"),
        ("ForAllValues:Null", ["true"], "does not go with Null"),
        ("Null", ["maybe"], "'maybe' is neither true nor false"),
        ("Bool", ["1"], "'1' is neither true nor false"),
        ("NumericEquals", ["seven"], "'seven' is no number"),
        ("NumericEquals", ["NaN"], "'NaN' is no number"),
        ("NumericEquals", ["1e9999"], "'1e9999' is no number"),
        ("DateEquals", ["yesterday"], "'yesterday' is no date"),
        ("DateEquals", ["2014-13-01"], "'2014-13-01' is no date"),
        ("DateEquals", ["2014-07-31T12:00:00"], "is no date"),
        ("IpAddress", ["203.0.113.0/33"], "is neither an IP address nor a network"),
        ("IpAddress", ["*"], "is neither an IP address nor a network"),
        ("StringLike", ["${aws:username}"], "policy variables"),
        ("StringEquals", ["${aws:username}"], "policy variables"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_in_words(operator: str, values: list[str], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(operator, KEY, values, variables=True)
    assert words in str(caught.value)


def test_recipients_want_a_word_for_how_many_of_them() -> None:
    with pytest.raises(ValueError, match="say ForAllValues:StringLike or ForAnyValue:StringLike"):
        read("StringLike", "SES:recipients", ["*"], variables=True)

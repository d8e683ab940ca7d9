"""The conditions of a policy's statement: IAM's operators, read once, tested against what is known of a request.

A key that a request does not have makes a condition false, and one with ``Not`` or ``…IfExists`` true, as in IAM. A
key that is *not known yet* (the recipients, while a client is only logging in) makes it neither: None.
"""

from __future__ import annotations

import difflib
import ipaddress
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from sesrelay.model.clock import SECOND, Micros
from sesrelay.rules.wildcards import Matcher, literal, matcher

Values = tuple[str, ...]
Context = Callable[[str], Values | None]
"""What a request is like: the values of a key (normalised by ``key_of``), () for a key that it does not have, None for
what is not known."""

CURRENT_TIME: Final = "aws:currenttime"
EPOCH_TIME: Final = "aws:epochtime"
SECURE_TRANSPORT: Final = "aws:securetransport"
SOURCE_IP: Final = "aws:sourceip"
USER_AGENT: Final = "aws:useragent"
FROM_ADDRESS: Final = "ses:fromaddress"
FROM_DISPLAY_NAME: Final = "ses:fromdisplayname"
FEEDBACK_ADDRESS: Final = "ses:feedbackaddress"
RECIPIENTS: Final = "ses:recipients"

KEYS: Final[Mapping[str, str]] = {
    CURRENT_TIME: "aws:CurrentTime",
    EPOCH_TIME: "aws:EpochTime",
    SECURE_TRANSPORT: "aws:SecureTransport",
    SOURCE_IP: "aws:SourceIp",
    USER_AGENT: "aws:UserAgent",
    FROM_ADDRESS: "ses:FromAddress",
    FROM_DISPLAY_NAME: "ses:FromDisplayName",
    FEEDBACK_ADDRESS: "ses:FeedbackAddress",
    RECIPIENTS: "ses:Recipients",
}
"""Every key that a request may have, as it is written. Others are known to no request: they count as missing."""


def key_of(name: str) -> str:
    """A key as it is compared: the guide has ``AWS:current-time`` for ``aws:CurrentTime``."""
    return name.lower().replace("-", "")


def nothing_known(_key: str) -> Values | None:
    """The context of a request of which nothing is known: what holds here holds always."""
    return None


def moment(at: Micros) -> Mapping[str, Values]:
    """The two keys that say what time it is."""
    return _second(at // SECOND)


@lru_cache(maxsize=16)  # the messages of a second share it
def _second(seconds: int) -> Mapping[str, Values]:
    return {
        CURRENT_TIME: (f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}",),
        EPOCH_TIME: (str(seconds),),
    }


class Condition(NamedTuple):
    """One line of a Condition element: an operator, a key, values."""

    key: str
    test: Callable[[Values], bool]

    def holds(self, context: Context) -> bool | None:
        """Whether the request is so; None: not known."""
        values = context(self.key)
        return None if values is None else self.test(values)


class _Operator(NamedTuple):
    read: Callable[[str, bool], Matcher]
    """A value of the policy (and whether its version has escapes) to a test of one value of the request; ValueError."""
    negated: bool = False


class _Set(Enum):
    """How the values of a key with several are taken together."""

    ONE = ""
    ALL = "ForAllValues:"
    ANY = "ForAnyValue:"


def read(name: str, key: str, values: Iterable[str], *, variables: bool) -> Condition:
    """One condition. ValueError says in words what is wrong with operator or values."""
    kept = key_of(key)
    quantifier, bare = _quantifier(name)
    if bare == "Null":
        if quantifier is not _Set.ONE:
            raise ValueError(f"{quantifier.value} does not go with Null")
        return Condition(kept, _null(values))
    if_exists = bare.endswith("IfExists")
    found = _OPERATORS.get(bare.removesuffix("IfExists"))
    if found is None:
        raise ValueError(f"there is no condition operator {name}{_meant(name)}")
    if kept == RECIPIENTS and quantifier is _Set.ONE:
        raise ValueError(f"{KEYS[kept]} has several values: say ForAllValues:{bare} or ForAnyValue:{bare}")
    matchers = tuple(found.read(value, variables) for value in values)
    test = _test(matchers, found.negated, quantifier, if_exists)
    return Condition(kept, lru_cache(maxsize=4)(test))  # the authors of a message share the recipients


def _quantifier(name: str) -> tuple[_Set, str]:
    for quantifier in (_Set.ALL, _Set.ANY):
        if name.startswith(quantifier.value):
            return quantifier, name.removeprefix(quantifier.value)
    return _Set.ONE, name


def _meant(name: str) -> str:
    bare = _quantifier(name)[1].removesuffix("IfExists").lower()
    by_lower = {known.lower(): known for known in (*_OPERATORS, "Null")}
    near = difflib.get_close_matches(bare, by_lower, n=1)
    return f": did you mean {by_lower[near[0]]}?" if near else ""


def _test(matchers: tuple[Matcher, ...], negated: bool, quantifier: _Set, if_exists: bool) -> Callable[[Values], bool]:
    """The policy's values are alternatives; with ``Not`` none of them may match."""

    def one(value: str) -> bool:
        return any(matches(value) for matches in matchers) is not negated

    missing = if_exists or quantifier is _Set.ALL or (negated and quantifier is _Set.ONE)
    together = any if quantifier is _Set.ANY else all
    return lambda values: together(map(one, values)) if values else missing


def _null(values: Iterable[str]) -> Callable[[Values], bool]:
    wanted = {_boolean(value) for value in values}
    return lambda found: (not found) in wanted


def _shown(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:59]}…")


# What the operators make of a value of the policy


def _equals(value: str, variables: bool) -> Matcher:
    return literal(value, variables=variables).__eq__


def _equals_ignoring_case(value: str, variables: bool) -> Matcher:
    folded = literal(value, variables=variables).casefold()
    return lambda found: found.casefold() == folded


def _like(value: str, variables: bool) -> Matcher:
    return matcher(value, variables=variables)


def _bool(value: str, _variables: bool) -> Matcher:
    wanted = "true" if _boolean(value) else "false"
    return lambda found: found.lower() == wanted


def _boolean(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return value.lower() == "true"


def _ip_address(value: str, _variables: bool) -> Matcher:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{_shown(value)} is neither an IP address nor a network such as 192.0.2.0/24") from None

    def contains(found: str) -> bool:
        address = _address(found)
        return address is not None and address in network

    return contains


@lru_cache(maxsize=4096)  # clients come again
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address; IPv4 in IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")


def _number(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{_shown(text)} is no number")
    return Decimal(text)


_DATE: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?(?:Z|([+-])(\d\d):?(\d\d)))?)?)?", re.ASCII
)
_SECONDS_SINCE_1970: Final = re.compile(r"[0-9]{5,11}")


@lru_cache(maxsize=1024)
def _date(text: str) -> int:
    """Seconds since 1970: of a date in the forms of ISO 8601 that W3C recommends, or written as such a number."""
    if _SECONDS_SINCE_1970.fullmatch(text):
        return int(text)
    found = _DATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        parts = zip(found.groups()[:6], _LEAST, strict=True)
        year, month, day, hour, minute, second = (int(part or least) for part, least in parts)
        at = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{_shown(text)} is no date such as 2014-07-31T12:00:00Z") from None
    sign, hours, minutes = found.groups()[6:]
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    return int(at.timestamp()) - int(ahead.total_seconds())


_LEAST: Final = (1, 1, 1, 0, 0, 0)

Order = Callable[[Decimal | int, Decimal | int], bool]


def _compared(reading: Callable[[str], Decimal | int], order: Order) -> Callable[[str, bool], Matcher]:
    """A value of the request that cannot be read is in no relation to anything."""

    def read_value(value: str, _variables: bool) -> Matcher:
        limit = reading(value)

        def compare(found: str) -> bool:
            try:
                return order(reading(found), limit)
            except ValueError:
                return False

        return compare

    return read_value


_ORDERS: Final[Mapping[str, tuple[Order, bool]]] = {
    "Equals": (operator.eq, False),
    "NotEquals": (operator.eq, True),
    "LessThan": (operator.lt, False),
    "LessThanEquals": (operator.le, False),
    "GreaterThan": (operator.gt, False),
    "GreaterThanEquals": (operator.ge, False),
}

_OPERATORS: Final[Mapping[str, _Operator]] = {
    "StringEquals": _Operator(_equals),
    "StringNotEquals": _Operator(_equals, negated=True),
    "StringEqualsIgnoreCase": _Operator(_equals_ignoring_case),
    "StringNotEqualsIgnoreCase": _Operator(_equals_ignoring_case, negated=True),
    "StringLike": _Operator(_like),
    "StringNotLike": _Operator(_like, negated=True),
    "Bool": _Operator(_bool),
    "IpAddress": _Operator(_ip_address),
    "NotIpAddress": _Operator(_ip_address, negated=True),
    **{f"Numeric{name}": _Operator(_compared(_number, order), no) for name, (order, no) in _ORDERS.items()},
    **{f"Date{name}": _Operator(_compared(_date, order), no) for name, (order, no) in _ORDERS.items()},
}
"""Every operator but Null, which looks at the key's presence only."""

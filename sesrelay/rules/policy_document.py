"""Reading a policy document: everything that IAM would refuse, or that we could not obey, is refused with its place.

A document that was read can be obeyed to the letter. So what is not supported is never passed over: a condition that
nobody looks at would allow too much.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from sesrelay.rules import conditions
from sesrelay.rules.conditions import Condition
from sesrelay.rules.wildcards import Matcher, matcher

LONGEST: Final = 6144
"""Characters of a document, not counting blanks: IAM's limit for the largest kind of policy of a user."""
LONGEST_AS_WRITTEN: Final = 65_536
VERSIONS: Final = ("2008-10-17", "2012-10-17")
_ESCAPES_SINCE: Final = "2012-10-17"
"""A document without a version is of the older one."""

_LONGEST_LINE: Final = 400

_TOP: Final = ("Version", "Id", "Statement")
_STATEMENT: Final = ("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
_NOT_FOR_USERS: Final = ("Principal", "NotPrincipal")
_SID: Final = re.compile(r"[A-Za-z0-9]{0,128}")
_ACTION: Final = re.compile(r"\*|[a-z][a-z0-9-]*:[A-Za-z0-9*?]+", re.IGNORECASE)
_IDENTITY: Final = re.compile(r"arn:aws:ses:[a-z0-9*?-]+:[0-9*?]+:(?:\*|identity/.+)")


class MalformedPolicy(ValueError):  # noqa: N818 - IAM's name for it
    """The document cannot be obeyed; ``str`` names place and fault on one line."""

    def __init__(self, place: str, fault: str) -> None:
        text = f"{place}: {fault}" if place else fault
        line = "".join(c if c.isprintable() else "?" for c in text)
        super().__init__(line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…")


class Statement(NamedTuple):
    """One statement, ready to be asked."""

    sid: str
    number: int
    """Its place in the document, from 0."""
    allows: bool
    """False: it denies."""
    actions: tuple[Matcher, ...]
    """Of action names in lower case."""
    other_actions: bool
    """NotAction: it is about every action but those."""
    resources: tuple[Matcher, ...]
    other_resources: bool
    """NotResource."""
    every_resource: bool
    """``*`` is among ``resources``."""
    conditions: tuple[Condition, ...]


class Document(NamedTuple):
    """A policy document that was read."""

    statements: tuple[Statement, ...]
    unknown_keys: tuple[str, ...]
    """Condition keys that no request has here: they count as missing."""


def read(text: str) -> Document:
    """A document. Raises MalformedPolicy."""
    if len(text) > LONGEST_AS_WRITTEN or len("".join(text.split())) > LONGEST:
        raise MalformedPolicy("", f"a policy has at most {LONGEST} characters, not counting blanks")
    top = _object("", _json(text), _TOP)
    version = _version(top)
    _text("Id", top.get("Id", ""))
    if "Statement" not in top:
        raise MalformedPolicy("", "Statement is missing")
    return _document(list(_statements(top["Statement"], variables=version >= _ESCAPES_SINCE)), top)


class _Pairs(dict[str, Any]):
    """A JSON object that knows which name stood in it twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.twice = next((name for name in names if names.count(name) > 1), None) if len(self) < len(names) else None


class _Literal(str):
    """A number as it was written."""

    __slots__ = ()


def _json(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_Pairs, parse_int=_Literal, parse_float=_Literal, parse_constant=_no_constant
        )
    except json.JSONDecodeError as error:
        raise MalformedPolicy(f"line {error.lineno}, column {error.colno}", f"no JSON: {error.msg}") from None
    except RecursionError:
        raise MalformedPolicy("", "no policy: nested too deeply") from None


def _no_constant(name: str) -> Any:
    raise MalformedPolicy("", f"no JSON: {name} is not a value of JSON")


def _version(top: _Pairs) -> str:
    version = top.get("Version", VERSIONS[0])
    if version not in VERSIONS:
        raise MalformedPolicy("Version", f"{' or '.join(VERSIONS)} is wanted, not {_shown(version)}")
    return str(version)


def _statements(value: Any, *, variables: bool) -> Iterator[Statement]:
    if isinstance(value, _Pairs):
        yield _statement("Statement", 0, value, variables)
        return
    if not isinstance(value, list) or not value:
        raise MalformedPolicy("Statement", "a statement or a list of statements is wanted")
    for index, each in enumerate(value):
        yield _statement(f"Statement[{index}]", index, each, variables)


def _document(statements: list[Statement], top: _Pairs) -> Document:
    sids = [statement.sid for statement in statements if statement.sid]
    for index, statement in enumerate(statements):
        if statement.sid and sids.count(statement.sid) > 1 and sids.index(statement.sid) < index:
            raise MalformedPolicy(f"Statement[{index}].Sid", f"{statement.sid} stands there twice")
    return Document(tuple(statements), tuple(dict.fromkeys(_unknown_keys(top["Statement"]))))


def _unknown_keys(value: Any) -> Iterator[str]:
    """Of statements that were read, so their shape is right."""
    for statement in value if isinstance(value, list) else [value]:
        for keys in statement.get("Condition", {}).values():
            yield from (key for key in keys if conditions.key_of(key) not in conditions.KEYS)


def _statement(place: str, number: int, value: Any, variables: bool) -> Statement:
    given = _object(place, value, _STATEMENT)
    if given.get("Effect") not in ("Allow", "Deny"):
        raise MalformedPolicy(f"{place}.Effect" if "Effect" in given else place, "Effect must be Allow or Deny")
    actions = _one_of(place, given, "Action", "NotAction")
    resources = _one_of(place, given, "Resource", "NotResource")
    of_resources = dict(
        _list(f"{place}.{resources}", given[resources], lambda where, text: _resource(where, text, variables))
    )
    return Statement(
        sid=_sid(f"{place}.Sid", given.get("Sid", "")),
        number=number,
        allows=given["Effect"] == "Allow",
        actions=tuple(_list(f"{place}.{actions}", given[actions], _action)),
        other_actions=actions == "NotAction",
        resources=tuple(of_resources.values()),
        other_resources=resources == "NotResource",
        every_resource="*" in of_resources,
        conditions=tuple(_conditions(f"{place}.Condition", given.get("Condition", _Pairs([])), variables)),
    )


def _one_of(place: str, given: _Pairs, name: str, other: str) -> str:
    if (name in given) == (other in given):
        raise MalformedPolicy(
            place, f"{name} and {other} exclude each other" if name in given else f"{name} is missing"
        )
    return name if name in given else other


def _sid(place: str, value: Any) -> str:
    sid = _text(place, value)
    if not _SID.fullmatch(sid):
        raise MalformedPolicy(place, "up to 128 of A-Z a-z 0-9 are wanted")
    return sid


def _action(place: str, action: str) -> Matcher:
    if not _ACTION.fullmatch(action):
        raise MalformedPolicy(place, f"{_shown(action)} is no action such as ses:SendRawEmail, ses:* or *")
    return matcher(action.lower(), variables=False)


def _resource(place: str, resource: str, variables: bool) -> tuple[str, Matcher]:
    """Mail is sent from identities; nothing else here is a resource."""
    if resource != "*" and not _IDENTITY.fullmatch(resource):
        text = f"{_shown(resource)}: only * and identities (arn:aws:ses:REGION:ACCOUNT:identity/NAME) are supported"
        raise MalformedPolicy(place, text)
    with _blame(place):
        return resource, matcher(resource, variables=variables)


def _conditions(place: str, value: Any, variables: bool) -> Iterator[Condition]:
    for operator, keys in _object(place, value, None).items():
        where = f"{place}.{operator}"
        if not _object(where, keys, None):
            raise MalformedPolicy(where, "it names no condition key")
        for key, values in keys.items():
            if not key:
                raise MalformedPolicy(where, "a condition key is wanted, not an empty name")
            listed = list(_list(f"{where}.{key}", values, lambda _, text: text, scalars=True))
            with _blame(f"{where}.{key}"):
                yield conditions.read(operator, key, listed, variables=variables)


@contextmanager
def _blame(place: str) -> Iterator[None]:
    """What is wrong in here is wrong at that place."""
    try:
        yield
    except ValueError as error:
        raise MalformedPolicy(place, str(error)) from None


# Shapes


def _object(place: str, value: Any, names: tuple[str, ...] | None) -> _Pairs:
    """An object with no name twice, and no other names than these (None: any)."""
    if not isinstance(value, _Pairs):
        raise MalformedPolicy(place, f"an object ({{…}}) is wanted, not {_shown(value)}")
    if value.twice is not None:
        raise MalformedPolicy(place, f"{_shown(value.twice)} stands there twice")
    for name in value:
        if names is not None and name not in names:
            raise MalformedPolicy(f"{place}.{name}" if place else name, _unknown(name, names))
    return value


def _unknown(name: str, names: tuple[str, ...]) -> str:
    if name in _NOT_FOR_USERS:
        return "a policy of a user or a group has none: it is for whom it belongs to"
    near = difflib.get_close_matches(name.lower(), [known.lower() for known in names], n=1)
    meant = next((f": did you mean {known}?" for known in names if near and known.lower() == near[0]), "")
    return f"there is no such element{meant}"


def _list(place: str, value: Any, reading: Callable[[str, str], Any], *, scalars: bool = False) -> Iterator[Any]:
    """What ``reading`` makes of a text, or of each text of a list that is not empty."""
    if not isinstance(value, list):
        yield reading(place, _text(place, value, scalars=scalars))
        return
    if not value:
        raise MalformedPolicy(place, "the list is empty")
    for index, each in enumerate(value):
        where = f"{place}[{index}]"
        yield reading(where, _text(where, each, scalars=scalars))


def _text(place: str, value: Any, *, scalars: bool = False) -> str:
    """A text; with ``scalars`` numbers and truth values are taken as they are written."""
    if scalars and isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str) or (isinstance(value, _Literal) and not scalars):
        raise MalformedPolicy(place, f"a text is wanted, not {_shown(value)}")
    return str(value)


def _shown(value: Any) -> str:
    """A value of the document on one line, not too long; what is nested is not looked into."""
    if isinstance(value, dict | list) and value:
        return "{…}" if isinstance(value, dict) else "[…]"
    text = value if isinstance(value, _Literal) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"

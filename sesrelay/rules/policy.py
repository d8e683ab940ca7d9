"""Whether a user may do something: IAM's evaluation of every policy that the user has, own or by groups (CRED-4).

What no statement allows is denied; an explicit Deny outweighs every Allow; the order of statements means nothing. The
root user may do everything (CRED-7). A request of which not everything is known yet may also get ``DEPENDS``: so the
same judgment serves a message, a login before it, and the question whether there is anything to be asked at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from sesrelay.model.policy import KeyHolder, PolicyDocument
from sesrelay.rules import policy_document
from sesrelay.rules.conditions import KEYS, Context, nothing_known
from sesrelay.rules.policy_document import MalformedPolicy, Statement

SEND_RAW_EMAIL: Final = "ses:SendRawEmail"


class Verdict(Enum):
    """The answer."""

    YES = "yes"
    NO = "no"
    DEPENDS = "depends"
    """On what is not known of the request."""


class Source(NamedTuple):
    """A statement, by where it stands."""

    document: str
    group: str
    """"" for a document of the user's own."""
    number: int
    """-1: the document as a whole, which cannot be read and therefore denies."""
    sid: str

    def __str__(self) -> str:
        where = f"policy {self.document}" + (f" of group {self.group}" if self.group else "")
        if self.number < 0:
            return f"{where}, which cannot be read"
        return f"{where}, Statement[{self.number}]" + (f" ({self.sid})" if self.sid else "")


class Decision(NamedTuple):
    """The answer, and why."""

    verdict: Verdict
    by: Source | None = None
    """What decided it. None: no statement allows it, or it is the root user who asks, or it depends."""
    depends_on: tuple[str, ...] = ()
    """The condition keys that would have to be known; "Resource" is among them when the identity would."""


class _Asked(NamedTuple):
    source: Source
    statement: Statement


class Permissions:
    """Everything that a user's policies say, read once. ``decide`` asks them."""

    __slots__ = ("_asked", "_root", "_unreadable", "may_always_send")

    def __init__(self, documents: Iterable[PolicyDocument], *, root: bool = False) -> None:
        self._root = root
        self._asked: list[_Asked] = []
        self._unreadable: Source | None = None
        for document in documents:
            self._take(document)
        self.may_always_send = self.decide(SEND_RAW_EMAIL, None, nothing_known).verdict is Verdict.YES
        """Any mail, from anywhere, at any time: nothing has to be asked for a message."""

    def _take(self, document: PolicyDocument) -> None:
        statements = _read(document.text)
        if statements is None:
            self._unreadable = Source(document.name, document.group, -1, "")
            return
        for statement in statements:
            source = Source(document.name, document.group, statement.number, statement.sid)
            self._asked.append(_Asked(source, statement))

    def decide(self, action: str, resource: str | None, context: Context) -> Decision:
        """Whether that is allowed. ``resource``: an identity's ARN, "*" for what has none, None: not known."""
        if self._root:
            return Decision(Verdict.YES)
        if self._unreadable is not None:
            return Decision(Verdict.NO, self._unreadable)
        name = action.lower()
        applying = [
            (asked, _applies(asked.statement, resource, context))
            for asked in self._asked
            if _is_about(asked.statement, name)
        ]
        return _together([(asked, applies) for asked, applies in applying if applies is not False], resource, context)


def _together(applying: list[tuple[_Asked, bool | None]], resource: str | None, context: Context) -> Decision:
    """``applying``: statements about the action that apply (True), or may (None)."""
    denies = [(asked, applies) for asked, applies in applying if not asked.statement.allows]
    allows = [(asked, applies) for asked, applies in applying if asked.statement.allows]
    for asked, applies in denies:
        if applies:
            return Decision(Verdict.NO, asked.source)
    if not allows:
        return Decision(Verdict.NO)
    certain = next((asked for asked, applies in allows if applies), None)
    if certain is not None and not denies:
        return Decision(Verdict.YES, certain.source)
    open_ones = [asked.statement for asked, applies in (denies if certain else applying) if applies is None]
    return Decision(Verdict.DEPENDS, None, _unknown(open_ones, resource, context))


def _is_about(statement: Statement, action: str) -> bool:
    return any(matches(action) for matches in statement.actions) is not statement.other_actions


def _applies(statement: Statement, resource: str | None, context: Context) -> bool | None:
    """Whether resource and conditions fit. None: that is not known yet."""
    known = _covers(statement, resource)
    for condition in statement.conditions:
        if known is False:
            return False
        holds = condition.holds(context)
        if holds is not True:
            known = holds
    return known


def _covers(statement: Statement, resource: str | None) -> bool | None:
    if statement.every_resource:
        return not statement.other_resources
    if resource is None:
        return None
    return any(matches(resource) for matches in statement.resources) is not statement.other_resources


def _unknown(statements: Iterable[Statement], resource: str | None, context: Context) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for statement in statements:
        if resource is None and not statement.every_resource:
            found["Resource"] = None
        for condition in statement.conditions:
            if context(condition.key) is None:
                found[KEYS.get(condition.key, condition.key)] = None
    return tuple(found)


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[Statement, ...] | None:
    """A document's statements; None when it cannot be read. It was checked when it was set, perhaps by another version
    of this program: then nobody knows what it would deny.
    """
    try:
        return policy_document.read(text).statements
    except MalformedPolicy:
        return None


@lru_cache(maxsize=4096)
def permissions_of(holder: KeyHolder) -> Permissions:
    """What the user behind a key may do; remembered for as long as the account's facts stand."""
    return Permissions(holder.documents, root=not holder.user_name)

"""One transaction of accepts and settles that were waiting together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sesrelay.killpoints import reached
from sesrelay.model.account import AccountFacts
from sesrelay.model.clock import Micros
from sesrelay.model.message import Settlement
from sesrelay.store import facts
from sesrelay.store.accepting import Accepted, Answer, Placed, accept_many
from sesrelay.store.effects import Effects
from sesrelay.store.errors import UnknownAccount
from sesrelay.store.facts import Key
from sesrelay.store.session import Session
from sesrelay.store.settling import Place, settle_many


@dataclass(slots=True)
class Ours:
    """What this process is to the store."""

    number: int = 0
    """Of our incarnation; 0: not entered yet."""
    claims: bool = True
    """False: we were declared dead, or must fear it. What we accept is left to others."""
    facts: dict[Key, AccountFacts] = field(default_factory=dict)
    """The newest facts that this process has seen."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer for each order, and the places whose claim was still ours."""

    answers: list[Answer]
    applied: frozenset[Place]


class Batch:
    """Written as a whole, or not at all; may be written again after a failure."""

    __slots__ = ("_evidence", "_placed", "_settlements")

    def __init__(self, placed: Sequence[Placed], settlements: Sequence[Settlement]) -> None:
        self._placed = placed
        self._settlements = settlements
        self._evidence: tuple[list[tuple[bytes]], list[tuple[bytes, int, int, Micros]]] = ([], [])

    def write(self, session: Session, ours: Ours, now: Micros) -> Outcome:
        """Gathers, judges and applies, inside a transaction that was begun."""
        hot = session.hot
        effects = Effects(now)

        def facts_of(key: Key, version: int) -> AccountFacts | None:
            known = ours.facts.get(key)
            if known is None or known.version != version:
                known = _load(session, key, now)
                if known is not None:
                    ours.facts[key] = known
            return known

        answers: list[Answer] = []
        applied: frozenset[Place] = frozenset()
        if self._placed:
            answers = accept_many(hot, self._placed, facts_of, ours.number if ours.claims else None, effects)
        if self._settlements:
            applied = settle_many(hot, self._settlements, ours.number, effects)
        effects.apply(hot)
        self._evidence = (
            [(a.message_id,) for a in answers if isinstance(a, Accepted) and not a.replayed],
            [(message, number, sequence, at) for message, number, sequence, at, _, _ in effects.history],
        )
        reached("before-commit")
        return Outcome(answers, applied)

    def happened(self, session: Session) -> bool:
        """Whether the last ``write`` was committed: what it wrote is there, all of it or nothing."""
        messages, history = self._evidence
        if messages:
            return bool(session.hot.known_messages(messages[:1]))
        return not history or bool(session.hot.known_history(history[:1]))


def _load(session: Session, key: Key, now: Micros) -> AccountFacts | None:
    try:
        return facts.load(session.transaction(now), *key)
    except UnknownAccount:
        return None

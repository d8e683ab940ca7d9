"""Who is alive, and who holds the work that must run once.

A claim belongs to an incarnation and has no expiry of its own; it is taken back only when the incarnation is dead:
its supervisor says so, its node starts anew, or it has not renewed itself in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from sesrelay.model.clock import DAY, SECOND, Micros
from sesrelay.store.errors import StoreError
from sesrelay.store.schema import incarnations, leases, recipients
from sesrelay.store.transaction import Transaction

ALIVE: Final[Micros] = 30 * SECOND
"""A worker that has not renewed itself for so long is dead to the others."""
LEFT: Final[Micros] = 0
"""``alive_until`` of a worker that came to an orderly end."""
BURIED_AFTER: Final[Micros] = 7 * DAY
"""A dead incarnation's row stays so long, in case that it only slept."""


def enter(tx: Transaction, name: str, node: str) -> int:
    """Makes a new incarnation known; its number. StoreError when there was one of that name."""
    if tx.execute(select(incarnations.c.number).where(incarnations.c.name == name)):
        raise StoreError(f"another process goes, or went, by the name {name}")
    row = {"name": name, "node": node, "started_at": tx.now, "alive_until": tx.now + ALIVE, "dead": 0}
    return int(tx.execute(insert(incarnations).values(row).returning(incarnations.c.number))[0][0])


def renew(tx: Transaction, number: int) -> bool:
    """Lives for another 30 seconds. False: it was declared dead meanwhile, and its claims are others'."""
    row = incarnations.c
    statement = update(incarnations).where(row.number == number, row.dead == 0).values(alive_until=tx.now + ALIVE)
    return tx.change(statement) == 1


def leave(tx: Transaction, number: int) -> None:
    """An orderly end: whatever is still claimed may be taken at once, and nothing of it is to blame."""
    tx.change(update(incarnations).where(incarnations.c.number == number).values(dead=1, alive_until=LEFT))


def declare_dead(tx: Transaction, names: Sequence[str]) -> list[tuple[int, bool]]:
    """From now on these are dead, whatever they do; their numbers, and whether they died: they may have left."""
    row = incarnations.c
    tx.change(update(incarnations).where(row.name.in_(sorted(names))).values(dead=1))
    found = tx.execute(select(row.number, row.alive_until).where(row.name.in_(names)))
    return [(number, alive_until != LEFT) for number, alive_until in found]


def expired(tx: Transaction, *, late_too: bool) -> list[str]:
    """Names of the dead that still hold claims, and (``late_too``) of those that should have renewed themselves."""
    row = incarnations.c
    holds = select(recipients.c.message_id).where(recipients.c.claimed_by == row.number).limit(1).exists()
    gone = (row.dead == 1) & holds
    if late_too:
        gone |= (row.dead == 0) & (row.alive_until < tx.now)
    return [name for (name,) in tx.execute(select(row.name).where(gone))]


def leftovers(tx: Transaction, node: str, live: Sequence[str]) -> list[str]:
    """Names of a node's incarnations that are not dead, but not among the living either."""
    row = incarnations.c
    found = tx.execute(select(row.name).where(row.node == node, row.dead == 0, row.name.not_in(live)))
    return [name for (name,) in found]


def bury(tx: Transaction) -> int:
    """Forgets incarnations that died long ago and hold nothing; how many."""
    row = incarnations.c
    holds = select(recipients.c.message_id).where(recipients.c.claimed_by == row.number).limit(1).exists()
    return tx.change(delete(incarnations).where(row.dead == 1, row.alive_until < tx.now - BURIED_AFTER, ~holds))


def take(tx: Transaction, name: str, holder: str, span: Micros) -> int | None:
    """The term under which ``holder`` may do the work called ``name`` until now + ``span``; None: another has it."""
    row = leases.c
    found = tx.execute(select(leases).where(row.name == name).with_for_update())
    if not found:
        dialect = sqlite if tx.dialect == "sqlite" else postgresql
        first = dialect.insert(leases).values(name=name, holder=holder, term=1, expires_at=tx.now + span)
        taken = tx.execute(first.on_conflict_do_nothing().returning(leases.c.term))
        return 1 if taken else None
    lease = found[0]
    if lease.holder != holder and lease.expires_at > tx.now:
        return None
    term: int = lease.term + (lease.holder != holder)
    tx.change(update(leases).where(row.name == name).values(holder=holder, term=term, expires_at=tx.now + span))
    return term


def holds(tx: Transaction, name: str, holder: str, term: int) -> bool:
    """Whether that lease is still the holder's: to be asked in the transaction of each action."""
    row = leases.c
    return bool(
        tx.execute(
            select(row.name)
            .where(row.name == name, row.holder == holder, row.term == term, row.expires_at > tx.now)
            .with_for_update()
        )
    )

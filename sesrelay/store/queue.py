"""What waits, and whose turn it is: lanes in deficit round-robin, claims, and claims taken back from the dead.

A lane is the waiting mail of one account for one domain. Workers take lanes by the time they are due; a lane that was
served goes behind the others. Each visit earns a lane a quantum of octets, so that one account's big messages do not
cost another its turn. What a claim costs depends on the lanes that it visits, never on how much waits in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sesrelay.model.clock import Micros
from sesrelay.model.message import BodyLocation, Claim, MessageId
from sesrelay.store.effects import Effects
from sesrelay.store.hot import Hot, Row
from sesrelay.store.schema import ORIGINS

LANES_AT_ONCE: Final = 32
QUANTUM_OCTETS: Final = 512 * 1024
"""What a lane earns with each visit."""
RECIPIENT_OCTETS: Final = 4096
"""What a recipient costs beside its message's octets."""
DEATHS: Final = 3
"""So many workers died with a message in hand: it is held."""
RELEASED_AT_ONCE: Final = 500

_LENGTH: Final = 17
"""Where CLAIM_COLUMNS has the length of the body."""


def claim_due(hot: Hot, claimed_by: int, now: Micros, limit: int) -> list[Claim]:
    """Claims up to ``limit`` due recipients, fairly over the lanes; their attempt numbers are raised."""
    lanes = {(domain, account): deficit for domain, account, deficit in hot.due_lanes(now, LANES_AT_ONCE)}
    if not lanes:
        return []
    found: dict[tuple[str, str], list[Row]] = {lane: [] for lane in lanes}
    for row in hot.waiting(list(lanes)[:limit], now, max(1, limit // len(lanes))):
        found[row[3], row[4]].append(row)
    taken, deficits = take_turns(found, lanes)
    if taken:
        hot.claim(claimed_by, sorted((row[0], row[1]) for row in taken))
    visited = sorted(lane for lane in list(lanes)[:limit])
    hot.refresh_lanes(now, [(*lane, deficits[lane]) for lane in visited])
    hot.drop_empty_lanes(visited)
    return [_claim(row) for row in taken]


def take_turns(
    found: dict[tuple[str, str], list[Row]], deficits: dict[tuple[str, str], int]
) -> tuple[list[Row], dict[tuple[str, str], int]]:
    """Deficit round-robin: who is served now, and what each lane keeps of its octets.

    Rounds go on until somebody is served; a lane that waits with nothing keeps nothing.
    """
    left = {lane: list(reversed(rows)) for lane, rows in found.items()}
    kept = dict(deficits)
    taken: list[Row] = []
    while not taken and any(left.values()):
        for lane, rows in left.items():
            kept[lane] += QUANTUM_OCTETS
            while rows and rows[-1][_LENGTH] + RECIPIENT_OCTETS <= kept[lane]:
                kept[lane] -= rows[-1][_LENGTH] + RECIPIENT_OCTETS
                taken.append(rows.pop())
    return taken, {lane: kept[lane] if left[lane] else 0 for lane in kept}


def _claim(row: Row) -> Claim:
    message_id, number, address, domain, account_id, attempts, in_doubt, region, origin = row[:9]
    mail_from, header_from, accepted_at, eight_bit, hops, header_length, *place, sequence = row[9:]
    return Claim(
        message_id=MessageId(message_id),
        number=number,
        address=address,
        domain=domain,
        account_id=account_id,
        region=region,
        origin=ORIGINS[origin],
        mail_from=mail_from,
        header_from=header_from,
        accepted_at=accepted_at,
        attempts=attempts + 1,
        in_doubt=bool(in_doubt),
        eight_bit=bool(eight_bit),
        hops=hops,
        header_length=header_length,
        body=BodyLocation(*place),
        sequence=sequence,
    )


def claim_held(hot: Hot, claimed_by: int, accepted_before: Micros, limit: int) -> list[Claim]:
    """Claims up to ``limit`` held recipients of messages that old: to be settled, not to be tried.

    Their deaths stay counted: should this worker die as well, they are held again.
    """
    rows = hot.held(accepted_before, limit)
    if rows:
        hot.claim(claimed_by, sorted((row[0], row[1]) for row in rows))
    return [_claim(row) for row in rows]


def give_back(hot: Hot, claimed_by: int, claims: Iterable[Claim], due_at: Micros, now: Micros) -> None:
    """Claims that were not tried go back into their lanes; those that are no longer ours stay as they are."""
    keys = sorted({(claim.message_id, claim.number, claim.sequence) for claim in claims})
    effects = Effects(now)
    for domain, account_id in hot.give_back(claimed_by, due_at, keys):
        effects.wait_in_lane(domain, account_id, due_at)
    effects.apply(hot)


def release_some(hot: Hot, dead: int, now: Micros, *, died: bool) -> tuple[int, list[MessageId]]:
    """Frees up to 500 claims of a dead incarnation: how many, and the messages that are held from now on.

    ``died`` False: it came to an orderly end, only too late for these.
    """
    effects = Effects(now)
    held: list[MessageId] = []
    freed = hot.release(dead, now, 1 if died else 0, DEATHS, RELEASED_AT_ONCE)
    for message_id, number, sequence, domain, account_id, is_held in freed:
        effects.history.append((message_id, number, sequence, now, "worker-died", _death(dead, is_held)))
        if is_held:
            held.append(MessageId(message_id))
        else:
            effects.wait_in_lane(domain, account_id, now)
    effects.apply(hot)
    return len(freed), held


def _death(dead: int, is_held: Any) -> str:
    return f'{{"incarnation": {dead}, "held": {"true" if is_held else "false"}}}'

"""One next hop as this worker knows it: who waits for it, in what order, and whether it is worth asking now.

A destination that failed is left alone for a growing while, and everybody who waits for it waits together: a dead
host is found dead by one connection, not by every message. Among those who wait, accounts take turns, and mail that
has just been accepted goes before the backlog of the same account without starving it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sesrelay.delivery.hosts import Route
from sesrelay.delivery.transaction import Answer
from sesrelay.model.message import Claim

if TYPE_CHECKING:
    from sesrelay.delivery.connection import Connection

FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 600.0
STRIKES: Final = 5
"""Sessions that broke in a row before the destination is held to be unwell."""
BACKLOG_TURN: Final = 4
"""While new mail waits too, every fourth turn is the backlog's."""


def pause_seconds(failures: int, spread: float) -> float:
    """How long to leave a destination alone after so many failures in a row; ``spread`` in [0, 1) is the jitter."""
    return float(min(FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1), LONGEST_PAUSE_SECONDS) * (0.8 + 0.4 * spread))


@dataclass(slots=True, eq=False)
class Job:
    """Claims of one message that share a transaction."""

    claims: tuple[Claim, ...]
    content: bytes | None
    """None: read it from the store when its turn comes."""
    new: bool
    """Handed over at acceptance, not taken from a lane."""


@dataclass(slots=True, eq=False)
class Load:
    """What waits in this worker's memory, over all destinations."""

    jobs: int = 0
    octets: int = 0
    """Of content."""

    def add(self, job: Job, sign: int) -> None:
        """Counts a job in (1) or out (-1)."""
        self.jobs += sign
        if job.content is not None:
            self.octets += sign * len(job.content)


class FairQueue:
    """Jobs of several accounts; accounts take turns."""

    def __init__(self) -> None:
        self._by_account: dict[str, deque[Job]] = {}
        self._turns: deque[str] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def of_account(self, account_id: str) -> int:
        """How many of that account wait."""
        waiting = self._by_account.get(account_id)
        return len(waiting) if waiting else 0

    def push(self, job: Job, *, first: bool = False) -> None:
        """Behind its account's others, or before them."""
        account_id = job.claims[0].account_id
        waiting = self._by_account.get(account_id)
        if waiting is None:
            waiting = self._by_account[account_id] = deque()
            self._turns.append(account_id)
        if first:
            waiting.appendleft(job)
        else:
            waiting.append(job)
        self._length += 1

    def pop(self) -> Job:
        """The next account's oldest job. IndexError when nobody waits."""
        account_id = self._turns[0]
        waiting = self._by_account[account_id]
        job = waiting.popleft()
        if waiting:
            self._turns.rotate(-1)
        else:
            self._turns.popleft()
            del self._by_account[account_id]
        self._length -= 1
        return job


@dataclass(slots=True, eq=False)
class Destination:
    """A next hop (a smart host, or the exchangers of one domain) with its queues, connections and health."""

    site: str
    """What slots are counted by."""
    route: Route
    domain: str
    load: Load
    new: FairQueue = field(default_factory=FairQueue)
    backlog: FairQueue = field(default_factory=FairQueue)
    idle: list[Connection] = field(default_factory=list)
    connections: int = 0
    """Open ones."""
    opening: int = 0
    proven: bool = False
    """It took a session since it last failed."""
    failures: int = 0
    strikes: int = 0
    paused_until: float = 0.0
    """On the monotonic clock."""
    last_failure: Answer | None = None
    finished: int = 0
    """Jobs that ended since ``counted_at``; the pace of the backlog follows from it."""
    counted_at: float = 0.0
    turn: int = 0

    @property
    def waiting(self) -> int:
        """Jobs that wait for a connection."""
        return len(self.new) + len(self.backlog)

    @property
    def unused(self) -> bool:
        """Nothing would be lost by forgetting it."""
        return not (self.waiting or self.connections or self.opening)

    def waiting_of(self, account_id: str) -> int:
        """Jobs of one account that wait for a connection."""
        return self.new.of_account(account_id) + self.backlog.of_account(account_id)

    def push(self, job: Job, *, first: bool = False) -> None:
        """Somebody who waits."""
        self.load.add(job, 1)
        (self.new if job.new else self.backlog).push(job, first=first)

    def pop(self) -> Job:
        """Whose turn it is. IndexError when nobody waits."""
        self.turn += 1
        backlog = self.backlog and (not self.new or self.turn % BACKLOG_TURN == 0)
        job = (self.backlog if backlog else self.new).pop()
        self.load.add(job, -1)
        return job

    def wants_connection(self) -> bool:
        """One more connection would be of use: one probes a destination, many serve it once it is proven."""
        return self.opening < (self.waiting if self.proven else min(1, self.waiting))

    def answered(self) -> None:
        """A transaction was answered to its end, with whatever answer."""
        self.proven = True
        self.failures = self.strikes = 0
        self.last_failure = None

    def session_broke(self, answer: Answer) -> bool:
        """A session ended in the middle; True when that is once too often."""
        self.strikes += 1
        self.last_failure = answer
        return self.strikes >= STRIKES

    def failed(self, answer: Answer, now: float, spread: float) -> float:
        """It is not worth asking now; returns for how many seconds."""
        self.proven = False
        self.strikes = 0
        self.last_failure = answer
        if self.paused_until <= now:  # several connections that fail together are one failure
            self.failures += 1
            self.paused_until = now + pause_seconds(self.failures, spread)
        return self.paused_until - now

"""How many connections may be open to one site; who may open one more.

The ceiling is the node's. For now every worker owns its fixed share of it; the interface is the one behind which
shares can be lent out by need.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Protocol

WORKER_CONNECTIONS: Final = 1000
"""Of one worker to all sites together: descriptors are not endless, and our own listeners need some."""


class Slots(Protocol):
    """Permissions to have a connection, by site."""

    def take(self, site: str) -> bool:
        """One more connection to this site? Never waits."""

    def give(self, site: str) -> None:
        """A connection that was permitted is closed."""


class WorkerShareOfSlots:
    """The node's ceiling divided by its workers; at least one. Scope: this worker."""

    def __init__(self, node_ceiling: int, workers: int, in_all: int = WORKER_CONNECTIONS) -> None:
        self._free = in_all
        self._share = max(1, node_ceiling // max(1, workers))
        self._taken: Counter[str] = Counter()

    def take(self, site: str) -> bool:
        """One more connection to this site?"""
        if not self._free or self._taken[site] >= self._share:
            return False
        self._free -= 1
        self._taken[site] += 1
        return True

    def give(self, site: str) -> None:
        """A connection is closed."""
        self._free += 1
        self._taken[site] -= 1
        if self._taken[site] <= 0:
            del self._taken[site]

"""How many sessions there may be (SMTP-9): of the whole node, and from one client address.

Workers are several processes: the node's count is kept where all of them reach it (``runtime``); the one here
counts its own worker only, for tests and for a single process.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class NodeConnections(Protocol):
    """Counts the sessions of the node."""

    def admit(self, address: str) -> bool:
        """True: there was room for one more from this address, and it is counted."""

    def leave(self, address: str) -> None:
        """A session that was admitted has ended."""


class WorkerConnections:
    """The same for one worker."""

    def __init__(self, *, at_all: int, per_address: int) -> None:
        self._at_all = at_all
        self._per_address = per_address
        self._by_address: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        if self._by_address.total() >= self._at_all or self._by_address[address] >= self._per_address:
            return False
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]

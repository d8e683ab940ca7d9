"""Lines in the log about misbehaving peers: one for each in a minute, or anybody could fill the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

SPAN_SECONDS: Final = 60.0
MOST: Final = 1000
"""Peers in one such span."""


class Complaints:
    """Of one process. ``say`` writes a line; ``now`` is in seconds that only grow."""

    def __init__(self, say: Callable[..., Any], now: Callable[[], float]) -> None:
        self._say = say
        self._now = now
        self._began = 0.0
        self._peers: set[str] = set()

    def about(self, event: str, peer: str, reason: str) -> None:
        """Says it, unless something was said about this peer just now."""
        now = self._now()
        if not self._peers or now - self._began >= SPAN_SECONDS:
            self._peers.clear()
            self._began = now
        if peer not in self._peers and len(self._peers) < MOST:
            self._peers.add(peer)
            self._say(event, client=peer, reason=reason)

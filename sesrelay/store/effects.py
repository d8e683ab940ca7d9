"""What accepting and settling do to shared rows, added up over a batch and written once, in one order of tables."""

from __future__ import annotations

from typing import Final

from sesrelay.model.clock import MINUTE, Micros
from sesrelay.model.message import RecipientState
from sesrelay.store.hot import COUNTERS, Hot, Row

QUARTER: Final = 15 * MINUTE

ACCEPTED: Final = COUNTERS.index("accepted")
SENT: Final = COUNTERS.index("sent")
CAPTURED: Final = COUNTERS.index("captured")
HARD_BOUNCES: Final = COUNTERS.index("hard_bounces")
COUNTER_OF: Final = {state: COUNTERS.index(state) for state in RecipientState if state is not RecipientState.QUEUED}


class Effects:
    """Lanes, statistics, history and outbox rows of one batch."""

    def __init__(self, now: Micros) -> None:
        self.now = now
        self._quarter = now // QUARTER
        self._lanes: dict[tuple[str, str], Micros] = {}
        self._statistics: dict[tuple[str, str], list[int]] = {}
        self.history: list[Row] = []
        self.outbox: list[Row] = []

    def wait_in_lane(self, domain: str, account_id: str, due_at: Micros) -> None:
        """Somebody waits there until ``due_at``."""
        lane = (domain, account_id)
        if due_at < self._lanes.get(lane, due_at + 1):
            self._lanes[lane] = due_at

    def counters(self, account_id: str, region: str) -> list[int]:
        """The counters of an account's quarter, to be added to by position."""
        found = self._statistics.get((account_id, region))
        if found is None:
            found = self._statistics[account_id, region] = [0] * len(COUNTERS)
        return found

    def apply(self, hot: Hot) -> None:
        """Writes them; the statistics last, because every process of a busy account wants that row."""
        hot.insert_history(sorted(self.history))
        hot.insert_outbox(self.outbox)
        hot.raise_lanes([(*lane, due_at) for lane, due_at in sorted(self._lanes.items())])
        hot.add_statistics([(*key, self._quarter, *counts) for key, counts in sorted(self._statistics.items())])

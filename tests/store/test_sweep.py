"""Which segments go, which stay and which give their rest away."""

from __future__ import annotations

import pytest

from sesrelay.model.clock import DAY
from sesrelay.store.sweep import Fate, SegmentUse, fate

NOW = 100 * DAY


@pytest.mark.parametrize(
    ("written", "needed", "age_days", "expected"),
    [
        (1000, 0, 4, Fate.REMOVE),
        (1000, 0, 0, Fate.REMOVE),
        (1000, 1000, 0, Fate.KEEP),
        (1000, 10, 1, Fate.KEEP),
        (1000, 10, 4, Fate.MOVE),
        (1000, 250, 4, Fate.MOVE),
        (1000, 251, 4, Fate.KEEP),
        (300_000, 300_000, 20, Fate.KEEP),
    ],
)
def test_the_fate_of_a_segment(written: int, needed: int, age_days: int, expected: Fate) -> None:
    use = SegmentUse("a.000001.segment", written, needed, NOW - age_days * DAY)
    assert fate(use, NOW, retention=3 * DAY) is expected

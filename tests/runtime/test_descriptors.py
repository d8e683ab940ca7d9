"""File descriptors of the process."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from sesrelay.runtime import descriptors

SCRIPT = """
import resource
from sesrelay.runtime import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (200, {hard}))
descriptors.raise_limit()
print(descriptors.limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_limit_is_raised_to_what_it_may_be() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(hard=300)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["300", "300", "300"]


def test_where_it_may_not_be_raised_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    before = descriptors.limit()
    monkeypatch.setattr(resource, "setrlimit", forbidden)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 20))
    descriptors.raise_limit()
    assert descriptors.limit() == before


@pytest.mark.parametrize(("limit", "sessions"), [(65_536, 45_056), (1024, 704), (256, 176), (100, 30), (10, 1)])
def test_sessions_never_get_all_of_them(limit: int, sessions: int) -> None:
    assert descriptors.for_sessions(limit) == sessions


def test_a_worker_needs_some_beside_its_listeners() -> None:
    assert descriptors.for_worker(0) == descriptors.KEPT
    assert descriptors.for_worker(40) == descriptors.KEPT + 40

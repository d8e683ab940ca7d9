"""What every test may use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.clock import FakeClock

pytest_plugins = ["tests.databases"]

# It shows what differs between two messages.
pytest.register_assert_rewrite("tests.peers.samples")

# How long one example takes says more about who else uses the machine than about the code.
settings.register_profile("sesrelay", deadline=None)
settings.load_profile("sesrelay")

# A test never inherits the configuration of the machine that it runs on.
for name in [name for name in os.environ if name.startswith("SESRELAY_")]:
    del os.environ[name]

# Each of the hundreds of processes that tests start would compile the whole package: a third of what a start costs.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves by hand."""
    return FakeClock()


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """``runner.run(coroutine)`` on both event loops; for synchronous tests."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as made:
        yield made

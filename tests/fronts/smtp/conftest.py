"""Fixtures of the front door's tests; what they give is in ``house``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.fronts.smtp.house import House


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the certificates."""
    return trustme.CA()


@pytest.fixture(params=["asyncio", "uvloop"])
def house(request: pytest.FixtureRequest, tmp_path: Path, authority: trustme.CA) -> Iterator[House]:
    """A front door on both event loops."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    made = House(factory, tmp_path, authority)
    yield made
    made.close()

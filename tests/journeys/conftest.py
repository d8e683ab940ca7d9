"""What every journey may use."""

from __future__ import annotations

import pytest


@pytest.fixture
def fresh_database() -> bool:
    """A journey has its database for itself: what it kills may leave anything behind."""
    return True

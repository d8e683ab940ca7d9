"""What every journey may use."""

from __future__ import annotations

import pytest

from tests.store.conftest import Postgres, postgres_server

__all__ = ["database_url", "postgres_server"]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of this journey's own, as the configuration names it."""
    if request.param == "sqlite":
        return "sqlite"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.make()

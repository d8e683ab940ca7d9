"""What every journey may use."""

from tests.store.conftest import database_url, postgres_server

__all__ = ["database_url", "postgres_server"]

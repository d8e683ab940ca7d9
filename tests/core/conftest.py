"""The verbs are also tested on a real store: its fixtures, on both databases."""

from tests.store.conftest import another, database_url, migrated, options, postgres_server, store

__all__ = ["another", "database_url", "migrated", "options", "postgres_server", "store"]

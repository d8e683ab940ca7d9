"""What a data folder is known by, for those who look at it without opening it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

DATABASE: Final = "sesrelay.db"
"""The file of the embedded database."""


def no_database(data_dir: Path) -> str:
    """What to say where the embedded database is not: whoever made a new one in silence would hide a loss."""
    return (
        f"there is no database {data_dir / DATABASE}: if there was one, put its backup there; "
        "sesrelay init or sesrelay migrate makes a new, empty one"
    )

"""What each process loads: memory is counted, and what is loaded only where it is used is not loaded elsewhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("botocore", "aiohttp", "jinja2", "alembic", "mako", "psycopg", "argon2")
LIGHT = (
    *HEAVY,
    "sqlalchemy",
    "pysqlite3",
    "pydantic",
    "yaml",
    "structlog",
    "cryptography",
    "aiosmtpd",
)


def loaded_by(module: str) -> set[str]:
    script = f"import sys, {module}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [("sesrelay.runtime.worker", HEAVY), ("sesrelay.runtime.supervisor", LIGHT)],
)
def test_a_process_loads_only_what_it_needs(module: str, unwanted: tuple[str, ...]) -> None:
    assert not loaded_by(module) & set(unwanted)


def test_waits_before_a_restart_grow_to_half_a_minute() -> None:
    from sesrelay.runtime.children import wait_before_restart

    assert [wait_before_restart(lives) for lives in (1, 2, 3, 4)] == [0, 0.25, 0.5, 1]
    assert wait_before_restart(1000) == 30

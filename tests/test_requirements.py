"""What is installed is what is asked for: each dependency is pinned, for running and for development."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(lines: list[str]) -> set[str]:
    """The packages that lines of requirements begin with, without extras and versions."""
    found = (re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line) for line in lines)
    return {match[0].lower().replace("_", "-") for match in found if match}


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("requirements.txt", PROJECT["dependencies"]),
        ("requirements-dev.txt", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]),
    ],
)
def test_every_dependency_is_pinned(file: str, wanted: list[str]) -> None:
    missing = names(wanted) - names((ROOT / file).read_text().splitlines())
    assert not missing, f"run `make lock`: {file} lacks {missing}"

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.house import House, Template


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("template") / "data")


@pytest.fixture
def house(template: Template, tmp_path: Path) -> Iterator[House]:
    """A relay that is set up and not yet started."""
    made = House(template, tmp_path)
    yield made
    made.end()

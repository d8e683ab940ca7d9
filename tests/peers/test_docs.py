"""docs/CLIENTS.md shows only what is run (by its neighbours here, in ``make peers``)."""

from __future__ import annotations

import re
from pathlib import Path

from tests.peers.guide import BLOCKS

USE = re.compile(r'\bblock\(\s*"([^"]+)",\s*"([^"]+)"')


def test_every_block_with_a_file_name_is_run_by_some_peer() -> None:
    sources = (path.read_text() for path in Path(__file__).parent.glob("*.py"))
    used = {key for source in sources for key in USE.findall(source)}
    assert used == set(BLOCKS)

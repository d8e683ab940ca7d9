"""docs/OPERATING.md says what is so of the HTTPS port."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sesrelay.runtime.descriptors import for_https_crowd
from sesrelay.runtime.https import arrivals, waiting
from sesrelay.settings import Http

TEXT = (Path(__file__).parents[3] / "docs" / "OPERATING.md").read_text()
PART = TEXT.partition("**The HTTPS port** has bounds")[2].partition("**Failed logins** fade")[0]
ROWS = [row.split(" | ") for row in re.findall(r"^\| (.+) \|$", PART, re.MULTILINE)]


def test_every_bound_stands_there_with_its_default() -> None:
    described: dict[str, float] = {}
    for _, bounds, defaults, *_ in ROWS:
        names = re.findall(r"`(\w+)`", bounds)
        described |= zip(names, map(float, re.findall(r"\d+", defaults)), strict=False)
    numbers = {
        name: float(field.default)
        for name, field in Http.model_fields.items()
        if isinstance(field.default, int | float) and name != "port"
    }
    assert described == numbers


@pytest.mark.parametrize(
    "words",
    [
        f"`body_seconds` for each {waiting.PROGRESS_OCTETS} octets",
        f"`answer_seconds` for each {waiting.PROGRESS_OCTETS} octets",
        f"{arrivals._HANDSHAKES_PER_ADDRESS} of an address and {arrivals._HANDSHAKES} of a worker",
        f"beyond {for_https_crowd(1 << 20)} of these in a worker",
    ],
)
def test_every_fixed_number_stands_there(words: str) -> None:
    assert words in PART

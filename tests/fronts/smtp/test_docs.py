"""docs/SMTP.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sesrelay.fronts.smtp import data, replies, session, shortway
from sesrelay.settings import Smtp

TEXT = (Path(__file__).parents[3] / "docs" / "SMTP.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", TEXT, re.MULTILINE))


def test_every_bound_is_described_with_its_default() -> None:
    numbers = {
        name: str(int(field.default))
        for name, field in Smtp.model_fields.items()
        if isinstance(field.default, int | float) and field.default is not False
    }
    assert numbers == ROWS


@pytest.mark.parametrize(
    "number",
    [
        *(session.LONGEST_COMMAND, session.LONGEST_AUTH_LINE, session.KEPT_RECIPIENTS),
        *(data.SPOOLED_OCTETS, shortway.COMMANDS_IN_A_TURN),
    ],
)
def test_every_fixed_number_is_described(number: int) -> None:
    assert re.search(rf"\b{number}\b", TEXT)


def test_every_reply_that_is_described_is_one_of_ours() -> None:
    ours = {value.decode().rstrip() for value in vars(replies).values() if isinstance(value, bytes)}
    ours |= {words for words in replies.WORDS.values() if isinstance(words, str)}
    described = {reply for reply in re.findall(r"`([2345]\d\d [^`]+)`", TEXT) if "…" not in reply}
    assert described <= ours
    assert len(described) > 12

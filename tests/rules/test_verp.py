from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.message import MessageId
from sesrelay.rules import verp

KEY = bytes(range(32))
ids = st.binary(min_size=24, max_size=24).map(MessageId)


@given(ids, st.integers(0, 65535), st.randoms())
def test_a_return_path_comes_home_in_any_case_of_letters(message_id: MessageId, number: int, chance: object) -> None:
    address = verp.address(message_id, number, "bounces.us-east-1.relay.example.net", KEY)
    local, _, domain = address.partition("@")
    assert (len(local), domain) == (55, "bounces.us-east-1.relay.example.net")
    assert local == local.lower()
    for spelled in (local, local.upper(), "".join(c.upper() if i % 3 else c for i, c in enumerate(local))):
        assert verp.parse(spelled, [os.urandom(32), KEY]) == (message_id, number)


@given(ids, st.integers(0, 65535), st.integers(0, 53), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_whatever_is_changed_is_noticed(message_id: MessageId, number: int, at: int, letter: str) -> None:
    local = verp.local_part(message_id, number, KEY)
    changed = local[:at] + letter + local[at + 1 :]
    assert (verp.parse(changed, [KEY]) is None) == (changed != local)


@given(st.text(max_size=60))
def test_what_is_not_ours_is_nobody(local: str) -> None:
    assert verp.parse(local, [KEY]) is None


def test_another_key_does_not_open_it() -> None:
    local = verp.local_part(MessageId(bytes(24)), 7, KEY)
    assert verp.parse(local, [b"x" * 32]) is None
    assert verp.parse(local, []) is None

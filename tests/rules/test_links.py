from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.identity import AddressLink
from sesrelay.rules import links

KEY, OLD = bytes(range(32)), bytes(32)
LINK = AddressLink("123456789012", "us-east-1", "Ann+x@shop.example", 1_790_000_000_000_000)


def test_a_link_says_what_was_put_into_it_also_after_the_keys_were_rotated() -> None:
    assert links.read(links.write(LINK, KEY), [KEY]) == LINK
    assert links.read(links.write(LINK, OLD), [KEY, OLD]) == LINK
    assert links.read(links.write(LINK, OLD), [KEY]) is None


def test_the_longest_address_fits() -> None:
    longest = AddressLink("123456789012", "r" * 32, "l" * 64 + "@" + "d" * 190, 10**18)
    text = links.write(longest, KEY)
    assert links.read(text, [KEY]) == longest
    assert len(text) < 800


@given(st.integers(0, 200), st.characters(codec="utf-8"))
def test_no_changed_link_is_taken(place: int, character: str) -> None:
    text = links.write(LINK, KEY)
    place %= len(text)
    changed = text[:place] + character + text[place + 1 :]
    read = links.read(changed, [KEY])
    assert read in (None, LINK)


@given(st.text(max_size=60))
def test_nonsense_is_no_link(text: str) -> None:
    assert links.read(text, [KEY]) is None

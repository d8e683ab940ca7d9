"""Who may begin a handshake when, and who makes room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from sesrelay.fronts.smtp.handshakes import Handshakes


class Someone:
    """Tells whether it was begun and whether it was cut."""

    def __init__(self, client: str = "192.0.2.1") -> None:
        self.client = client
        self.begun = self.was_cut = False

    def begin(self) -> None:
        self.begun = True

    def cut(self) -> None:
        self.was_cut = True


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@on_a_loop
async def test_so_many_begin_in_a_turn_in_the_order_of_their_coming() -> None:
    handshakes = Handshakes(in_a_turn=2, most=100, most_per_address=100)
    people = [Someone() for _ in range(5)]
    for each in people:
        handshakes.want(each)
    assert [each.begun for each in people] == [True, False, False, False, False]  # nobody was before it
    seen = []
    for _ in range(2):
        await turns(1)
        seen.append([each.begun for each in people].count(True))
        assert all(each.begun for each in people[: seen[-1]])
    assert seen == [3, 5]
    assert handshakes.under_way == 5


@on_a_loop
async def test_an_address_waits_for_its_own_places_and_keeps_nobody_else_waiting() -> None:
    handshakes = Handshakes(most=100, most_per_address=2)
    greedy, other = [Someone() for _ in range(4)], Someone("192.0.2.2")
    for each in (*greedy, other):
        handshakes.want(each)
    await turns(10)
    assert [each.begun for each in greedy] == [True, True, False, False]
    assert other.begun
    handshakes.leave(greedy[2])
    handshakes.ended(greedy[0])
    handshakes.ended(greedy[1])
    await turns(10)
    assert [each.begun for each in greedy] == [True, True, False, True]
    handshakes.ended(greedy[3])
    handshakes.ended(other)
    assert not handshakes.under_way
    assert [*handshakes._by_address, *handshakes._parked, *handshakes._ready] == []


@on_a_loop
async def test_the_one_that_takes_longest_makes_room_when_all_places_are_taken() -> None:
    handshakes = Handshakes(most=3, most_per_address=100)
    people = [Someone() for _ in range(4)]
    for each in people:
        handshakes.want(each)
    await turns(10)
    assert all(each.begun for each in people)
    assert [each.was_cut for each in people] == [True, False, False, False]


@on_a_loop
async def test_who_leaves_before_its_turn_is_never_begun() -> None:
    handshakes = Handshakes()
    first, gone, here = Someone(), Someone(), Someone()
    handshakes.want(first)
    handshakes.want(gone)
    handshakes.want(here)
    handshakes.leave(gone)
    await turns(5)
    assert (gone.begun, here.begun) == (False, True)

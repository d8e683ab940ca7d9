"""Who may begin a handshake when, and who makes room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.connections.handshakes import SECONDS_BETWEEN, ByAddress, Handshakes


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
    assert [*handshakes._by_address, *handshakes._parked, *handshakes._ready._waiting] == []


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


ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3"])


@given(st.lists(ADDRESSES), st.lists(st.booleans()))
def test_addresses_take_turns_and_who_came_first_is_first_of_its_address(came: list[str], left: list[bool]) -> None:
    waiting, people = ByAddress(), [Someone(address) for address in came]
    for each in people:
        waiting.put(each)
    gone = [each for each, leaves in zip(people, left, strict=False) if leaves]
    for each in gone:
        waiting.remove(each)
        waiting.remove(each)  # nothing happens
    here = [each for each in people if each not in gone]
    taken = []
    while waiting:
        taken.append(waiting.take())
    for address in set(came):
        assert [each for each in taken if each.client == address] == [each for each in here if each.client == address]
    rounds = [sum(each.client == other.client for other in taken[:place]) for place, each in enumerate(taken)]
    assert rounds == sorted(rounds)  # nobody is taken for the second time before everybody was for the first


@on_a_loop
async def test_who_floods_waits_behind_itself() -> None:
    handshakes = Handshakes()
    flood, other = [Someone() for _ in range(20)], Someone("192.0.2.2")
    for each in (*flood, other):
        handshakes.want(each)
    await turns(2)
    assert other.begun
    assert sum(each.begun for each in flood) == 2


class Later:
    """What the loop was asked to do later."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []
        patch.setattr(asyncio.get_running_loop(), "call_later", self._call_later)

    def _call_later(self, seconds: float, act: Callable[[], None]) -> Callable[[], None]:
        self.calls.append((seconds, act))
        return act

    def pass_by(self, seconds: float) -> int:
        """Does what was due after so long; how many things."""
        due = [call for call in self.calls if call[0] == seconds]
        self.calls = [call for call in self.calls if call not in due]
        for _, act in due:
            act()
        return len(due)


@on_a_loop
async def test_there_is_time_between_two_while_established_sessions_work() -> None:
    with pytest.MonkeyPatch.context() as patch:
        later = Later(patch)
        handshakes = Handshakes()
        handshakes.established_worked()
        people = [Someone(f"192.0.2.{number}") for number in range(5)]
        for each in people:
            handshakes.want(each)
        await turns(10)
        assert [each.begun for each in people] == [True, False, False, False, False]
        assert later.pass_by(SECONDS_BETWEEN) == 1
        await turns(10)
        assert [each.begun for each in people] == [True, True, False, False, False]
        assert later.pass_by(1.0) == 1
        handshakes.established_worked()
        assert later.pass_by(1.0) == 1  # it has worked in the span that ended
        assert later.pass_by(1.0) == 1  # and in the next it has not
        assert later.pass_by(1.0) == 0
        assert later.pass_by(SECONDS_BETWEEN) == 1
        await turns(10)
        assert all(each.begun for each in people)


@on_a_loop
async def test_an_upgrade_waits_for_its_turn_and_gives_it_back() -> None:
    handshakes = Handshakes(most_per_address=1)
    said = []

    async def upgrade(name: str) -> None:
        async with handshakes.turn("192.0.2.1", lambda: said.append("cut")):
            said.append(name)
            await asyncio.sleep(0)

    works = [asyncio.create_task(upgrade(name)) for name in ("first", "gives up", "second")]
    await turns(1)
    assert said == ["first"]
    works[1].cancel()
    await asyncio.wait(works)
    assert said == ["first", "second"]
    assert not handshakes.under_way
    assert [*handshakes._by_address, *handshakes._parked, *handshakes._ready._waiting] == []


@on_a_loop
async def test_handshakes_of_another_port_leave_time_for_established_sessions_too() -> None:
    with pytest.MonkeyPatch.context() as patch:
        later = Later(patch)
        mail = Handshakes()
        handshakes = Handshakes(beside=mail)
        mail.established_worked()
        people = [Someone(f"192.0.2.{number}") for number in range(3)]
        for each in people:
            handshakes.want(each)
        await turns(10)
        assert [each.begun for each in people] == [True, False, False]
        assert later.pass_by(SECONDS_BETWEEN) == 1
        assert [each.begun for each in people] == [True, True, False]

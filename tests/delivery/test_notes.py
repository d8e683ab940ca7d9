"""Notes are written in groups and never dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

import pytest

from sesrelay.delivery.attempt import captured
from sesrelay.delivery.notes import GROUP, Notes
from sesrelay.model.clock import Micros
from sesrelay.model.message import AttemptResult, Claim
from tests.clock import START, FakeClock
from tests.delivery.kit import claim


class Desk:
    """Takes notes, or does not."""

    def __init__(self) -> None:
        self.groups: list[list[AttemptResult]] = []
        self.returned: list[tuple[list[Claim], Micros]] = []
        self.postponed: list[tuple[set[tuple[str, str]], Micros]] = []
        self.faults = 0
        self.poison: Claim | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def settle(self, results: Sequence[AttemptResult]) -> None:
        await self.open.wait()
        if self.faults or any(result.claim is self.poison for result in results):
            self.faults = max(0, self.faults - 1)
            raise RuntimeError("no")
        self.groups.append(list(results))

    async def give_back(self, claims: Sequence[Claim], due_at: Micros) -> None:
        if self.faults:
            self.faults -= 1
            raise RuntimeError("no")
        self.returned.append((list(claims), due_at))

    async def postpone_lanes(self, lanes: Collection[tuple[str, str]], due_at: Micros) -> None:
        self.postponed.append((set(lanes), due_at))


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def notes(desk: Desk, clock: FakeClock) -> AsyncIterator[Notes]:
    made = Notes(desk.settle, desk.give_back, desk.postpone_lanes, clock)
    task = asyncio.ensure_future(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_while_one_group_is_written_the_next_one_forms(desk: Desk, notes: Notes, clock: FakeClock) -> None:
    desk.open.clear()
    for _ in range(10):
        notes.add([captured(claim(), START)])
        await clock.settle()
    desk.open.set()
    await clock.settle()
    assert [len(group) for group in desk.groups] == [1, 9]
    assert not notes.pending


async def test_a_group_has_a_bound(desk: Desk, notes: Notes, clock: FakeClock) -> None:
    notes.add([captured(claim(), START)] * (GROUP + 1))
    await clock.settle()
    assert [len(group) for group in desk.groups] == [GROUP, 1]


async def test_one_note_that_cannot_be_written_holds_up_no_other(desk: Desk, notes: Notes, clock: FakeClock) -> None:
    desk.poison = claim()
    notes.add([captured(claim(), START), captured(desk.poison, START), captured(claim(), START)])
    await clock.advance(1)
    assert [len(group) for group in desk.groups] == [1, 1]
    assert notes.pending
    desk.poison = None
    await clock.advance(1)
    assert [len(group) for group in desk.groups] == [1, 1, 1]
    assert not notes.pending


async def test_claims_go_back_by_their_due_time(desk: Desk, notes: Notes, clock: FakeClock) -> None:
    one, two, three = claim(), claim(), claim()
    notes.give_back([one], 5)
    notes.give_back([two], 7)
    notes.give_back([three], 5)
    notes.give_back([], 9)
    await clock.settle()
    assert desk.returned == [([one, three], 5), ([two], 7)]
    assert desk.postponed == []


async def test_a_lane_whose_destination_is_unwell_is_postponed_as_a_whole(
    desk: Desk, notes: Notes, clock: FakeClock
) -> None:
    notes.give_back([claim(), claim(), claim(account_id="b")], 5, postpone_lanes=True)
    await clock.settle()
    assert desk.postponed == [({("example.org", "111122223333"), ("example.org", "b")}, 5)]


async def test_giving_back_is_tried_again(desk: Desk, notes: Notes, clock: FakeClock) -> None:
    desk.faults = 2
    one = claim()
    notes.give_back([one], 5)
    await clock.advance(1)
    assert desk.returned == []
    assert notes.pending
    await clock.advance(2)
    assert desk.returned == [([one], 5)]
    assert not notes.pending

from __future__ import annotations

from sesrelay.core.settle import Settling
from sesrelay.model.message import AttemptResult, Origin, RecipientState, Settlement
from sesrelay.model.reply import Reply, Scope, Stage
from sesrelay.rules.retries import DEFAULT
from tests.clock import FakeClock
from tests.core.fakes import FakeStore
from tests.rules.test_outcomes import CLAIM


def result(number: int, code: int, origin: Origin = Origin.CLIENT) -> AttemptResult:
    one = CLAIM._replace(number=number, origin=origin)
    return AttemptResult(one, Stage.END_OF_DATA, Scope.RECIPIENT, Reply(code, "", ("words",)), "")


async def test_results_become_verdicts_and_only_what_was_ours_is_counted(clock: FakeClock) -> None:
    store, counted = FakeStore(clock), list[Settlement]()
    clock.set_wall(CLAIM.accepted_at)
    store.lost = {(CLAIM.message_id, 1)}
    settling = Settling(store, clock, bytes, DEFAULT, counted.append)
    await settling.settle([result(0, 250), result(1, 550), result(2, 451), result(3, 550, Origin.RELAY)])
    states = [settlement.verdict.state for settlement in store.settled]
    assert states == [RecipientState.DELIVERED, RecipientState.BOUNCED, RecipientState.QUEUED, RecipientState.BOUNCED]
    assert [settlement.verdict.tells_sender for settlement in store.settled] == [False, True, False, False]
    assert [settlement.claim.number for settlement in counted] == [0, 2, 3]

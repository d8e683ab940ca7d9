"""When what the store stands on gives way: the client is told to come again, nothing is lost, no restart is needed."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from functools import partial

import pytest
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import select

from sesrelay.model.message import Claim, RecipientState
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.store import Store, postgres
from sesrelay.store.batch import Ours
from sesrelay.store.engine import Engine
from sesrelay.store.errors import DatabaseAway, NotDurable
from sesrelay.store.placing import EmbeddedPlacing
from sesrelay.store.schema import history, messages, recipients
from sesrelay.store.session import Session
from sesrelay.store.sqlite import SqliteSession
from sesrelay.store.transactions import Transactions
from tests.clock import FakeClock
from tests.store.samples import an_order, open_account, settled

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

BIG = b"Subject: x\r\n\r\n" + b"x" * 20_000


@pytest.fixture(autouse=True)
async def account(store: Store) -> None:
    await store.write(open_account)


async def refusal(store: Store, **changes: object) -> Refusal:
    with pytest.raises(Refused) as refused:
        await store.accept(an_order(**changes))
    return refused.value.refusal


async def stored(store: Store) -> set[bytes]:
    return {bytes(row.message_id) for row in await store.read(lambda tx: tx.execute(select(messages.c.message_id)))}


@only_sqlite
@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, Refusal.STORAGE_FULL), (errno.EIO, Refusal.UNAVAILABLE)]
)
async def test_a_disk_that_fails_under_the_bodies(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, expected: Refusal
) -> None:
    def fail(_messages: object) -> None:
        raise OSError(number, "injected")

    with monkeypatch.context() as broken:
        broken.setattr(store._bodies, "append", fail)
        assert await refusal(store, content=BIG) is expected
        assert (await store.accept(an_order())).claims, "small mail does not need that file"
    accepted = await store.accept(an_order(content=BIG))
    assert await store.body(accepted.message_id, accepted.claims[0].body) == BIG


@only_sqlite
async def test_a_database_that_cannot_grow_is_full_until_it_can(store: Store) -> None:
    accepted = await store.accept(an_order())
    pages = await store._hot(lambda session, _: session.hot.run("PRAGMA page_count")[0][0])
    await store._hot(lambda session, _: session.hot.run(f"PRAGMA max_page_count = {pages}"))
    kinds = {await refusal(store, content=b"Subject: x\r\n\r\n" + b"x" * 15_000) for _ in range(3)}
    assert kinds == {Refusal.STORAGE_FULL}
    await store._hot(lambda session, _: session.hot.run(f"PRAGMA max_page_count = {pages + 1000}"))
    assert await store.settle([settled(accepted.claims[0])])
    await store.accept(an_order())
    assert await store.verify() == []


def fail_commits(monkeypatch: pytest.MonkeyPatch, count: int) -> list[int]:
    """The next commits of this process fail as a failed fsync does."""
    commit = SqliteSession.commit
    failed: list[int] = []

    def failing(self: SqliteSession) -> None:
        if len(failed) < count:
            failed.append(1)
            error = sqlite.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite.SQLITE_IOERR | (4 << 8)
            raise error
        commit(self)

    monkeypatch.setattr(SqliteSession, "commit", failing)
    return failed


@only_sqlite
async def test_a_failed_sync_of_the_database_is_not_believed_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await store._hot(lambda session, _: session)
    failed = fail_commits(monkeypatch, 3)
    assert await refusal(store) is Refusal.UNAVAILABLE
    assert len(failed) == 3
    accepted = await store.accept(an_order())
    assert await store._hot(lambda session, _: session) is not before
    assert await stored(store) == {accepted.message_id}


@only_sqlite
async def test_a_settle_outlives_a_database_that_cannot_write(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = await store.accept(an_order())
    fail_commits(monkeypatch, 4)
    assert await store.settle([settled(accepted.claims[0])]) == {(accepted.message_id, 0)}


@only_postgres
async def test_the_database_goes_away_and_comes_back(
    store: Store, postgres_power: tuple[Callable[[], None], Callable[[], None]]
) -> None:
    stop, start = postgres_power
    accepted = await store.accept(an_order())
    await asyncio.to_thread(stop)
    try:
        assert await refusal(store) is Refusal.UNAVAILABLE
        with pytest.raises(DatabaseAway):
            await store.read(lambda tx: tx.execute(select(messages)))
        with pytest.raises(DatabaseAway):
            await store.write(lambda tx: tx.execute(select(messages)))
        waiting = asyncio.create_task(store.settle([settled(accepted.claims[0])]))
        assert await refusal(store) is Refusal.UNAVAILABLE
        assert not waiting.done()
    finally:
        await asyncio.to_thread(start)
    assert await waiting == {(accepted.message_id, 0)}
    second = await store.accept(an_order())
    assert await stored(store) == {accepted.message_id, second.message_id}
    assert await store.verify() == []


def lose_answers(monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> None:
    """The connection dies at the next commit, after or before the server has done it."""
    commit = postgres.PostgresSession.commit
    lost: list[int] = []

    def losing(self: postgres.PostgresSession) -> None:
        if lost:
            commit(self)
            return
        lost.append(1)
        if committed:
            commit(self)
        self._connection.close()
        commit(self)

    monkeypatch.setattr(postgres.PostgresSession, "commit", losing)


@only_postgres
async def test_a_commit_whose_answer_was_lost_is_looked_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await store.accept(an_order())
    lose_answers(monkeypatch, committed=True)
    order = an_order()
    accepted, applied = await asyncio.gather(store.accept(order), store.settle([settled(first.claims[0])]))
    assert accepted.message_id == order.message.message_id
    assert applied == {(first.message_id, 0)}
    assert await stored(store) == {first.message_id, accepted.message_id}


@only_postgres
async def test_a_settle_whose_commit_answer_was_lost_is_looked_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await store.accept(an_order())
    lose_answers(monkeypatch, committed=True)
    assert await store.settle([settled(first.claims[0])]) == {(first.message_id, 0)}
    assert len(await store.read(lambda tx: tx.execute(select(history)))) == 1


@only_postgres
async def test_a_commit_that_never_was_is_refused_and_settles_are_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await store.accept(an_order())
    lose_answers(monkeypatch, committed=False)
    answer, applied = await asyncio.gather(
        store.accept(an_order()), store.settle([settled(first.claims[0])]), return_exceptions=True
    )
    assert isinstance(answer, Refused)
    assert answer.refusal is Refusal.UNAVAILABLE
    assert applied == {(first.message_id, 0)}
    assert await stored(store) == {first.message_id}


@only_postgres
async def test_claims_whose_commit_answer_was_lost_reach_who_asked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = await store.accept(an_order(claimed=False))
    lose_answers(monkeypatch, committed=True)
    assert [claim.message_id for claim in await store.claim_due(10)] == [waiting.message_id]


@only_postgres
async def test_a_claim_whose_commit_never_was_can_be_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = await store.accept(an_order(claimed=False))
    lose_answers(monkeypatch, committed=False)
    with pytest.raises(DatabaseAway):
        await store.claim_due(10)
    (claim,) = await store.claim_due(10)
    assert (claim.message_id, claim.attempts) == (waiting.message_id, 1)


def lose_track(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a lost commit nobody can be asked in time."""
    monkeypatch.setattr(Transactions, "_happened", lambda _self, _lost, _proof: None)


@only_postgres
async def test_a_message_that_was_refused_but_committed_is_in_a_lane_soon(
    store: Store, another, monkeypatch: pytest.MonkeyPatch
) -> None:
    sibling = await another("worker-two")
    await store.renew()
    lose_track(monkeypatch)
    lose_answers(monkeypatch, committed=True)
    order = an_order()
    with pytest.raises(Refused):
        await store.accept(order)
    assert [claim.message_id for claim in await claimed_soon(sibling)] == [order.message.message_id]


@only_postgres
async def test_claims_that_nobody_knows_of_are_in_their_lanes_soon(
    store: Store, another, monkeypatch: pytest.MonkeyPatch
) -> None:
    sibling = await another("worker-two")
    waiting = await store.accept(an_order(claimed=False))
    lose_track(monkeypatch)
    lose_answers(monkeypatch, committed=True)
    with pytest.raises(DatabaseAway):
        await store.claim_due(10)
    (claim,) = await claimed_soon(sibling)
    assert (claim.message_id, claim.attempts) == (waiting.message_id, 1)


async def claimed_soon(worker: Store) -> list[Claim]:
    for _ in range(100):
        if found := await worker.claim_due(10):
            return found
        await asyncio.sleep(0.02)
    return []


async def test_bodies_that_fail_in_an_unheard_of_way_do_not_stop_the_writer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object, _orders: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as broken:
        broken.setattr(type(store._engine._placing), "place", fail)
        assert await refusal(store) is Refusal.UNAVAILABLE
    assert (await store.accept(an_order())).claims


async def test_a_writer_that_dies_takes_its_process_along(clock: FakeClock) -> None:
    def die() -> Session:
        raise SystemExit

    died = asyncio.Event()
    loop = asyncio.get_running_loop()
    engine = Engine(die, Ours(), lambda _session, _now: 1, clock)
    engine.on_death = partial(loop.call_soon_threadsafe, died.set)
    engine.start(loop, EmbeddedPlacing.__new__(EmbeddedPlacing))
    engine.submit_job(lambda _session, _now: None)
    await asyncio.wait_for(died.wait(), 10)
    await asyncio.to_thread(engine.join)


@only_postgres
async def test_a_session_that_may_forget_commits_is_not_used(database_url: str, store: Store) -> None:
    name = await store._hot(lambda session, _: session.hot.run("SELECT current_database()")[0][0])
    await store._hot(lambda session, _: session.hot.run(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    try:
        with pytest.raises(NotDurable, match="synchronous_commit"):
            postgres.connect(database_url)
    finally:
        await store._hot(lambda session, _: session.hot.run(f"ALTER DATABASE {name} RESET synchronous_commit"))


@only_postgres
async def test_a_transaction_that_lost_a_deadlock_runs_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from psycopg import errors

    commit = postgres.PostgresSession.commit
    lost: list[int] = []

    def losing(self: postgres.PostgresSession) -> None:
        if not lost:
            lost.append(1)
            raise errors.DeadlockDetected("injected")
        commit(self)

    monkeypatch.setattr(postgres.PostgresSession, "commit", losing)
    accepted = await store.accept(an_order())
    assert await stored(store) == {accepted.message_id}


async def test_what_waits_when_the_store_closes_is_written(store: Store, another) -> None:
    worker = await another("worker-two")
    first = await worker.accept(an_order())
    accepting = [asyncio.create_task(worker.accept(an_order())) for _ in range(5)]
    settling = asyncio.create_task(worker.settle([settled(first.claims[0], RecipientState.CAPTURED)]))
    await asyncio.sleep(0)
    await worker.close()
    ids = {(await task).message_id for task in accepting}
    assert await settling == {(first.message_id, 0)}
    assert await stored(store) == {first.message_id, *ids}
    with pytest.raises(Refused):
        await worker.accept(an_order())


async def test_a_verb_that_raises_changes_nothing_and_harms_nobody(store: Store) -> None:
    def verb(tx):
        open_account(tx, "999999999999")
        raise KeyError("no")

    with pytest.raises(KeyError):
        await store.write(verb)
    with pytest.raises(LookupError):
        await store.facts("999999999999", "us-east-1")
    await store.accept(an_order())


async def test_two_writers_take_turns(store: Store, another) -> None:
    second = await another("second")
    accepted = await asyncio.gather(*[one.accept(an_order()) for _ in range(50) for one in (store, second)])
    settling = [
        (store if number % 2 == 0 else second).settle([settled(answer.claims[0])])
        for number, answer in enumerate(accepted)
    ]
    applied = await asyncio.gather(*settling)
    assert sum(map(len, applied)) == 100
    states = await store.read(lambda tx: tx.execute(select(recipients.c.state)))
    assert [state for (state,) in states] == [2] * 100
    assert await store.verify() == []

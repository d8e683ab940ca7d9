"""Where bodies lie once a message is accepted, and what becomes of those that were not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from sesrelay.model.clock import HOUR, SECOND
from sesrelay.model.message import MessageId, SpooledBody
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.store import Store, contents
from sesrelay.store.placing import CHUNK_OCTETS
from sesrelay.store.schema import bodies
from sesrelay.store.segments import BodyDamaged
from tests.clock import START, FakeClock
from tests.store.samples import an_order, open_account

HEADER = b"Subject: big\r\n\r\n"
BODY = b"0123456789abcde\n" * (3 * CHUNK_OCTETS // 16 + 5)


@pytest.fixture(autouse=True)
async def account(store: Store) -> None:
    await store.write(open_account)


def spooled(store: Store) -> SpooledBody:
    writer = store.spool(HEADER)
    writer.write(BODY)
    return writer.finish()


def refuse(*_: object) -> None:
    raise Refused(Refusal.SUSPENDED)


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.glob("*/*") if path.suffix != ".lock")


async def test_a_spooled_message_is_accepted_whole(store: Store, tmp_path: Path) -> None:
    accepted = await store.accept(an_order(content=spooled(store), header_length=len(HEADER)))
    (claim,) = accepted.claims
    assert await store.body(claim.message_id, claim.body) == HEADER + BODY
    assert list((tmp_path / "spool").glob("*.spool*")) == []
    assert await store.verify() == []


async def test_a_spooled_message_that_is_refused_leaves_nothing(store: Store, tmp_path: Path) -> None:
    before = files(tmp_path)
    with pytest.raises(Refused):
        await store.accept(an_order(content=spooled(store), judge=refuse))
    await store.write(lambda tx: None)
    assert files(tmp_path) == before
    assert await store.read(lambda tx: tx.execute(select(bodies.c.chunk))) == []


async def test_big_and_small_go_together(store: Store) -> None:
    contents = [b"Subject: a\r\n\r\n" + b"x" * size for size in (10, 9000, 200_000)]
    orders = [an_order(content=content) for content in contents] + [an_order(content=spooled(store))]
    answers = await asyncio.gather(*[store.accept(order) for order in orders])
    for answer, content in zip(answers, [*contents, HEADER + BODY], strict=True):
        assert await store.body(answer.message_id, answer.claims[0].body) == content


async def test_another_process_reads_the_body(store: Store, another) -> None:
    content = b"Subject: a\r\n\r\n" + b"x" * 50_000
    accepted = await store.accept(an_order(content=content))
    second = await another("second")
    assert await second.body(accepted.message_id, accepted.claims[0].body) == content


async def test_a_damaged_or_missing_row_is_noticed(store: Store) -> None:
    accepted = await store.accept(an_order())
    await store.write(lambda tx: tx.change(bodies.update().values(content=b"other")))
    with pytest.raises(BodyDamaged):
        await store.body(accepted.message_id, accepted.claims[0].body)
    await store.write(lambda tx: tx.change(delete(bodies)))
    with pytest.raises(BodyDamaged):
        await store.body(accepted.message_id, accepted.claims[0].body)


async def test_the_sweep_takes_what_a_dead_process_left_and_nothing_else(store: Store, another, tmp_path: Path) -> None:
    dead = await another("dead")
    content = b"Subject: a\r\n\r\n" + b"x" * 50_000
    accepted = await dead.accept(an_order(content=content))
    with pytest.raises(Refused):
        await dead.accept(an_order(content=content, judge=refuse))
    lone = await another("lone")
    with pytest.raises(Refused):
        await lone.accept(an_order(content=content, judge=refuse))
    await dead.close()
    await lone.close()
    removed = await store.sweep_bodies()
    assert all(name.startswith("lone") for name in removed)
    assert len(removed) == (1 if store._options.embedded else 0)
    assert await store.body(accepted.message_id, accepted.claims[0].body) == content


async def test_chunks_of_messages_that_never_came_are_deleted_when_they_are_old(store: Store, clock: FakeClock) -> None:
    accepted = await store.accept(an_order())
    orphan = MessageId.make(0, START, bytes(range(16)))
    row = {"message_id": orphan, "chunk": 0, "content": b"x"}
    await store.write(lambda tx: tx.change(bodies.insert().values(row)))
    assert await store.read(contents.orphans) == []
    clock.move((HOUR + SECOND) / SECOND)
    if store._options.embedded:
        assert await store.read(contents.orphans) == [orphan]
    else:
        assert await store.sweep_bodies() == [str(orphan)]
        assert await store.sweep_bodies() == []
    assert await store.body(accepted.message_id, accepted.claims[0].body)
    assert await store.verify() == []

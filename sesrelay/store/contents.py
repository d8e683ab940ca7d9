"""Bodies that lie in the database, and which files of bodies are still needed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from zlib_ng.zlib_ng import crc32

from sesrelay.model.clock import HOUR, Micros
from sesrelay.model.message import BodyLocation, MessageId
from sesrelay.store.schema import bodies, messages
from sesrelay.store.segments import BodyDamaged, BodyMissing
from sesrelay.store.transaction import Transaction

ORPHANED_AFTER: Micros = HOUR
"""Chunks without a message that are older than this belong to nobody who still lives."""


def read_rows(tx: Transaction, message_id: MessageId, location: BodyLocation) -> bytes:
    """The body of a message from its chunks. BodyMissing, BodyDamaged."""
    chunks = tx.execute(select(bodies.c.content).where(bodies.c.message_id == message_id).order_by(bodies.c.chunk))
    if not chunks:
        raise BodyMissing(f"the body of {message_id} is not in the database")
    content = b"".join(bytes(chunk) for (chunk,) in chunks)
    if len(content) != location.length or crc32(content) != location.crc32:
        raise BodyDamaged(f"the body of {message_id} in the database is damaged")
    return content


def location_of(tx: Transaction, message_id: MessageId) -> BodyLocation:
    """Where the body of a message lies now. BodyMissing: there is no such message any more."""
    row = messages.c
    place = select(row.segment, row.body_offset, row.body_length, row.body_crc32).where(row.message_id == message_id)
    found = tx.execute(place)
    if not found:
        raise BodyMissing(f"the message {message_id} is gone")
    return BodyLocation(*found[0])


def segments_with_rows(tx: Transaction, names: Sequence[str]) -> set[str]:
    """Those of the files that some message lies in."""
    row = messages.c
    found = tx.execute(select(row.segment).where(row.segment.in_(names), row.segment != "").distinct())
    return {name for (name,) in found}


def orphans(tx: Transaction, limit: int = 500) -> list[MessageId]:
    """Messages that have chunks but were never accepted, the oldest of each region first."""
    row = bodies.c
    known = select(messages.c.message_id).where(messages.c.message_id == row.message_id).exists()
    found = tx.execute(select(row.message_id).where(~known).distinct().order_by(row.message_id).limit(limit))
    ids = [MessageId(one.message_id) for one in found]
    return [message_id for message_id in ids if message_id.at < tx.now - ORPHANED_AFTER]


def delete_chunks(tx: Transaction, ids: Sequence[MessageId]) -> None:
    """The chunks of these messages go."""
    tx.change(delete(bodies).where(bodies.c.message_id.in_(ids)))

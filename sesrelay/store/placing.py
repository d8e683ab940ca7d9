"""Where the body of a message goes before its row is written: into files, or into the database.

On embedded storage a batch whose bodies are small together keeps them in its rows (a lone message then pays for one
sync), everything else goes to segments and files. On PostgreSQL all bodies are rows, in chunks.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog
from zlib_ng.zlib_ng import crc32, crc32_combine

from sesrelay.model.message import BodyLocation, SpooledBody
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.store import spool
from sesrelay.store.accepting import AcceptOrder, Placed
from sesrelay.store.bodies import Bodies
from sesrelay.store.errors import StoreError
from sesrelay.store.hot import Hot, Row

IN_ROWS_OCTETS: Final = 16 * 1024
"""A batch with no more than this keeps its bodies in the database."""
CHUNK_OCTETS: Final = 256 * 1024
_CHUNKS_AT_ONCE: Final = 16
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

log = structlog.get_logger()

Write = Callable[[Callable[[Hot], None]], None]
"""Runs a function in a transaction of its own. StoreError."""


class Placing(ABC):
    """One way to keep bodies; belongs to the writer's thread."""

    batch_octets: int
    """Bodies that one batch should not exceed by more than its last message."""

    @abstractmethod
    def place(self, orders: Sequence[AcceptOrder]) -> list[Placed | Refused]:
        """Makes the bodies durable as far as they do not go with the rows; the orders with their bodies' places."""

    @abstractmethod
    def forget(self, refused: Sequence[Placed]) -> None:
        """Takes back what was placed for messages that were then refused for good. Never raises."""


class EmbeddedPlacing(Placing):
    """Segments and files beside the database, through ``Bodies``."""

    batch_octets = 16 * 1024 * 1024

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies

    def place(self, orders: Sequence[AcceptOrder]) -> list[Placed | Refused]:
        adopted = iter(self._adopt([order for order in orders if _is_spooled(order)]))
        located = iter(self._locate([order for order in orders if not _is_spooled(order)]))
        return [next(adopted if _is_spooled(order) else located) for order in orders]

    def _locate(self, orders: Sequence[AcceptOrder]) -> list[Placed | Refused]:
        if sum(_octets(order) for order in orders) <= IN_ROWS_OCTETS:
            return [_in_row(order) for order in orders]
        try:
            locations = self._bodies.append([order.message for order in orders])
        except OSError as error:
            return [disk_refusal(error)] * len(orders)
        return [Placed(order, location, ()) for order, location in zip(orders, locations, strict=True)]

    def _adopt(self, orders: Sequence[AcceptOrder]) -> list[Placed | Refused]:
        spooled = [order.message.content for order in orders if isinstance(order.message.content, SpooledBody)]
        return [
            disk_refusal(place) if isinstance(place, OSError) else Placed(order, place, ())
            for order, place in zip(orders, self._bodies.adopt(spooled), strict=True)
        ]

    def forget(self, refused: Sequence[Placed]) -> None:
        files = [placed.location.segment for placed in refused if _is_spooled(placed.order)]
        try:
            self._bodies.remove(files)
        except OSError as error:
            log.warning("a refused message's file stays until the next sweep", error=str(error))


class RowPlacing(Placing):
    """Chunk rows: with the message's row when there is one chunk, else in transactions of their own before it."""

    batch_octets = 4 * 1024 * 1024

    def __init__(self, write: Write) -> None:
        self._write = write

    def place(self, orders: Sequence[AcceptOrder]) -> list[Placed | Refused]:
        return [self._copy(order) if _is_spooled(order) else _in_row(order) for order in orders]

    def _copy(self, order: AcceptOrder) -> Placed | Refused:
        message, content = order.message, order.message.content
        assert isinstance(content, SpooledBody)
        rows: list[Row] = []
        try:
            for number, chunk in enumerate(_chunks(content)):
                rows.append((message.message_id, number, chunk))
                if len(rows) == _CHUNKS_AT_ONCE:
                    self._write_rows(rows)
                    rows = []
            self._write_rows(rows)
        except OSError as error:
            return disk_refusal(error)
        except StoreError as error:
            log.warning("a body could not be written", error=str(error))
            return Refused(Refusal.UNAVAILABLE)
        checksum = crc32_combine(crc32(content.header), content.body_crc32, content.body_length)
        length = len(content.header) + content.body_length
        spool.discard(content.path)
        return Placed(order, BodyLocation("", 0, length, checksum), ())

    def _write_rows(self, rows: list[Row]) -> None:
        self._write(lambda hot: hot.insert_bodies(rows))

    def forget(self, refused: Sequence[Placed]) -> None:
        big = sorted((placed.order.message.message_id,) for placed in refused if _is_spooled(placed.order))
        if not big:
            return
        try:
            self._write(lambda hot: hot.delete_bodies(big))
        except StoreError as error:
            log.warning("a refused message's chunks stay until the next sweep", error=str(error))


def _is_spooled(order: AcceptOrder) -> bool:
    return isinstance(order.message.content, SpooledBody)


def _octets(order: AcceptOrder) -> int:
    content = order.message.content
    return len(content) if isinstance(content, bytes) else 0


def _in_row(order: AcceptOrder) -> Placed:
    content = order.message.content
    assert isinstance(content, bytes)
    return Placed(order, BodyLocation("", 0, len(content), crc32(content)), (content,))


def _chunks(content: SpooledBody) -> Iterator[bytes]:
    yield content.header
    with Path(content.path).open("rb") as file:
        file.seek(content.reserved)
        while chunk := file.read(CHUNK_OCTETS):
            yield chunk


def disk_refusal(error: OSError) -> Refused:
    """What a failed write to our own disk says to the client."""
    log.error("a body could not be written", error=str(error))
    return Refused(Refusal.STORAGE_FULL if error.errno in _NO_ROOM else Refusal.UNAVAILABLE)

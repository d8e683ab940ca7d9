"""What an operator does with queued mail: list it, send it now, take it out (DEL-9).

Bulk verbs go page by page, each page (at most 500 rows) in a transaction of its own: a million waiting never locks
anybody out, and an interrupted verb has done what it says.
"""

from __future__ import annotations

from sesrelay.model.clock import Micros
from sesrelay.model.story import RecipientStory
from sesrelay.store import waiting
from sesrelay.store.transaction import Transaction
from sesrelay.store.waiting import Cursor, Selection, Shelf

__all__ = ["CHANGEABLE", "Cursor", "Selection", "Shelf", "page", "remove", "retry"]

CHANGEABLE = (Shelf.WAITING, Shelf.HELD)
"""What a worker has in hand may be on the wire already: only what is not can still be sent now or taken out."""


def page(
    tx: Transaction, shelf: Shelf, selection: Selection, after: Cursor | None
) -> tuple[list[RecipientStory], Cursor | None]:
    """Up to 500 queued recipients of a shelf, and what to give as ``after`` next (None: no more)."""
    return waiting.page(tx, shelf, selection, after)


def retry(
    tx: Transaction, shelf: Shelf, selection: Selection, since: Micros, after: Cursor | None
) -> tuple[int, Cursor | None]:
    """Makes a page of waiting or held recipients due now; how many, and ``after`` for the next page.

    ``since``: when the verb began. Who was tried later than that is left alone, or the verb would never end.
    """
    return waiting.hasten(tx, shelf, selection, since, after)


def remove(tx: Transaction, shelf: Shelf, selection: Selection, after: Cursor | None) -> tuple[int, Cursor | None]:
    """Cancels a page of recipients: they are never tried again and nobody is told; how many, and the next ``after``."""
    return waiting.cancel(tx, shelf, selection, after)

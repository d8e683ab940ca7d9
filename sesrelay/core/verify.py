"""Whether everything that is stored agrees with itself, down to the bytes of mail that is still to be delivered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sesrelay.core import messages
from sesrelay.model.failure import Failed
from sesrelay.store import Store, verify
from sesrelay.store.errors import StoreError


async def faults(store: Store, progress: Callable[[int], None]) -> list[str]:
    """What is wrong, a line each; nothing wrong: an empty list. ``progress`` hears of bodies that were read."""
    found = [str(books) for books in await store.read(verify.books) if not books.balance]
    found += await store.read(verify.faults_of_recipients)
    page = await store.read(partial(verify.page_of_messages, after=None))
    while True:
        found += page.faults
        found += await _unreadable(store, page)
        progress(len(page.unfinished))
        if page.last is None:
            return found
        page = await store.read(partial(verify.page_of_messages, after=page.last))


async def _unreadable(store: Store, page: verify.Page) -> list[str]:
    """Bodies that a worker would not be able to send."""
    found = []
    for message_id, _ in page.unfinished:
        try:
            await messages.source(store, message_id)
        except (Failed, StoreError, OSError) as error:
            found.append(f"message {message_id}: its body cannot be read: {error}")
    return found

"""Looking up messages: one by its id, or the newest (CON-2's facts, without judging them)."""

from __future__ import annotations

from sesrelay.model.failure import Failed, Failure
from sesrelay.model.message import MessageId, RecipientState
from sesrelay.model.story import MessageStory
from sesrelay.store import Store, messages
from sesrelay.store.segments import BodyMissing
from sesrelay.store.transaction import Transaction


def parse_id(text: str) -> MessageId:
    """The id as it stood in a ``250 Ok``; also with brackets or a domain around it, as in a Message-ID. Failed."""
    bare = text.strip().strip("<>").partition("@")[0]
    try:
        return MessageId.parse(bare)
    except ValueError:
        raise Failed(Failure.INVALID, f"{text!r} is not a message id") from None


def show(
    tx: Transaction, message_id: MessageId, account_id: str | None = None, region: str | None = None
) -> MessageStory:
    """A message with recipients and history. Failed: there is none (in that account and region), or no more."""
    found = messages.find(tx, message_id)
    if found is None or account_id not in (None, found.account_id) or region not in (None, found.region):
        raise Failed(Failure.UNKNOWN, f"there is no message {message_id} (or retention has removed it)")
    return found


async def source(store: Store, message_id: MessageId) -> bytes:
    """The bytes of a message. Failed: no such message, or its bytes are not kept any more; StoreError, OSError."""
    story = await store.read(lambda tx: show(tx, message_id))
    try:
        return await store.body(message_id, story.body)
    except BodyMissing:
        # Retention may have moved it between the two reads.
        moved = await store.read(lambda tx: show(tx, message_id))
        if moved.body == story.body:
            text = f"the bytes of {message_id} are not kept any more (retention)"
            raise Failed(Failure.UNKNOWN, text) from None
        return await store.body(message_id, moved.body)


def page(
    tx: Transaction,
    region_number: int,
    before: bytes | None,
    *,
    account_id: str | None = None,
    state: RecipientState | None = None,
) -> tuple[list[MessageStory], bytes | None]:
    """A region's messages, newest first; and what to give as ``before`` next (None: no more). May be empty in between.

    ``region_number``: the region's place in the configuration; ids begin with it, so a region is a range of them.
    """
    first = (0x0100 + region_number).to_bytes(2, "big")
    beyond = (0x0100 + region_number + 1).to_bytes(2, "big")
    return messages.page(tx, before or beyond, first, account_id=account_id, state=state)

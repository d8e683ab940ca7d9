"""Messages and their stories, as people look them up: every read is short, however much there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Row, exists, select

from sesrelay.model.message import BodyLocation, MessageId, RecipientState
from sesrelay.model.story import Happening, MessageStory, RecipientStory
from sesrelay.store.schema import ORIGINS, STATE_CODES, STATES, history, messages, recipients
from sesrelay.store.transaction import Transaction

EXAMINED_AT_ONCE: Final = 5000
"""Messages that one page looks through; fewer match when they are filtered."""


def find(tx: Transaction, message_id: MessageId) -> MessageStory | None:
    """One message with recipients and history."""
    rows = tx.execute(select(messages).where(messages.c.message_id == message_id))
    if not rows:
        return None
    (story,) = _with_recipients(tx, rows)
    happened = select(history).where(history.c.message_id == message_id)
    ordered = happened.order_by(history.c.at, history.c.number, history.c.sequence)
    return replace(
        story,
        history=tuple(Happening(row.number, row.sequence, row.at, row.kind, row.detail) for row in tx.execute(ordered)),
    )


def page(
    tx: Transaction,
    before: bytes,
    after: bytes,
    *,
    account_id: str | None = None,
    state: RecipientState | None = None,
    limit: int = 100,
) -> tuple[list[MessageStory], bytes | None]:
    """Messages with ids between the two (both left out), newest first; and the ``before`` to go on with, or None.

    ``state``: only messages with a recipient in that state. A page may be empty although more come.
    """
    ids = messages.c.message_id
    span = (ids < before) & (ids > after)
    newest = select(ids).where(span).order_by(ids.desc())
    lowest = tx.execute(newest.offset(EXAMINED_AT_ONCE - 1).limit(1))
    if lowest:
        span &= ids >= bytes(lowest[0].message_id)
    wanted = select(messages).where(span)
    if account_id is not None:
        wanted = wanted.where(messages.c.account_id == account_id)
    if state is not None:
        there = (recipients.c.message_id == ids) & (recipients.c.state == STATE_CODES[state])
        wanted = wanted.where(exists().where(there))
    rows = tx.execute(wanted.order_by(ids.desc()).limit(limit))
    if len(rows) == limit:
        following: bytes | None = bytes(rows[-1].message_id)
    else:
        following = bytes(lowest[0].message_id) if lowest else None
    return _with_recipients(tx, rows), following


def _with_recipients(tx: Transaction, rows: Sequence[Row[Any]]) -> list[MessageStory]:
    by_message: dict[bytes, list[RecipientStory]] = {bytes(row.message_id): [] for row in rows}
    if by_message:
        theirs = select(recipients).where(recipients.c.message_id.in_(list(by_message)))
        for recipient in recipient_stories(tx.execute(theirs.order_by(recipients.c.message_id, recipients.c.number))):
            by_message[recipient.message_id].append(recipient)
    return [_story(row, by_message[bytes(row.message_id)]) for row in rows]


def _story(row: Row[Any], theirs: Iterable[RecipientStory]) -> MessageStory:
    return MessageStory(
        message_id=MessageId(row.message_id),
        account_id=row.account_id,
        region=row.region,
        origin=ORIGINS[row.origin],
        access_key_id=row.access_key_id,
        mail_from=row.mail_from,
        header_from=row.header_from,
        subject=row.subject,
        accepted_at=row.accepted_at,
        body=BodyLocation(row.segment, row.body_offset, row.body_length, row.body_crc32),
        tags=row.tags,
        recipients=tuple(theirs),
    )


def recipient_stories(rows: Iterable[Row[Any]]) -> list[RecipientStory]:
    """Rows of the table of recipients as values."""
    return [
        RecipientStory(
            message_id=MessageId(row.message_id),
            number=row.number,
            account_id=row.account_id,
            address=row.address,
            domain=row.domain,
            state=STATES[row.state],
            held=bool(row.held),
            in_doubt=bool(row.in_doubt),
            claimed=row.claimed_by is not None,
            attempts=row.attempts,
            due_at=row.due_at,
            changed_at=row.changed_at,
            smtp_response=row.smtp_response,
            bounce_type=row.bounce_type,
            bounce_sub_type=row.bounce_sub_type,
        )
        for row in rows
    ]

"""``queue``: queued mail, listed, sent now, or taken out; by message, domain, state and account (DEL-9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Final, Protocol, TypeVar

import click

from sesrelay.core import messages
from sesrelay.core import queue as core
from sesrelay.core.queue import Cursor, Selection, Shelf
from sesrelay.fronts.cli import messages as message_commands
from sesrelay.fronts.cli.output import columns, document, iso, progress
from sesrelay.fronts.cli.reserving import Reserving
from sesrelay.fronts.cli.session import Session, json_option, pass_session
from sesrelay.model.clock import SECOND
from sesrelay.model.story import MessageStory, RecipientStory
from sesrelay.store import Store, Transaction

F = TypeVar("F", bound=Callable[..., Any])

_STATES: Final = {
    "queued": tuple(Shelf),
    "waiting": (Shelf.WAITING,),
    "claimed": (Shelf.CLAIMED,),
    "held": (Shelf.HELD,),
}
"""What ``--state`` may say: queued, which is all, or how."""


@dataclass(frozen=True, slots=True)
class Meant:
    """Which queued recipients a command is about."""

    selection: Selection
    shelves: tuple[Shelf, ...]
    all_of_them: bool
    """Said in so many words, or narrowed down."""


def _selecting(command: F) -> F:
    for option in (
        click.option("--all", "everything", is_flag=True, help="All queued mail."),
        click.option("--message", "message_id", metavar="ID", help="One message."),
        click.option("--domain", metavar="D", help="Recipients of a domain."),
        click.option("--state", type=click.Choice(list(_STATES)), default="queued", help="Queued (all), or how."),
        click.option("--account", "account_id", metavar="ID", help="Mail of one account."),
    ):
        command = option(command)
    return command


def _meant(
    session: Session,
    *,
    everything: bool,
    message_id: str | None,
    domain: str | None,
    state: str,
    account_id: str | None,
) -> Meant:
    """What the options say. Failed: no such message, or no such account."""
    message = messages.parse_id(message_id) if message_id else None
    if message:
        session.read(partial(messages.show, message_id=message))
    selection = Selection(
        message_id=message,
        account_id=account_id and session.account(account_id),
        domain=domain.lower().rstrip(".") if domain else None,
    )
    return Meant(selection, _STATES[state], everything or selection != Selection() or state != "queued")


@click.group(cls=Reserving, reserved=frozenset({"hold", "release", "bounce", "shape"}))
def queue() -> None:
    """List queued mail, send it now, or take it out."""


def _shape(recipient: RecipientStory, now: int) -> dict[str, Any]:
    shown = message_commands.recipient_shape(recipient)
    return {
        "message_id": str(recipient.message_id),
        "account_id": recipient.account_id,
        "domain": recipient.domain,
        **shown,
        "claimed": recipient.claimed,
        "age_seconds": max(0, now - recipient.message_id.at) // SECOND,
        "next_attempt_at": None if recipient.claimed or recipient.held else iso(recipient.due_at),
    }


def _gather(session: Session, meant: Meant) -> list[RecipientStory]:
    return list(chain.from_iterable(_shelf(session, meant, shelf) for shelf in meant.shelves))


def _shelf(session: Session, meant: Meant, shelf: Shelf) -> list[RecipientStory]:
    return session.walk(lambda tx, after: core.page(tx, shelf, meant.selection, after))


@queue.command("list")
@_selecting
@json_option
@pass_session
def list_queue(session: Session, /, *, as_json: bool, **options: Any) -> None:
    """List queued recipients."""
    found = _gather(session, _meant(session, **options))
    now = session.clock.now()
    if as_json:
        document([_shape(each, now) for each in found])
        return
    rows = [
        (
            str(each.message_id),
            each.address,
            message_commands.standing(each),
            _age(max(0, now - each.message_id.at) // SECOND),
            each.attempts,
            _shape(each, now)["next_attempt_at"],
            each.smtp_response,
        )
        for each in found
    ]
    columns(("MESSAGE ID", "TO", "STATE", "AGE", "ATTEMPTS", "NEXT ATTEMPT", "LAST REPLY"), rows)


def _age(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


@queue.command()
@click.argument("given", metavar="[MESSAGE-ID]", required=False)
@_selecting
@json_option
@pass_session
def show(session: Session, /, *, given: str | None, as_json: bool, **options: Any) -> None:
    """Show queued recipients, each with everything that happened to it."""
    meant = _meant(session, **{**options, "message_id": options["message_id"] or given})
    if not meant.all_of_them:
        raise click.UsageError("say which: a message id, --domain, --state, --account, or --all")
    found = _gather(session, meant)
    now = session.clock.now()

    async def stories(store: Store) -> list[MessageStory]:
        return [await store.read(partial(messages.show, message_id=each.message_id)) for each in found]

    shown = [
        {**_shape(each, now), "events": _events_of(each, story)}
        for each, story in zip(found, session.run(stories), strict=True)
    ]
    if as_json:
        document(shown)
        return
    for one in shown:
        click.echo(f"{one['message_id']}  {one['address']}  attempts {one['attempts']}  next {one['next_attempt_at']}")
        for event in one["events"]:
            message_commands.tell_event(event)


def _events_of(recipient: RecipientStory, story: MessageStory) -> list[dict[str, Any]]:
    """What happened to one recipient, and to the message as a whole."""
    return [event for event in message_commands.events(story) if event["recipient"] in (None, recipient.address)]


@queue.command()
@_selecting
@json_option
@pass_session
def retry(session: Session, /, *, as_json: bool, **options: Any) -> None:
    """Try waiting and held mail now."""
    meant = _chosen(_meant(session, **options))
    since = session.clock.now()
    # What was held a moment ago waits then: the waiting go first, so that none is counted twice.
    done = sum(_hasten(session, meant, shelf, since) for shelf in core.CHANGEABLE if shelf in meant.shelves)
    _tell(session, meant, "retried", done, as_json)


def _hasten(session: Session, meant: Meant, shelf: Shelf, since: int) -> int:
    return _bulk(session, lambda tx, after: core.retry(tx, shelf, meant.selection, since, after))


@queue.command()
@_selecting
@json_option
@pass_session
def remove(session: Session, /, *, as_json: bool, **options: Any) -> None:
    """Take mail out of the queue for good: it is not tried again, and its sender is not told."""
    meant = _chosen(_meant(session, **options))
    done = 0
    for shelf in core.CHANGEABLE:
        if shelf in meant.shelves:
            done += _take_out(session, meant, shelf)
    _tell(session, meant, "removed", done, as_json)


def _take_out(session: Session, meant: Meant, shelf: Shelf) -> int:
    return _bulk(session, lambda tx, after: core.remove(tx, shelf, meant.selection, after))


def _chosen(meant: Meant) -> Meant:
    if not meant.all_of_them:
        raise click.UsageError("say which: --message ID, --domain D, --state S, --account ID, or --all")
    return meant


class _Page(Protocol):
    def __call__(self, tx: Transaction, after: Cursor | None) -> tuple[int, Cursor | None]: ...


def _bulk(session: Session, page: _Page) -> int:
    """Runs page after page, each in its own transaction; how many recipients were changed."""

    async def turn(store: Store) -> int:
        done, after = await store.write(partial(page, after=None))
        while after is not None:
            more, after = await store.write(partial(page, after=after))
            done += more
            progress(f"{done} recipients")
        progress("")
        return done

    return session.run(turn)


def _tell(session: Session, meant: Meant, verb: str, done: int, as_json: bool) -> None:
    """What was done, and what was left alone because a worker has it in hand."""
    in_hand = 0
    if Shelf.CLAIMED in meant.shelves:
        in_hand = len(_shelf(session, meant, Shelf.CLAIMED))
    if as_json:
        document({verb: done, "in_hand": in_hand})
        return
    click.echo(f"{verb}: {done}")
    if in_hand:
        click.echo(f"in a worker's hands, left alone: {in_hand}")

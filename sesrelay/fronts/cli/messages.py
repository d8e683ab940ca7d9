"""``message``: what became of a message, and its bytes."""

from __future__ import annotations

import json
import sys
from functools import partial
from itertools import chain
from typing import Any

import click

from sesrelay.core import messages
from sesrelay.fronts.cli.output import columns, document, fields, iso, visible
from sesrelay.fronts.cli.session import Session, account_option, json_option, pass_session, region_option
from sesrelay.model.message import RecipientState
from sesrelay.model.story import MessageStory, RecipientStory
from sesrelay.store import Store

_STATES = click.Choice([state.value for state in RecipientState])


def recipient_shape(recipient: RecipientStory) -> dict[str, Any]:
    """A recipient as ``--json`` shows it."""
    return {
        "address": recipient.address,
        "state": recipient.state.value,
        "held": recipient.held,
        "in_doubt": recipient.in_doubt,
        "attempts": recipient.attempts,
        "smtp_response": recipient.smtp_response or None,
        "bounce_type": recipient.bounce_type or None,
        "bounce_sub_type": recipient.bounce_sub_type or None,
    }


def shape(story: MessageStory) -> dict[str, Any]:
    """A message as ``--json`` shows it, without its events."""
    return {
        "message_id": str(story.message_id),
        "source": story.mail_from,
        "accepted_at": iso(story.accepted_at),
        "account_id": story.account_id,
        "region": story.region,
        "origin": story.origin.value,
        "access_key_id": story.access_key_id or None,
        "subject": story.subject,
        "size": story.body.length,
        "tags": json.loads(story.tags) if story.tags else {},
        "recipients": [recipient_shape(recipient) for recipient in story.recipients],
    }


def events(story: MessageStory) -> list[dict[str, Any]]:
    """What happened, in the order of time."""
    addresses = {recipient.number: recipient.address for recipient in story.recipients}
    told: list[dict[str, Any]] = [{"at": iso(story.accepted_at), "kind": "accepted", "recipient": None, "detail": {}}]
    return told + [
        {
            "at": iso(row.at),
            "kind": row.kind,
            "recipient": addresses.get(row.number),
            "detail": _detail(row.detail),
        }
        for row in story.history
    ]


def _detail(text: str) -> dict[str, Any]:
    """The row's facts, times written as everywhere."""
    facts: dict[str, Any] = json.loads(text or "{}")
    return {name: iso(value) if name.endswith("_at") else value for name, value in facts.items()}


@click.group()
def message() -> None:
    """Show and list messages, and give out their bytes."""


@message.command()
@click.argument("message_id", metavar="ID")
@account_option
@region_option
@json_option
@pass_session
def show(session: Session, *, message_id: str, account_id: str | None, region: str | None, as_json: bool) -> None:
    """Show a message: its recipients, and everything that happened to it."""
    story = session.read(messages.show, messages.parse_id(message_id), account_id, region)
    if as_json:
        document({**shape(story), "events": events(story)})
        return
    told = shape(story)
    del told["recipients"]
    fields(told)
    click.echo()
    _recipients(story.recipients)
    click.echo()
    for event in events(story):
        tell_event(event)


def tell_event(event: dict[str, Any]) -> None:
    """One line for people."""
    detail = "  ".join(f"{name}={value}" for name, value in event["detail"].items() if value not in (None, "", []))
    click.echo(visible("  ".join(filter(None, (event["at"], event["kind"], event["recipient"], detail)))))


def _recipients(recipients: tuple[RecipientStory, ...]) -> None:
    rows = [(each.address, standing(each), each.attempts, each.smtp_response) for each in recipients]
    columns(("RECIPIENT", "STATE", "ATTEMPTS", "LAST REPLY"), rows)


def standing(recipient: RecipientStory) -> str:
    """The state with its flags, for people."""
    flags = {"held": recipient.held, "in doubt": recipient.in_doubt, "in hand": recipient.claimed}
    return ", ".join([recipient.state.value, *(name for name, there in flags.items() if there)])


@message.command("list")
@click.option("--limit", type=click.IntRange(min=0), default=100, metavar="N", help="The newest N; 0: all. 100.")
@click.option("--state", type=_STATES, help="Only messages with a recipient in this state.")
@account_option
@region_option
@json_option
@pass_session
def list_messages(
    session: Session, *, limit: int, state: str | None, account_id: str | None, region: str | None, as_json: bool
) -> None:
    """List messages, newest first; of every account and region if not said otherwise."""
    regions = session.settings.regions
    numbers = [regions.index(session.region(region))] if region else range(len(regions))
    wanted = {
        "account_id": account_id and session.account(account_id),
        "state": RecipientState(state) if state else None,
    }

    async def gather(store: Store) -> list[list[MessageStory]]:
        return [await _newest(store, partial(_page, number, wanted), limit) for number in numbers]

    stories = sorted(chain(*session.run(gather)), key=lambda story: story.accepted_at, reverse=True)
    stories = stories[:limit] if limit else stories
    if as_json:
        document([shape(story) for story in stories])
        return
    rows = [
        (iso(each.accepted_at), str(each.message_id), each.mail_from, recipient.address, standing(recipient))
        for each in stories
        for recipient in each.recipients
    ]
    columns(("ACCEPTED", "MESSAGE ID", "FROM", "TO", "STATE"), rows)


def _page(number: int, wanted: dict[str, Any], before: bytes | None, tx: Any) -> Any:
    return messages.page(tx, number, before, **wanted)


async def _newest(store: Store, page: Any, limit: int) -> list[MessageStory]:
    found, before = await store.read(partial(page, None))
    while before is not None and not 0 < limit <= len(found):
        more, before = await store.read(partial(page, before))
        found += more
    return found  # type: ignore[no-any-return]


@message.command()
@click.argument("message_id", metavar="ID")
@pass_session
def source(session: Session, message_id: str) -> None:
    """Write a message's bytes to stdout, as it is sent (without DKIM signatures)."""
    wanted = messages.parse_id(message_id)
    sys.stdout.buffer.write(session.run(lambda store: messages.source(store, wanted)))

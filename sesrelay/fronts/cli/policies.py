"""``policy``: what users may do, said in IAM's documents, and asked beforehand (CRED-4, CRED-5)."""

from __future__ import annotations

import ipaddress
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from sesrelay.core import policies as core
from sesrelay.core.policies import Simulated
from sesrelay.fronts.cli.output import columns, document, one_line, say
from sesrelay.fronts.cli.session import Session, account_option, json_option, pass_place, pass_session
from sesrelay.model.clock import SECOND, Micros
from sesrelay.model.failure import Failed, Failure
from sesrelay.model.policy import Owner, PolicyDocument
from sesrelay.model.refusal import Refused
from sesrelay.rules import mailboxes
from sesrelay.rules.mailboxes import Mailbox
from sesrelay.rules.permission import Request
from sesrelay.rules.policy import SEND_RAW_EMAIL, Decision, Verdict
from sesrelay.rules.policy_document import LONGEST_AS_WRITTEN

name_option = click.option("--name", metavar="N", help="The policy's name; needed with several.")
file_option = click.option("--file", "path", metavar="F", help="The document; else it is read from stdin.")

_ACTION: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*:[A-Za-z0-9]+")
_ALLOWED: Final = {Verdict.YES: True, Verdict.NO: False, Verdict.DEPENDS: None}


@click.group()
def policy() -> None:
    """Show, set, remove and check policies, and ask what they would say."""


def pass_owner(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command its ``owner``: USER, or the group of --group."""

    @click.argument("user_name", metavar="[USER]", required=False)
    @click.option("--group", "group_name", metavar="G", help="A group's policy in place of a user's.")
    @wraps(command)
    def with_owner(*args: Any, user_name: str | None, group_name: str | None, **kwargs: Any) -> None:
        if (user_name is None) == (group_name is None):
            raise click.UsageError("name one user, or one group with --group")
        owner = Owner(user_name) if user_name is not None else Owner(group_name or "", is_group=True)
        command(*args, owner=owner, **kwargs)

    return with_owner


def shape(owner: Owner, policy_document: PolicyDocument) -> dict[str, Any]:
    """A policy as ``--json`` shows it; ``document`` is the text itself when it can no longer be read."""
    try:
        content = json.loads(policy_document.text)
    except ValueError:
        content = policy_document.text
    return {
        "user_name": None if owner.is_group else owner.name,
        "group_name": policy_document.group or None,
        "policy_name": policy_document.name,
        "document": content,
    }


@policy.command()
@pass_owner
@name_option
@account_option
@json_option
@pass_session
def show(session: Session, *, owner: Owner, name: str | None, account_id: str | None, as_json: bool) -> None:
    """Show what a user's policies are, own and by groups, or a group's; with --name one document and nothing else."""
    owner, found = session.read(core.show, session.account(account_id), owner, name)
    if as_json:
        shown = [shape(owner, each) for each in found]
        document(shown[0] if name is not None else shown)
    elif name is not None:
        click.echo(found[0].text.rstrip("\n"))
    else:
        for each in found:
            click.echo(f"policy {each.name} of {Owner(each.group, is_group=True) if each.group else owner}:")
            click.echo(f"{each.text.rstrip()}\n")


@policy.command("set")
@pass_owner
@name_option
@file_option
@account_option
@json_option
@pass_session
def set_policy(
    session: Session, *, owner: Owner, name: str | None, path: str | None, account_id: str | None, as_json: bool
) -> None:
    """Give a user or a group a policy, as of the next message. Without --name it takes the place of the only one."""
    text = _document(path)
    done = session.write(core.put, session.account(account_id), owner, name, text)
    for key in done.unknown_keys:
        say(f"condition key {one_line(key)}: no request here has it, so it always counts as missing")
    if as_json:
        document(shape(done.owner, PolicyDocument(done.name, text, done.owner.name if done.owner.is_group else "")))
    else:
        click.echo(f"policy {done.name} of {done.owner}: {'replaced' if done.replaced else 'set'}")


@policy.command()
@pass_owner
@name_option
@account_option
@json_option
@pass_session
def remove(session: Session, *, owner: Owner, name: str | None, account_id: str | None, as_json: bool) -> None:
    """Take a policy away; counts at the next message."""
    owner, gone = session.write(core.remove, session.account(account_id), owner, name)
    document(shape(owner, gone)) if as_json else click.echo(f"policy {gone.name} of {owner}: removed")


@policy.command()
@file_option
@json_option
def check(path: str | None, *, as_json: bool) -> None:
    """Say whether a document could be set, and the place of its fault if not."""
    _document(path)
    document({"ok": True}) if as_json else click.echo("ok")


def _document(path: str | None) -> str:
    """The text of a document that can be obeyed. Failed: where it cannot."""
    if path is None and sys.stdin.isatty():
        raise click.UsageError("say --file F, or give the document on stdin")
    shown = path or "stdin"
    try:
        if path is None:
            text = sys.stdin.read(LONGEST_AS_WRITTEN + 1).removeprefix("\ufeff")
            text.encode()  # in some locales what is not UTF-8 is read all the same
        else:
            with Path(path).open(encoding="utf-8-sig") as file:
                text = file.read(LONGEST_AS_WRITTEN + 1)
        core.check(text)
    except UnicodeError:
        raise Failed(Failure.INVALID, f"{shown}: the document is not UTF-8") from None
    except Failed as error:
        raise Failed(error.failure, f"{shown}: {error}") from None
    return text


def _address(_: click.Context, parameter: click.Parameter, given: str | None) -> tuple[Mailbox, ...] | None:
    """Mailboxes as a header field has them."""
    if given is None:
        return None
    try:
        return mailboxes.parse(given.encode("utf-8", "surrogateescape"))
    except Refused as refused:
        raise click.BadParameter(f"{given!r}: {refused.details[0]}", param=parameter) from None


def _ip_address(_: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    try:
        return None if given is None else str(ipaddress.ip_address(given))
    except ValueError:
        raise click.BadParameter(f"{given!r} is no IP address", param=parameter) from None


def _time(_: click.Context, parameter: click.Parameter, given: str | None) -> Micros | None:
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise click.BadParameter(f"{given!r} is no time such as 2014-07-31T12:00:00Z", param=parameter) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * SECOND


def _action(_: click.Context, parameter: click.Parameter, given: str) -> str:
    if not _ACTION.fullmatch(given):
        raise click.BadParameter(f"{given!r} is no action such as ses:SendRawEmail", param=parameter)
    return given


def _arn(_: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    if given is not None and not given.startswith("arn:aws:ses:"):
        text = f"{given!r} is no ARN such as arn:aws:ses:us-east-1:123456789012:identity/example.com"
        raise click.BadParameter(text, param=parameter)
    return given


@policy.command()
@click.argument("user_name", metavar="USER")
@click.option(
    "--action", metavar="A", default=SEND_RAW_EMAIL, show_default=True, callback=_action, help="What the user would do."
)
@click.option("--from", "authors", metavar="M", callback=_address, help="The From of the mail, with display name.")
@click.option("--mail-from", "envelope", metavar="M", callback=_address, help="Its envelope sender; else as From.")
@click.option("--recipient", "recipients", metavar="M", multiple=True, help="A recipient; may be given several times.")
@click.option("--source-ip", metavar="IP", callback=_ip_address, help="The client's address.")
@click.option("--user-agent", metavar="U", default="", help="Of an API client; SMTP has none.")
@click.option("--at", metavar="T", callback=_time, help="When, as 2014-07-31T12:00:00Z; else now.")
@click.option(
    "--resource", metavar="ARN", callback=_arn, help="The identity's ARN, in place of the one that covers the sender."
)
@pass_place
@json_option
def simulate(
    session: Session,
    *,
    user_name: str,
    action: str,
    authors: tuple[Mailbox, ...] | None,
    envelope: tuple[Mailbox, ...] | None,
    recipients: tuple[str, ...],
    source_ip: str | None,
    user_agent: str,
    at: Micros | None,
    resource: str | None,
    account_id: str,
    region: str,
    as_json: bool,
) -> None:
    """Say whether a user may do something, and which statement decides. What is not given is not known."""
    request = Request(
        action=action,
        authors=authors,
        others=envelope or (authors or ())[:1],
        recipients=recipients or None,
        client_address=source_ip,
        at=session.clock.now() if at is None else at,
        user_agent=user_agent,
        resource=resource,
    )
    decided = session.read(core.simulate, account_id, region, user_name, request)
    if as_json:
        document(_simulation(user_name, action, decided))
    else:
        rows = [(each.decision.verdict.value, each.resource or "-", because(each.decision)) for each in decided]
        columns(("ALLOWED", "RESOURCE", "BECAUSE"), dict.fromkeys(rows))


def because(decision: Decision) -> str:
    """What decided, in words."""
    if decision.by is not None:
        return str(decision.by)
    if decision.verdict is Verdict.NO:
        return "no statement allows it"
    return f"it depends on {', '.join(decision.depends_on)}"


def _simulation(user_name: str, action: str, decided: list[Simulated]) -> dict[str, Any]:
    """``allowed`` is null when it depends on what was not given."""
    verdicts = {each.decision.verdict for each in decided}
    worst = next(verdict for verdict in (Verdict.NO, Verdict.DEPENDS, Verdict.YES) if verdict in verdicts)
    return {
        "user_name": user_name,
        "action": action,
        "allowed": _ALLOWED[worst],
        "decisions": [
            {
                "resource": each.resource or None,
                "allowed": _ALLOWED[each.decision.verdict],
                "statement": _statement(each.decision),
                "depends_on": list(each.decision.depends_on),
            }
            for each in decided
        ],
    }


def _statement(decision: Decision) -> dict[str, Any] | None:
    by = decision.by
    if by is None:
        return None
    return {
        "policy_name": by.document,
        "group_name": by.group or None,
        "number": by.number if by.number >= 0 else None,
        "sid": by.sid or None,
    }

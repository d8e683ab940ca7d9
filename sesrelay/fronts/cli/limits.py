"""``limits``: how much an account may send, who asks for more, and what became of it."""

from __future__ import annotations

from typing import Any, Final

import click

from sesrelay.core import limits as verbs
from sesrelay.fronts.cli.accounts import operator, tell
from sesrelay.fronts.cli.output import columns, document, fields, iso, say
from sesrelay.fronts.cli.session import Session, account_option, json_option, pass_place, pass_session, region_option
from sesrelay.model.limits import Allowance, LimitChange, LimitRequest, MessageType, RequestStatus, Wish

_TYPES: Final = {each.value.lower().replace(" ", "-"): each for each in MessageType}
_BY_NAME: Final = {each.value.lower(): each for each in MessageType}


class MessageTypeName(click.ParamType[MessageType]):
    """``Transactional``, ``System Notifications``, ``system-notifications`` …"""

    name = "type"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> MessageType:
        found = _BY_NAME.get(str(value).lower()) or _TYPES.get(str(value).lower())
        if found is None:
            self.fail(f"{value!r} is none of {', '.join(each.value for each in MessageType)}", param, ctx)
        return found


def shape(request: LimitRequest) -> dict[str, Any]:
    """A request as ``--json`` shows it."""
    wish = request.wish
    return {
        "request_id": request.request_id,
        "account_id": request.account_id,
        "region": request.region,
        "status": request.status.value,
        "created_at": iso(request.created_at),
        "answered_at": iso(request.answered_at),
        "reason": request.reason,
        "website": wish.website,
        "opt_in_url": wish.opt_in_url,
        "opt_out_url": wish.opt_out_url,
        "privacy_url": wish.privacy_url,
        "message_types": [kind.value for kind in wish.message_types],
        "max_24_hour_send": wish.quota,
        "max_send_rate": wish.rate or None,
        "use_case": wish.use_case,
    }


def change_shape(change: LimitChange) -> dict[str, Any]:
    """A change as ``--json`` shows it."""
    return {
        "change_id": change.change_id,
        "account_id": change.account_id,
        "region": change.region,
        "at": iso(change.at),
        "kind": change.kind.value,
        "request_id": change.request_id or None,
        "undoes": change.undoes or None,
        "before": _allowance(change.before),
        "after": _allowance(change.after),
    }


def _allowance(allowance: Allowance) -> dict[str, Any]:
    return {
        "production": allowance.production,
        "max_24_hour_send": allowance.quota,
        "max_send_rate": allowance.rate,
    }


@click.group()
def limits() -> None:
    """Show, set, ask for, grant and deny what an account may send."""


@limits.command("show")
@pass_place
@json_option
def show_limits(session: Session, *, account_id: str, region: str, as_json: bool) -> None:
    """Show quota, rate and use of the last 24 hours, in recipients."""
    tell(session, account_id, region, as_json)


@limits.command("set")
@click.option("--quota", type=int, metavar="N", help="Recipients in 24 hours; -1: unlimited.")
@click.option("--rate", type=float, metavar="N", help="Recipients a second; -1: unlimited.")
@account_option
@region_option
@json_option
@pass_session
def set_limits(
    session: Session,
    *,
    quota: int | None,
    rate: float | None,
    account_id: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Set an account's limits in a region; they count from the next message on."""
    if quota is None and rate is None:  # said before the database is asked for the account
        raise click.UsageError("say --quota N, --rate N or both")
    where, chosen = session.region(region), session.account(account_id)
    session.write(verbs.set_limits, chosen, where, quota, rate, operator=operator(session))
    if as_json:
        tell(session, chosen, where, as_json)
    else:
        say(f"account {chosen} in {where}: set")


@limits.command()
@click.option("--website", default="", metavar="URL", help="Of whoever sends.")
@click.option(
    "--message-type", "message_types", required=True, multiple=True, type=MessageTypeName(),
    help="What kind of mail it is; may be repeated.",
)  # fmt: skip
@click.option("--quota", required=True, type=int, metavar="N", help="Recipients wanted in 24 hours.")
@click.option("--rate", type=float, metavar="N", default=0.0, help="Recipients wanted a second.")
@click.option("--use-case", required=True, metavar="TEXT", help="What is sent to whom, in words.")
@click.option("--opt-in-url", default="", metavar="URL", help="Where recipients sign up.")
@click.option("--opt-out-url", default="", metavar="URL", help="Where they leave.")
@click.option("--privacy-url", default="", metavar="URL", help="What is done with their addresses.")
@pass_place
@json_option
def request(session: Session, /, *, account_id: str, region: str, as_json: bool, **wish: Any) -> None:
    """Ask for production access or higher limits; an operator grants or denies it, and the answer is mailed.

    The website and the URLs for signing up, leaving and privacy are needed for Subscription and Marketing.
    """
    wish["message_types"] = tuple(dict.fromkeys(wish["message_types"]))
    made = session.write(verbs.request, account_id, region, Wish(**wish), operator=operator(session))
    if as_json:
        document(shape(made))
    else:
        click.echo(f"request {made.request_id} of account {account_id} in {region}: waits for its answer")


@limits.command()
@click.argument("request_number", metavar="[ID]", type=int, required=False)
@click.option("--status", type=click.Choice([each.value for each in RequestStatus]), help="Only these.")
@click.option("--account", "account_id", metavar="ID", help="Only of this account.")
@click.option("--region", metavar="R", help="Only in this region.")
@json_option
@pass_session
def requests(
    session: Session,
    *,
    request_number: int | None,
    status: str | None,
    account_id: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """List requests of all accounts, or show one with everything that it says."""
    if request_number is not None:
        shown = shape(session.read(verbs.show_request, request_number))
        document(shown) if as_json else fields(shown)
        return
    chosen = session.account(account_id) if account_id else None
    where = session.region(region) if region else None
    wanted = RequestStatus(status) if status else None
    listed = session.walk(lambda tx, after: verbs.page(tx, after, chosen, where, wanted))
    if as_json:
        document([shape(each) for each in listed])
        return
    columns(
        ("REQUEST", "ACCOUNT", "REGION", "STATUS", "ASKED AT", "TYPE", "QUOTA", "RATE", "WEBSITE"),
        [
            (
                *(each.request_id, each.account_id, each.region, each.status.value, iso(each.created_at)),
                *(", ".join(each.wish.message_types), each.wish.quota),
                *(f"{each.wish.rate:g}" if each.wish.rate else "-", each.wish.website or "-"),
            )
            for each in listed
        ],
    )


@limits.command()
@click.argument("request_number", metavar="ID", type=int)
@click.option("--quota", type=int, metavar="N", help="Instead of what was asked for; -1: unlimited.")
@click.option("--rate", type=float, metavar="N", help="Instead of what was asked for; -1: unlimited.")
@json_option
@pass_session
def grant(session: Session, *, request_number: int, quota: int | None, rate: float | None, as_json: bool) -> None:
    """Grant a request: production access, and the limits asked for but never less than there are."""
    _say_answer(session.write(verbs.grant, request_number, quota, rate), as_json)


@limits.command()
@click.argument("request_number", metavar="ID", type=int)
@click.option("--reason", required=True, metavar="TEXT", help="The owner reads it.")
@json_option
@pass_session
def deny(session: Session, *, request_number: int, reason: str, as_json: bool) -> None:
    """Deny a request; limits stay as they are."""
    _say_answer(session.write(verbs.deny, request_number, reason), as_json)


def _say_answer(answered: LimitRequest, as_json: bool) -> None:
    if as_json:
        document(shape(answered))
    else:
        whose = f"account {answered.account_id} in {answered.region}"
        click.echo(f"request {answered.request_id} of {whose}: {answered.status.value}")


@limits.command()
@pass_place
@json_option
def history(session: Session, *, account_id: str, region: str, as_json: bool) -> None:
    """List every change of an account's limits in a region."""
    listed = session.walk(lambda tx, after: verbs.history(tx, after, account_id, region))
    if as_json:
        document([change_shape(each) for each in listed])
        return
    columns(
        ("CHANGE", "AT", "WHY", "REQUEST", "UNDOES", "BEFORE", "AFTER"),
        [
            (
                *(each.change_id, iso(each.at), each.kind.value, each.request_id or "-", each.undoes or "-"),
                *(_words(each.before), _words(each.after)),
            )
            for each in listed
        ],
    )


def _words(allowance: Allowance) -> str:
    return f"{'production' if allowance.production else 'sandbox'} {allowance.quota} {allowance.rate:g}/s"


@limits.command()
@pass_place
@json_option
def undo(session: Session, *, account_id: str, region: str, as_json: bool) -> None:
    """Take the last change of an account's limits in a region back; done twice, it stands again."""
    made = session.write(verbs.undo, account_id, region, operator=operator(session))
    if as_json:
        document(change_shape(made))
    else:
        click.echo(f"account {account_id} in {region}: {_words(made.after)}")

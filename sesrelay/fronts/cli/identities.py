"""``identity``: the addresses and domains that an account may send from (ID-1)."""

from __future__ import annotations

from typing import Any

import click

from sesrelay.core import identities
from sesrelay.fronts.cli.output import columns, document, fields, say
from sesrelay.fronts.cli.reserving import Reserving
from sesrelay.fronts.cli.session import Session, account_option, json_option, pass_session, region_option
from sesrelay.model.identity import Identity, IdentityType, VerificationStatus


def shape(identity: Identity) -> dict[str, Any]:
    """An identity as ``--json`` shows it; DKIM and notifications stand at what an identity begins with."""
    return {
        "identity": identity.name,
        "type": identity.type.value,
        "verification_status": identity.status.value,
        "verification_token": identity.token or None,
        "dkim": {"enabled": False, "verification_status": VerificationStatus.NOT_STARTED.value, "tokens": []},
        "notifications": {
            "forwarding_enabled": True,
            "bounce_topic": None,
            "complaint_topic": None,
            "delivery_topic": None,
        },
    }


def _tell(identity: Identity, as_json: bool) -> None:
    document(shape(identity)) if as_json else fields(shape(identity))


@click.group(cls=Reserving, reserved=frozenset({"retry", "records"}))
def identity() -> None:
    """Add, list, show and remove identities."""


@identity.command()
@click.argument("name")
@click.option("--verified", is_flag=True, help="Verified as of now, on the operator's word.")
@account_option
@region_option
@json_option
@pass_session
def add(
    session: Session, *, name: str, verified: bool, account_id: str | None, region: str | None, as_json: bool
) -> None:
    """Add an e-mail address or a domain, or mark one that is there as verified."""
    where = session.region(region)
    added = session.write(
        identities.add,
        session.account(account_id),
        where,
        name,
        verified=verified,
        most=session.settings.limits.identities,
        chance=session.chance,
    )
    _tell(added, as_json)
    if added.status is not VerificationStatus.SUCCESS:
        how = "the TXT record is not looked up" if added.type is IdentityType.DOMAIN else "no mail with a link is sent"
        say(f"{added.name} is {added.status.value}: {how} by this version; `identity add --verified` marks it verified")


@identity.command("list")
@account_option
@region_option
@json_option
@pass_session
def list_identities(session: Session, *, account_id: str | None, region: str | None, as_json: bool) -> None:
    """List an account's identities in a region."""
    chosen, where = session.account(account_id), session.region(region)

    listed = session.walk(lambda tx, after: identities.page(tx, chosen, where, after))
    if as_json:
        document([shape(each) for each in listed])
    else:
        columns(("IDENTITY", "TYPE", "STATUS"), [(each.name, each.type.value, each.status.value) for each in listed])


@identity.command()
@click.argument("name")
@account_option
@region_option
@json_option
@pass_session
def show(session: Session, *, name: str, account_id: str | None, region: str | None, as_json: bool) -> None:
    """Show one identity."""
    where = session.region(region)
    _tell(session.read(identities.show, session.account(account_id), where, name), as_json)


@identity.command()
@click.argument("name")
@account_option
@region_option
@json_option
@pass_session
def remove(session: Session, *, name: str, account_id: str | None, region: str | None, as_json: bool) -> None:
    """Remove an identity: nothing may be sent from it any more."""
    where = session.region(region)
    gone = session.write(identities.remove, session.account(account_id), where, name)
    if as_json:
        document(shape(gone))
    else:
        click.echo(f"removed: {gone.name}")

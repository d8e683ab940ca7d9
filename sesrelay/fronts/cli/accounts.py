"""``account``: who may send, and how notices reach them."""

from __future__ import annotations

from typing import Any

import click

from sesrelay.core import accounts, limits
from sesrelay.fronts.cli.output import columns, document, fields, iso
from sesrelay.fronts.cli.session import Session, account_option, json_option, pass_place, pass_session, region_option
from sesrelay.model.account import AccountStanding


def shape(account: AccountStanding) -> dict[str, Any]:
    """An account as ``--json`` shows it."""
    return {
        "account_id": account.account_id,
        "email": account.email,
        "region": account.region,
        "created_at": iso(account.created_at),
        "closed": account.closed,
        "opened": account.opened,
        "production": account.production,
        "suspended": account.suspended,
        "pace": account.pace,
        "limits": {
            "max_24_hour_send": account.quota,
            "max_send_rate": account.rate,
            "sent_last_24_hours": account.used_24_hours,
        },
    }


def operator(session: Session) -> str:
    """Where notices go that nobody asked to have elsewhere."""
    return f"postmaster@{session.settings.service_domain}"


def tell(session: Session, account_id: str, region: str | None, as_json: bool) -> None:
    """Shows an account in a region, or in the first it has."""
    shown = shape(session.read(accounts.show, account_id, region))
    document(shown) if as_json else fields(shown)


@click.group()
def account() -> None:
    """Open, show, suspend and close accounts."""


@account.command()
@click.option("--email", help="Where notices about the account go; without one postmaster@<service domain>.")
@click.option("--account-id", metavar="ID", help="12 digits; without them chance chooses.")
@json_option
@pass_session
def create(session: Session, *, email: str | None, account_id: str | None, as_json: bool) -> None:
    """Open an account, in the sandbox of every region."""
    settings = session.settings
    made = account_id or accounts.new_account_id(session.chance)
    session.write(accounts.create, made, email or operator(session), settings.regions)
    if as_json:
        tell(session, made, settings.regions[0], as_json)
    else:
        click.echo(made)


@account.command("list")
@click.option("--region", metavar="R", help="Only this region.")
@json_option
@pass_session
def list_accounts(session: Session, *, region: str | None, as_json: bool) -> None:
    """List the accounts, each in every region."""
    wanted = session.region(region) if region else None

    listed = session.walk(lambda tx, after: accounts.page(tx, after, wanted))
    if as_json:
        document([shape(each) for each in listed])
        return
    columns(
        ("ACCOUNT", "REGION", "EMAIL", "STATUS", "QUOTA", "RATE", "SENT IN 24 H"),
        [(a.account_id, a.region, a.email, _status(a), a.quota, f"{a.rate:g}", a.used_24_hours) for a in listed],
    )


def _status(account: AccountStanding) -> str:
    if account.closed:
        return "closed"
    if not account.opened:
        return "not opened"
    return ("production" if account.production else "sandbox") + (", suspended" if account.suspended else "")


@account.command()
@click.argument("account_number", metavar="[ID]", required=False)
@account_option
@region_option
@json_option
@pass_session
def show(
    session: Session, *, account_number: str | None, account_id: str | None, region: str | None, as_json: bool
) -> None:
    """Show an account in a region: standing, limits, what it sent."""
    if account_number and account_id and account_number != account_id:
        raise click.UsageError("say the account once: ID, or --account ID")
    tell(session, session.account(account_number or account_id), session.region(region), as_json)


def _suspension(name: str, suspended: bool, about: str) -> None:
    @account.command(name, help=about)
    @pass_place
    @json_option
    def change(session: Session, *, account_id: str, region: str, as_json: bool) -> None:
        session.write(accounts.suspend, account_id, region, suspended)
        tell_change(session, account_id, region, as_json, "suspended" if suspended else "may send again")


def tell_change(session: Session, account_id: str, region: str, as_json: bool, done: str) -> None:
    """Says what was done, or with ``--json`` shows what came of it."""
    if as_json:
        tell(session, account_id, region, as_json)
    else:
        click.echo(f"account {account_id} in {region}: {done}")


_suspension("suspend", True, "Refuse what an account sends in a region; everything else works.")
_suspension("resume", False, "Let a suspended account send again.")


@account.command()
@account_option
@json_option
@pass_session
def close(session: Session, *, account_id: str | None, as_json: bool) -> None:
    """Close an account: nobody logs in or sends for it, in any region. Nothing is deleted."""
    chosen = session.account(account_id)
    session.write(accounts.close, chosen)
    if as_json:
        tell(session, chosen, None, as_json)
    else:
        click.echo(f"account {chosen}: closed")


@account.command("open")
@pass_place
@json_option
def open_again(session: Session, *, account_id: str, region: str, as_json: bool) -> None:
    """Open a region for an account; a closed account is open again."""
    session.write(accounts.open_again, account_id, region)
    tell_change(session, account_id, region, as_json, "open")


@account.command()
@click.argument("switch", type=click.Choice(["on", "off"]))
@pass_place
@json_option
def production(session: Session, *, switch: str, account_id: str, region: str, as_json: bool) -> None:
    """Take an account out of the sandbox of a region (on), or put it back (off)."""
    session.write(limits.set_production, account_id, region, switch == "on", operator=operator(session))
    tell_change(session, account_id, region, as_json, "production" if switch == "on" else "sandbox")


@account.command()
@click.argument("switch", type=click.Choice(["on", "off"]))
@pass_place
@json_option
def pace(session: Session, *, switch: str, account_id: str, region: str, as_json: bool) -> None:
    """Take mail that comes faster than the rate and send it at the rate (on), or refuse it with 454 (off)."""
    session.write(accounts.set_pace, account_id, region, switch == "on")
    tell_change(session, account_id, region, as_json, "mail is paced" if switch == "on" else "mail is not paced")


@account.command()
@click.argument("address")
@account_option
@json_option
@pass_session
def email(session: Session, *, address: str, account_id: str | None, as_json: bool) -> None:
    """Change where notices about an account go; the address of before is told."""
    chosen = session.account(account_id)
    session.write(accounts.set_email, chosen, address, session.settings.regions[0])
    if as_json:
        tell(session, chosen, None, as_json)
    else:
        click.echo(f"account {chosen}: notices go to {address}")

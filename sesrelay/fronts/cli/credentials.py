"""``credentials``: SMTP user names and passwords, and the access keys that they are made of (CRED-1, CRED-3)."""

from __future__ import annotations

import csv
import io
import sys
from typing import Any

import click

from sesrelay.core import credentials as core
from sesrelay.core import policies
from sesrelay.fronts.cli.output import columns, document, fields, iso, say
from sesrelay.fronts.cli.session import Session, account_option, json_option, pass_session
from sesrelay.model.account import AccessKey, KeyListing, KeyStatus
from sesrelay.rules.credentials import smtp_password, smtp_password_v4


def shape(key: AccessKey, regions: tuple[str, ...]) -> dict[str, Any]:
    """Credentials with their secrets, as they are shown once."""
    return {
        "user_name": key.user_name,
        "access_key_id": key.access_key_id,
        "secret_access_key": key.secret,
        "smtp_user_name": key.access_key_id,
        "smtp_password": smtp_password(key.secret),
        "smtp_password_v4": {region: smtp_password_v4(key.secret, region) for region in regions},
    }


def listing(key: KeyListing) -> dict[str, Any]:
    """Credentials without secrets."""
    return {
        "user_name": key.user_name,
        "access_key_id": key.access_key_id,
        "smtp_user_name": key.access_key_id,
        "status": key.status.value,
        "created_at": iso(key.created_at),
    }


@click.group()
def credentials() -> None:
    """Create, list, switch off, delete and import credentials."""


@credentials.command()
@account_option
@click.option("--user", "user_name", metavar="NAME", help="The IAM user's name, new or known.")
@click.option("--api", is_flag=True, help="For the API too: the user may call every SES action.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, as the console gives it for download.")
@json_option
@pass_session
def create(
    session: Session, *, account_id: str | None, user_name: str | None, api: bool, as_csv: bool, as_json: bool
) -> None:
    """Create credentials. Their secrets are shown now and never again."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    _make(session, account_id, user_name, core.new_key(session.chance), api=api, form="csv" if as_csv else as_json)


@credentials.command("import")
@click.option("--access-key-id", required=True, metavar="K", help="The key's id; its secret is read from stdin.")
@account_option
@click.option("--user", "user_name", metavar="NAME", help="The IAM user's name, new or known.")
@click.option("--api", is_flag=True, help="For the API too: the user may call every SES action.")
@json_option
@pass_session
def import_key(
    session: Session, *, access_key_id: str, account_id: str | None, user_name: str | None, api: bool, as_json: bool
) -> None:
    """Bring an access key along: applications keep their SMTP passwords. The secret is read from stdin."""
    if sys.stdin.isatty():
        secret = click.prompt("Secret access key", hide_input=True, err=True)
    else:
        secret = sys.stdin.read(1024)
    _make(session, account_id, user_name, (access_key_id, secret.strip("\r\n ")), api=api, form=as_json)


def _make(
    session: Session,
    account_id: str | None,
    user_name: str | None,
    key: tuple[str, str],
    *,
    api: bool,
    form: bool | str,
) -> None:
    chosen = session.account(account_id)
    made = session.write(core.create, chosen, user_name, key, keyring=session.keyring, chance=session.chance, api=api)
    shown = shape(made, session.settings.regions)
    if session.read(policies.never_sends, chosen, made.user_name):
        say(f"user {made.user_name} had policies already, and they do not allow ses:SendRawEmail: see `policy show`")
    if form == "csv":
        click.echo(_csv(made, api), nl=False)
    elif form:
        document(shown)
    else:
        fields(shown)


def _csv(key: AccessKey, api: bool) -> str:
    """The guide's file for SMTP; IAM's for the API."""
    text = io.StringIO()
    writer = csv.writer(text)
    if api:
        writer.writerow(("User Name", "Access Key Id", "Secret Access Key"))
        writer.writerow((key.user_name, key.access_key_id, key.secret))
    else:
        writer.writerow(("IAM User Name", "Smtp Username", "Smtp Password"))
        writer.writerow((key.user_name, key.access_key_id, smtp_password(key.secret)))
    return text.getvalue()


@credentials.command("list")
@account_option
@json_option
@pass_session
def list_keys(session: Session, *, account_id: str | None, as_json: bool) -> None:
    """List an account's credentials, without secrets."""
    _tell(session.read(core.list_keys, session.account(account_id)), as_json)


def _tell(keys: list[KeyListing], as_json: bool) -> None:
    if as_json:
        document([listing(key) for key in keys])
    else:
        rows = [(key.user_name, key.access_key_id, key.status.value, iso(key.created_at)) for key in keys]
        columns(("USER", "ACCESS KEY = SMTP USER NAME", "STATUS", "CREATED"), rows)


def _named(access_key_id: str | None, user_name: str | None, name: str | None) -> str:
    given = [value for value in (access_key_id, user_name, name) if value]
    if len(given) != 1:
        raise click.UsageError("name one access key or one user")
    return given[0]


def _switch(command: str, status: KeyStatus, about: str) -> None:
    @credentials.command(command, help=about)
    @click.argument("name", metavar="[KEY|USER]", required=False)
    @click.option("--access-key-id", metavar="K", help="One key.")
    @click.option("--user", "user_name", metavar="NAME", help="All keys of a user.")
    @account_option
    @json_option
    @pass_session
    def change(
        session: Session,
        *,
        name: str | None,
        access_key_id: str | None,
        user_name: str | None,
        account_id: str | None,
        as_json: bool,
    ) -> None:
        named = _named(access_key_id, user_name, name)
        _tell(session.write(core.switch, session.account(account_id), named, status), as_json)


_switch("disable", KeyStatus.INACTIVE, "Switch off a key, or all keys of a user; open sessions can send no more.")
_switch("enable", KeyStatus.ACTIVE, "Switch a key, or all keys of a user, on again.")


@credentials.command()
@click.argument("name", metavar="[KEY|USER]", required=False)
@click.option("--access-key-id", metavar="K", help="One key; a user with nothing else goes with it.")
@click.option("--user", "user_name", metavar="NAME", help="A user, with all keys.")
@account_option
@json_option
@pass_session
def delete(
    session: Session,
    *,
    name: str | None,
    access_key_id: str | None,
    user_name: str | None,
    account_id: str | None,
    as_json: bool,
) -> None:
    """Delete a user with all keys, or one key; open sessions can send no more."""
    named = _named(access_key_id, user_name, name)
    gone = session.write(core.delete, session.account(account_id), named)
    if as_json:
        document([listing(key) for key in gone])
    else:
        click.echo(f"deleted: {', '.join(key.access_key_id for key in gone) or named}")

"""``user`` and ``group``: the IAM users of an account, and the groups through which they share policies (CRED-4)."""

from __future__ import annotations

from typing import Any

import click

from sesrelay.core import users as core
from sesrelay.fronts.cli.output import columns, document, fields, iso
from sesrelay.fronts.cli.session import Session, account_option, json_option, pass_session
from sesrelay.model.policy import GroupListing, UserListing


def shape(user: UserListing) -> dict[str, Any]:
    """A user as ``--json`` shows it."""
    return {
        "user_name": user.user_name,
        "created_at": iso(user.created_at),
        "access_keys": user.keys,
        "active_access_keys": user.active_keys,
        "console_password": user.has_password,
        "groups": list(user.groups),
        "policies": list(user.policies),
    }


def group_shape(group: GroupListing) -> dict[str, Any]:
    """A group as ``--json`` shows it."""
    return {
        "group_name": group.group_name,
        "created_at": iso(group.created_at),
        "users": list(group.users),
        "policies": list(group.policies),
    }


@click.group()
def user() -> None:
    """List, show, create and delete users; their policies are set by `policy`, their keys by `credentials`."""


@user.command("list")
@account_option
@json_option
@pass_session
def list_users(session: Session, *, account_id: str | None, as_json: bool) -> None:
    """List an account's users."""
    chosen = session.account(account_id)
    listed = session.walk(lambda tx, after: core.page(tx, chosen, after))
    if as_json:
        document([shape(each) for each in listed])
        return
    rows = [
        (each.user_name, f"{each.active_keys} of {each.keys}", _join(each.groups), _join(each.policies))
        for each in listed
    ]
    columns(("USER", "ACTIVE KEYS", "GROUPS", "POLICIES"), rows)


@user.command("show")
@click.argument("user_name", metavar="USER")
@account_option
@json_option
@pass_session
def show_user(session: Session, *, user_name: str, account_id: str | None, as_json: bool) -> None:
    """Show one user."""
    shown = shape(session.read(core.show, session.account(account_id), user_name))
    document(shown) if as_json else fields(shown)


@user.command("create")
@click.argument("user_name", metavar="USER")
@account_option
@json_option
@pass_session
def create_user(session: Session, *, user_name: str, account_id: str | None, as_json: bool) -> None:
    """Create a user without keys, who may do nothing yet. `credentials create` makes user, key and policy at once."""
    made = session.write(core.create, session.account(account_id), user_name)
    document(shape(made)) if as_json else click.echo(f"created: user {made.user_name}")


@user.command("delete")
@click.argument("user_name", metavar="USER")
@account_option
@json_option
@pass_session
def delete_user(session: Session, *, user_name: str, account_id: str | None, as_json: bool) -> None:
    """Delete a user with keys and policies; open sessions can send no more."""
    gone = session.write(core.delete, session.account(account_id), user_name)
    document(shape(gone)) if as_json else click.echo(f"deleted: user {gone.user_name} with {gone.keys} access keys")


@click.group()
def group() -> None:
    """Create, list, show and delete groups, and say who is in them; their policies are set by `policy … --group`."""


@group.command("list")
@account_option
@json_option
@pass_session
def list_groups(session: Session, *, account_id: str | None, as_json: bool) -> None:
    """List an account's groups."""
    chosen = session.account(account_id)
    listed = session.walk(lambda tx, after: core.page_of_groups(tx, chosen, after))
    if as_json:
        document([group_shape(each) for each in listed])
    else:
        rows = [(each.group_name, len(each.users), _join(each.policies)) for each in listed]
        columns(("GROUP", "USERS", "POLICIES"), rows)


@group.command("show")
@click.argument("group_name", metavar="GROUP")
@account_option
@json_option
@pass_session
def show_group(session: Session, *, group_name: str, account_id: str | None, as_json: bool) -> None:
    """Show one group with its users."""
    shown = group_shape(session.read(core.show_group, session.account(account_id), group_name))
    document(shown) if as_json else fields(shown)


@group.command("create")
@click.argument("group_name", metavar="GROUP")
@account_option
@json_option
@pass_session
def create_group(session: Session, *, group_name: str, account_id: str | None, as_json: bool) -> None:
    """Create a group with nobody in it and no policy."""
    made = session.write(core.create_group, session.account(account_id), group_name)
    document(group_shape(made)) if as_json else click.echo(f"created: group {made.group_name}")


@group.command("delete")
@click.argument("group_name", metavar="GROUP")
@account_option
@json_option
@pass_session
def delete_group(session: Session, *, group_name: str, account_id: str | None, as_json: bool) -> None:
    """Delete a group that nobody is in, with its policies."""
    gone = session.write(core.delete_group, session.account(account_id), group_name)
    document(group_shape(gone)) if as_json else click.echo(f"deleted: group {gone.group_name}")


@group.command("add-user")
@click.argument("group_name", metavar="GROUP")
@click.argument("user_name", metavar="USER")
@account_option
@json_option
@pass_session
def add_user(session: Session, *, group_name: str, user_name: str, account_id: str | None, as_json: bool) -> None:
    """Put a user into a group: its policies count for the user from the next message on."""
    now = session.write(core.add_to_group, session.account(account_id), group_name, user_name)
    document(group_shape(now)) if as_json else click.echo(f"group {now.group_name}: {', '.join(now.users)}")


@group.command("remove-user")
@click.argument("group_name", metavar="GROUP")
@click.argument("user_name", metavar="USER")
@account_option
@json_option
@pass_session
def remove_user(session: Session, *, group_name: str, user_name: str, account_id: str | None, as_json: bool) -> None:
    """Take a user out of a group."""
    now = session.write(core.remove_from_group, session.account(account_id), group_name, user_name)
    document(group_shape(now)) if as_json else click.echo(f"group {now.group_name}: {', '.join(now.users) or 'nobody'}")


def _join(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "-"

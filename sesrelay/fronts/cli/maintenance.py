"""``migrate`` and ``verify-data``: the state of what is stored."""

from __future__ import annotations

import click

from sesrelay.fronts.cli.output import document
from sesrelay.fronts.cli.session import Session, json_option, pass_session
from sesrelay.store import migrate as apply_migrations


@click.command()
@json_option
@pass_session
def migrate(session: Session, *, as_json: bool) -> None:
    """Make the tables of a new database, or bring an older one up to this program."""
    applied = apply_migrations(session.options(), session.clock)
    if as_json:
        document({"applied": applied})
    else:
        click.echo(f"applied: {', '.join(applied)}" if applied else "nothing to do")

"""``migrate`` and ``verify-data``: the state of what is stored."""

from __future__ import annotations

import click

from sesrelay.fronts.cli.output import document, progress
from sesrelay.fronts.cli.session import Session, json_option, pass_session
from sesrelay.store import migrate as apply_migrations


@click.command()
@json_option
@pass_session
def migrate(session: Session, *, as_json: bool) -> None:
    """Make the tables of a new database, or bring an older one up to this program."""
    applied = apply_migrations(session.options(empty=True), session.clock)
    if as_json:
        document({"applied": applied})
    else:
        click.echo(f"applied: {', '.join(applied)}" if applied else "nothing to do")


@click.command("verify-data")
@json_option
@pass_session
def verify_data(session: Session, *, as_json: bool) -> int:
    """Check that the books balance, and that all that waits can be sent; exit status 1 with a list if not."""
    read = 0

    def count(bodies: int) -> None:
        nonlocal read
        read += bodies
        progress(f"{read} bodies read")

    found = session.run(lambda store: store.verify(count))
    progress("")
    if as_json:
        document({"ok": not found, "faults": found, "bodies_read": read})
    elif found:
        for fault in found:
            click.echo(fault)
    else:
        click.echo("ok")
    return 1 if found else 0

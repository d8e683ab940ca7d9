"""``serve`` and ``check-config``."""

from __future__ import annotations

import click

from sesrelay import configuration
from sesrelay.fronts.cli.output import document
from sesrelay.fronts.cli.session import Session, json_option, pass_session


@click.command()
@pass_session
def serve(session: Session) -> None:
    """Run the relay in the foreground; `ready` on stderr when all listeners are open."""
    from sesrelay.runtime import supervisor

    supervisor.serve(session.path.absolute())


@click.command("check-config")
@json_option
@pass_session
def check_config(session: Session, *, as_json: bool) -> int:
    """Say ok, or every fault of the configuration with file, line and key (exit status 2)."""
    faults: tuple[configuration.Fault, ...] = ()
    try:
        configuration.check_files(session.settings, session.path)
    except configuration.BadConfiguration as error:
        if not as_json:
            raise
        faults = error.faults
    if as_json:
        told = [{"source": f.source, "line": f.line or None, "key": f.key or None, "text": f.text} for f in faults]
        document({"ok": not faults, "faults": told})
    else:
        click.echo("ok")
    return 2 if faults else 0

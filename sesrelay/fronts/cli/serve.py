"""``serve`` and ``check-config``."""

from __future__ import annotations

from typing import Any

import click

from sesrelay import configuration
from sesrelay.configuration import BadConfiguration, Fault
from sesrelay.fronts.cli.output import document, say
from sesrelay.fronts.cli.session import Session, json_option, pass_session
from sesrelay.store.keyring import KeyringError


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
    faults = _faults(session)
    remarks = [] if faults else _warnings(session)
    if as_json:
        document({"ok": not faults, "faults": list(map(_shape, faults)), "warnings": list(map(_shape, remarks))})
    elif faults:
        raise BadConfiguration(faults)
    else:
        for remark in remarks:
            say(f"warning: {remark}")
        click.echo("ok")
    return 2 if faults else 0


def _shape(fault: Fault) -> dict[str, Any]:
    return {"source": fault.source, "line": fault.line or None, "key": fault.key or None, "text": fault.text}


def _warnings(session: Session) -> list[Fault]:
    """What the relay starts with all the same."""
    return configuration.warnings(session.settings, session.path, session.clock.now())


def _faults(session: Session) -> list[Fault]:
    """Of the file; and if there are none, of the files and folders that it names."""
    try:
        settings = session.settings
    except BadConfiguration as error:
        return list(error.faults)
    found: list[Fault] = []
    for check in (
        lambda: configuration.check_files(settings, session.path),
        session.check_folder,
        lambda: session.keyring,
    ):
        try:
            check()
        except BadConfiguration as error:
            found += error.faults
        except KeyringError as error:
            found += configuration.blame(session.path, ("keyring",), str(error)).faults
    return found

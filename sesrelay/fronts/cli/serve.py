"""``serve`` and ``check-config``."""

from __future__ import annotations

from typing import Any, Final

import click

from sesrelay import configuration
from sesrelay.configuration import BadConfiguration, Fault
from sesrelay.fronts.cli.output import document, one_line, say
from sesrelay.fronts.cli.session import Session, json_option, pass_session
from sesrelay.store import StoreOptions, look
from sesrelay.store.errors import DatabaseAway, DatabaseUnusable, RegionInUse, StoreError, WrongKeyring
from sesrelay.store.keyring import Keyring, KeyringError

_KEYS: Final[dict[type[StoreError], str]] = {WrongKeyring: "keyring", RegionInUse: "regions"}
"""The setting that has to change; for everything else it is ``database``."""


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
    """Say ok, or every fault of the configuration with file, line and key (exit status 2).

    Exit status 1 when nothing is wrong but that the database is away: that may pass by itself.
    """
    lasting, passing = _faults(session)
    faults = lasting + passing
    remarks = [] if faults else _warnings(session)
    if as_json:
        document({"ok": not faults, "faults": list(map(_shape, faults)), "warnings": list(map(_shape, remarks))})
    elif faults:
        for fault in faults:
            say(one_line(fault))
    else:
        for remark in remarks:
            say(f"warning: {remark}")
        click.echo("ok")
    return 2 if lasting else 1 if passing else 0


def _shape(fault: Fault) -> dict[str, Any]:
    return {"source": fault.source, "line": fault.line or None, "key": fault.key or None, "text": fault.text}


def _warnings(session: Session) -> list[Fault]:
    """What the relay starts with all the same."""
    return configuration.warnings(session.settings, session.path, session.clock.now())


def _faults(session: Session) -> tuple[list[Fault], list[Fault]]:
    """Of the file; and if there are none, of the files, the folder and the database that it names.

    Apart from them, those which may pass by themselves.
    """
    try:
        settings = session.settings
    except BadConfiguration as error:
        return list(error.faults), []
    found: list[Fault] = []
    try:
        configuration.check(settings, session.path)
    except BadConfiguration as error:
        found += error.faults
    keyring: Keyring | None = None
    try:
        keyring = session.keyring
    except KeyringError as error:
        found += configuration.blame(session.path, ("keyring",), str(error)).faults
    passing: list[Fault] = []
    if not any(fault.key == "data_dir" for fault in found):
        for reason in _reasons_of_database(session, keyring):
            may_pass = isinstance(reason, DatabaseAway) and not isinstance(reason, DatabaseUnusable)
            key = _KEYS.get(type(reason), "database")
            (passing if may_pass else found).extend(configuration.blame(session.path, (key,), str(reason)).faults)
    return found, passing


def _reasons_of_database(session: Session, keyring: Keyring | None) -> list[StoreError]:
    """What only its tables tell; nothing in it is changed, and it may be in use."""
    settings = session.settings
    options = StoreOptions(settings.database, settings.data_dir, "cli", "check-config", keyring, settings.regions)
    try:
        return look(options, session.clock)
    except OSError as error:
        return [DatabaseUnusable(f"{error.filename}: {error.strerror}")]

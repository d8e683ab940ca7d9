"""``serve`` and ``check-config``."""

from __future__ import annotations

from typing import Final

import click

from sesrelay import configuration
from sesrelay.configuration import BadConfiguration, Fault
from sesrelay.fronts.cli.output import document
from sesrelay.fronts.cli.session import Session, json_option, pass_session
from sesrelay.store import StoreOptions, look
from sesrelay.store.errors import RegionInUse, StoreError, WrongKeyring
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
    """Say ok, or every fault of the configuration with file, line and key (exit status 2)."""
    faults = _faults(session)
    if as_json:
        told = [{"source": f.source, "line": f.line or None, "key": f.key or None, "text": f.text} for f in faults]
        document({"ok": not faults, "faults": told})
    elif faults:
        raise BadConfiguration(faults)
    else:
        click.echo("ok")
    return 2 if faults else 0


def _faults(session: Session) -> list[Fault]:
    """Of the file; and if there are none, of the files, the folder and the database that it names."""
    try:
        settings = session.settings
    except BadConfiguration as error:
        return list(error.faults)
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
    if not any(fault.key == "data_dir" for fault in found):
        found += _faults_of_database(session, keyring)
    return found


def _faults_of_database(session: Session, keyring: Keyring | None) -> list[Fault]:
    """What only its tables tell; nothing in it is changed, and it may be in use."""
    settings = session.settings
    options = StoreOptions(settings.database, settings.data_dir, "cli", "check-config", keyring, settings.regions)
    try:
        reasons = [(_KEYS.get(type(fault), "database"), str(fault)) for fault in look(options, session.clock)]
    except OSError as error:
        reasons = [("data_dir", f"{error.filename}: {error.strerror}")]
    return [fault for key, text in reasons for fault in configuration.blame(session.path, (key,), text).faults]

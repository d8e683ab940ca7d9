"""``certificate``: what the relay shows to clients, and new ones from its own CA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sesrelay.certificates import authority
from sesrelay.certificates.authority import Renewal
from sesrelay.certificates.configured import certificate_files
from sesrelay.certificates.pairs import Pair, read
from sesrelay.fronts.cli.output import columns, document, iso
from sesrelay.fronts.cli.session import Session, json_option, pass_session
from sesrelay.model.failure import Failed, Failure


@click.group()
def certificate() -> None:
    """Certificates that clients are shown."""


@certificate.command()
@json_option
@pass_session
def show(session: Session, *, as_json: bool) -> None:
    """Each certificate of the configuration: its names, its kind of key, who signed it, when it ends."""
    pairs = [read(files) for _, files in certificate_files(session.settings)]
    if as_json:
        document([_shape(pair, session) for pair in pairs])
        return
    rows = [
        (pair.files.certificate, pair.kind, iso(pair.ends), pair.days_left(session.clock.now()), ", ".join(pair.names))
        for pair in pairs
    ]
    columns(("file", "key", "ends", "days left", "names"), rows)


@certificate.command()
@click.option(
    "--authority",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Where ca.pem and ca.key are; beside the certificate if not said.",
)
@click.option("--new-key", is_flag=True, help="With a new key: clients that have pinned the old one must learn it.")
@json_option
@pass_session
def renew(session: Session, *, folder: Path | None, new_key: bool, as_json: bool) -> None:
    """Make new certificates, for the names of all regions, in place of those that init's CA has signed.

    A running relay takes them up by itself.
    """
    settings = session.settings
    files = tuple(files for _, files in certificate_files(settings))
    renewal = Renewal(files, settings.service_domain, settings.regions)
    place = folder or settings.tls.certificate.parent
    try:
        done = authority.renew(renewal, place, session.clock.now(), new_key=new_key)
    except FileNotFoundError as error:
        raise Failed(Failure.INVALID, f"{error.filename} is not there: --authority says where the CA is") from error
    if not done:
        text = (
            f"the CA in {place} has signed none of the certificates in {session.path}: renew them where they are from"
        )
        raise Failed(Failure.INVALID, text)
    pairs = [read(each) for each in done]
    if as_json:
        document([_shape(pair, session) for pair in pairs])
    for pair in pairs if not as_json else ():
        click.echo(f"{pair.files.certificate}: renewed until {iso(pair.ends)}")


def _shape(pair: Pair, session: Session) -> dict[str, Any]:
    return {
        "certificate": str(pair.files.certificate),
        "private_key": str(pair.files.private_key),
        "key": pair.kind,
        "names": list(pair.names),
        "issuer": pair.issuer,
        "begins": iso(pair.begins),
        "ends": iso(pair.ends),
        "days_left": pair.days_left(session.clock.now()),
    }

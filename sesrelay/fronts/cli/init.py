"""``init``: everything that a first start needs, made in one folder; a second time it changes nothing.

Each step looks whether its thing is there, so that an ``init`` that was interrupted is finished by the next one.
Account, credentials and first identity come into being in one transaction, so credentials are shown or do not exist.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from sesrelay import configuration
from sesrelay.certificates.authority import Authority, are_missing
from sesrelay.configuration import BadConfiguration, Fault
from sesrelay.core import accounts, identities
from sesrelay.core import credentials as core_credentials
from sesrelay.fronts.cli import credentials, welcome
from sesrelay.fronts.cli.output import document, say
from sesrelay.fronts.cli.session import Session, json_option, relative
from sesrelay.model.account import AccessKey
from sesrelay.model.failure import Failed, Failure
from sesrelay.settings import Settings
from sesrelay.store import Transaction, migrate
from sesrelay.store.errors import DatabaseAway, WrongKeyring
from sesrelay.store.keyring import create as create_keyring
from sesrelay.store.keyring import new_keyring

SERVICE_DOMAIN: Final = "sesrelay.localhost"
"""Names below .localhost mean this machine (RFC 6761), so that the endpoints' names work without a DNS."""
FILE_NAME: Final = "sesrelay.yaml"
_OPTIONS: Final = {"service_domain": "--service-domain", "regions": "--region", "database": "--database"}
"""The keys that options set."""

_CONFIGURATION: Final = """\
# sesrelay's configuration, as `sesrelay init` made it. Every setting: config/sesrelay.yaml and docs/OPERATING.md.
# Relative paths are relative to this file.
service_domain: {service_domain}
data_dir: .
database: {database}
workers: auto
regions: {regions}
listeners:
  - {{address: "127.0.0.1", port: 2587, mode: starttls}}
  - {{address: "127.0.0.1", port: 2465, mode: tls}}
tls: {{certificate: certs/server.pem, private_key: certs/server.key}}
keyring: keyring                # the key to all stored secrets: keep a copy apart from backups of the data
http: {{address: "127.0.0.1", port: 8443}}
metrics: {{address: "127.0.0.1", port: 9465}}
feedback: {{address: "127.0.0.1", port: 2525, domain: null}}
delivery:
  routes:
    - {{domain: "*", via: capture}}    # kept here, never sent; mx sends it to the world
"""


@dataclass(frozen=True, slots=True)
class First:
    """What came into being with the first account."""

    account_id: str
    key: AccessKey


@click.command()
@click.option("--data", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--service-domain", metavar="D", help=f"Your own domain; {SERVICE_DOMAIN} for trying it out.")
@click.option("--region", "regions", multiple=True, metavar="R", help="us-east-1 if not said; may be repeated.")
@click.option("--database", metavar="URL", help="sqlite (the default), or postgresql://user:password@host/name.")
@click.option("--account-id", metavar="ID", help="12 digits for the first account; chance chooses without them.")
@click.option("--account-email", metavar="E", help="Where notices about the account go.")
@json_option
def init(
    *,
    folder: Path,
    service_domain: str | None,
    regions: tuple[str, ...],
    database: str | None,
    account_id: str | None,
    account_email: str | None,
    as_json: bool,
) -> None:
    """Make a data folder: configuration, certificates, keyring, database, first account and credentials."""
    config = folder.absolute() / FILE_NAME
    if account_id or account_email:
        accounts.check_new(account_id or "0" * 12, account_email or "postmaster@localhost")
    made = _files(config, service_domain, regions, database)
    session = Session(str(config))
    if not made:
        _remark(session.settings, service_domain, regions, database)
    try:
        _foundation(session, made)
    except (DatabaseAway, Failed):
        _withdraw(session.settings, config, made)
        raise
    first = _first_account(session, account_id, account_email)
    if first:
        made.append(f"account {first.account_id}")
    elif made:
        say("There was an account already: no new one, no new credentials.")
    _tell(session, first, made, as_json)


def _files(config: Path, service_domain: str | None, regions: tuple[str, ...], database: str | None) -> list[str]:
    """The folder and the configuration; what was made."""
    try:
        config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if config.exists():
            return []
        content = _CONFIGURATION.format(
            service_domain=json.dumps(service_domain or SERVICE_DOMAIN),
            database=json.dumps(database or "sqlite"),
            regions=json.dumps(list(regions or ("us-east-1",))),
        )
        new = config.with_suffix(".new")
        new.unlink(missing_ok=True)
        _check(content, config)
        # The database's password may stand in it.
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
        new.rename(config)
    except OSError as error:
        raise Failed(Failure.INVALID, f"{error.filename or config}: {error.strerror}") from error
    return [FILE_NAME]


def _check(content: str, config: Path) -> None:
    """Nothing is made of options that could not be used: each is named. Raises BadConfiguration."""
    try:
        configuration.parse(content, config, os.environ)
    except BadConfiguration as error:
        raise BadConfiguration([_of_an_option(fault) for fault in error.faults]) from None


def _of_an_option(fault: Fault) -> Fault:
    """The fault with the option that brought it, in place of a line in a file that is not there."""
    option = next((option for key, option in _OPTIONS.items() if fault.line and fault.key.startswith(key)), None)
    return Fault(option, 0, "", fault.text) if option else fault


def _remark(settings: Settings, service_domain: str | None, regions: tuple[str, ...], database: str | None) -> None:
    """Says which options count for nothing, because a configuration is there that says otherwise."""
    same = {
        "service_domain": service_domain in (None, settings.service_domain),
        "regions": regions in ((), settings.regions),
        "database": database in (None, settings.database),
    }
    for key in (key for key, holds in same.items() if not holds):
        say(f"{_OPTIONS[key]} was not heeded: {FILE_NAME} is there already, and its {key} counts; change it there")


def _withdraw(settings: Settings, config: Path, made: list[str]) -> None:
    """Takes away what only this run's options shaped, so that the next run can be given better ones."""
    if FILE_NAME in made:
        config.unlink()
        if "certificates" in made:
            settings.tls.certificate.unlink()
            settings.tls.private_key.unlink()


def _foundation(session: Session, made: list[str]) -> None:
    """Certificates, keyring and the database's tables, where they are missing."""
    settings = session.settings
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if are_missing(settings.tls.certificate, settings.tls.private_key):
            place = settings.tls.certificate.parent
            authority = Authority.of(place, session.clock.now())
            server = authority.server(settings.service_domain, settings.regions, session.clock.now())
            server.write(settings.tls.certificate, settings.tls.private_key)
            made.append("certificates")
        new_key = not settings.keyring.exists()
        if new_key:
            create_keyring(settings.keyring, new_keyring(session.chance))
    except OSError as error:
        raise Failed(Failure.INVALID, f"{error.filename}: {error.strerror}") from error
    try:
        made += migrate(session.options(empty=True), session.clock)
        session.read(lambda _: None)
    except WrongKeyring:
        if new_key:
            settings.keyring.unlink()
            text = f"the database has a keyring already: copy it from the node that made it to {settings.keyring}"
            raise WrongKeyring(text) from None
        raise
    if new_key:
        made.append("keyring")


def _first_account(session: Session, account_id: str | None, email: str | None) -> First | None:
    settings = session.settings
    made = account_id or accounts.new_account_id(session.chance)

    def begin(tx: Transaction) -> First | None:
        if accounts.page(tx, None)[1] is not None:
            return None
        accounts.create(tx, made, email or f"postmaster@{settings.service_domain}", settings.regions)
        for region in settings.regions:
            identities.add(
                tx,
                made,
                region,
                settings.service_domain,
                verified=True,
                most=settings.limits.identities,
                chance=session.chance,
            )
        key = core_credentials.new_key(session.chance)
        return First(made, core_credentials.create(tx, made, None, key, keyring=session.keyring, chance=session.chance))

    return session.write(begin)


def _tell(session: Session, first: First | None, made: list[str], as_json: bool) -> None:
    settings = session.settings
    if not made:
        say(f"{session.path.parent} is set up already: nothing was changed.")
    if as_json:
        account_id = first.account_id if first else session.read(lambda tx: accounts.page(tx, None)[0][0].account_id)
        standing = session.read(accounts.show, account_id, None)
        document(
            {
                "config": str(session.path),
                "account_id": account_id,
                "regions": list(settings.regions),
                "service_domain": settings.service_domain,
                "ca_certificate": str(settings.tls.certificate.with_name("ca.pem")),
                "credentials": credentials.shape(first.key, settings.regions) if first else None,
                "console": {
                    "url": f"https://{settings.http.address}:{settings.http.port}/console/",
                    "user_name": standing.email,
                    "password": None,
                },
                "made": made,
            }
        )
    elif first:
        click.echo(
            welcome.text(settings, relative(session.path), credentials.shape(first.key, settings.regions)), nl=False
        )

"""``identity``: the addresses and domains that an account may send from (ID-1)."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from sesrelay.core import identities
from sesrelay.fronts.cli.output import columns, document, fields, iso, say
from sesrelay.fronts.cli.reserving import Reserving
from sesrelay.fronts.cli.session import Session, account_option, json_option, pass_place, pass_session, region_option
from sesrelay.model.failure import Failed, Failure
from sesrelay.model.identity import DnsAnswer, Identity, IdentityType, VerificationStatus
from sesrelay.resolver import Resolver
from sesrelay.rules import identity_life
from sesrelay.rules.records import as_csv, as_zone, verification_record
from sesrelay.verification.domains import Finding, ask, find_mistakes


def shape(identity: Identity) -> dict[str, Any]:
    """An identity as ``--json`` shows it; DKIM and notifications stand at what an identity begins with."""
    return {
        "identity": identity.name,
        "type": identity.type.value,
        "verification_status": identity.status.value,
        "verification_token": identity.token or None,
        "dkim": {"enabled": False, "verification_status": VerificationStatus.NOT_STARTED.value, "tokens": []},
        "notifications": {
            "forwarding_enabled": True,
            "bounce_topic": None,
            "complaint_topic": None,
            "delivery_topic": None,
        },
    }


def _tell(identity: Identity, as_json: bool) -> None:
    document(shape(identity)) if as_json else fields(shape(identity) | _times(identity))


def _times(identity: Identity) -> dict[str, str]:
    """For people: what is being waited for, and until when."""
    life = identity.life
    if identity.type is IdentityType.EMAIL_ADDRESS:
        ends = identity_life.link_ends(life)
        return {"link_good_until": iso(ends)} if ends else {}
    told = {
        "record_missing_since": life.missing_since,
        "no_answer_since": life.trouble_since,
        "looked_for_until" if life.status is VerificationStatus.PENDING else "removed_at": identity_life.deadline(life),
        "next_question": life.next_check_at,
    }
    return {name: iso(at) for name, at in told.items() if at}


def _say_what_is_next(identity: Identity) -> None:
    if identity.status is not VerificationStatus.PENDING:
        return
    if identity.type is IdentityType.EMAIL_ADDRESS:
        sent = iso(identity.life.asked_at)
        say(f"{identity.name} is Pending: a mail with a link went to it at {sent}, to be opened within 24 hours")
        return
    record = verification_record(identity.name, identity.token)
    until = iso(identity_life.deadline(identity.life))
    say(f"{identity.name} is Pending until this is found in its DNS, looked for until {until}:")
    say(f"    {record.name}. {record.type} {record.value}")


@click.group(cls=Reserving)
def identity() -> None:
    """Add, list, show and remove identities; verify them."""


@identity.command()
@click.argument("name")
@click.option("--verified", is_flag=True, help="Verified as of now, on the operator's word.")
@pass_place
@json_option
def add(session: Session, *, name: str, verified: bool, account_id: str, region: str, as_json: bool) -> None:
    """Add an e-mail address or a domain and verify it: by a mail with a link, by a record in the DNS."""
    added = session.write(
        identities.add,
        account_id,
        region,
        name,
        verified=verified,
        most=session.settings.limits.identities,
        chance=session.chance,
    )
    _tell(added, as_json)
    _say_what_is_next(added)


@identity.command()
@click.argument("name")
@pass_place
@json_option
def retry(session: Session, *, name: str, account_id: str, region: str, as_json: bool) -> None:
    """Verify anew: look for a domain's record for another 72 hours, send an address another link."""
    again = session.write(identities.retry, account_id, region, name)
    _tell(again, as_json)
    _say_what_is_next(again)


@identity.command()
@click.argument("name")
@click.option("--csv", "form", flag_value="csv", help="CSV: Name,Type,Value.")
@click.option("--zone", "form", flag_value="zone", help="Lines of a zone file.")
@click.option("--check", is_flag=True, help="Ask the domain's name servers now, and say what is wrong.")
@account_option
@region_option
@json_option
@pass_session
def records(
    session: Session,
    *,
    name: str,
    form: str | None,
    check: bool,
    account_id: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Show the DNS records that a domain needs, ready to paste."""
    if sum((form is not None, check, as_json)) > 1:  # said before the database is asked for the account
        raise click.UsageError("--csv, --zone, --check and --json: one of them")
    where = session.region(region)
    found = session.read(identities.show, session.account(account_id), where, name)
    if found.type is not IdentityType.DOMAIN:
        raise Failed(Failure.INVALID, f"{found.name} is an address: only domains have records")
    wanted = [verification_record(found.name, found.token)]
    match form:
        case "csv":
            click.echo(as_csv(wanted), nl=False)
        case "zone":
            click.echo(as_zone(wanted), nl=False)
        case _ if as_json:
            document([record._asdict() for record in wanted])
        case _ if check:
            _check(session, found)
        case _:
            columns(("NAME", "TYPE", "VALUE"), wanted)
            say("a provider that appends the domain to names wants a final dot, or the name without the domain;")
            say("one that allows no underscore: leave it away in _amazonses")


def _check(session: Session, domain: Identity) -> None:
    """Failed: the record is not there, or nobody knows."""

    async def look() -> tuple[Finding, list[str]]:
        dns = Resolver(session.settings.dns.nameservers, session.clock)
        found = await ask(dns, domain.name, domain.token)
        mistakes = await find_mistakes(dns, domain.name, domain.token) if found.answer is not DnsAnswer.FOUND else []
        return found, mistakes

    (answer, trouble), wrong = asyncio.run(look())
    if answer is DnsAnswer.FOUND:
        click.echo(f"found: the record of {domain.name} is published")
    elif answer is DnsAnswer.TROUBLE and not wrong:
        raise Failed(Failure.UNKNOWN, f"no answer from the DNS about {domain.name}, so nothing is known: {trouble}")
    else:
        raise Failed(Failure.UNKNOWN, " ".join([f"the record of {domain.name} is not there.", *wrong]))


@identity.command("list")
@pass_place
@json_option
def list_identities(session: Session, *, account_id: str, region: str, as_json: bool) -> None:
    """List an account's identities in a region."""
    listed = session.walk(lambda tx, after: identities.page(tx, account_id, region, after))
    if as_json:
        document([shape(each) for each in listed])
    else:
        columns(("IDENTITY", "TYPE", "STATUS"), [(each.name, each.type.value, each.status.value) for each in listed])


@identity.command()
@click.argument("name")
@pass_place
@json_option
def show(session: Session, *, name: str, account_id: str, region: str, as_json: bool) -> None:
    """Show one identity."""
    _tell(session.read(identities.show, account_id, region, name), as_json)


@identity.command()
@click.argument("name")
@pass_place
@json_option
def remove(session: Session, *, name: str, account_id: str, region: str, as_json: bool) -> None:
    """Remove an identity: nothing may be sent from it any more."""
    gone = session.write(identities.remove, account_id, region, name)
    if as_json:
        document(shape(gone))
    else:
        click.echo(f"removed: {gone.name}")

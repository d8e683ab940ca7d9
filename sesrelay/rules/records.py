"""The DNS records that a domain's owner publishes (ID-7, ID-10), as they are shown; what people do wrong with them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

ZONE_TTL_SECONDS: Final = 3600


class Record(NamedTuple):
    """A record to be published."""

    name: str
    type: str
    value: str


def verification_record(domain: str, token: str) -> Record:
    """What proves that a domain is its owner's."""
    return Record(f"_amazonses.{domain}", "TXT", token)


def accepted_names(domain: str) -> tuple[str, str]:
    """Where the token may stand: some providers allow no underscore."""
    return f"_amazonses.{domain}", f"amazonses.{domain}"


def holds(token: str, values: Iterable[str]) -> bool:
    """Whether the token is one of a name's values. Quotes and blanks around it come from copying."""
    return any(_bare(value) == token for value in values)


def _bare(value: str) -> str:
    return value.strip().strip('"').strip()


def as_csv(records: Iterable[Record]) -> str:
    """To download: one record a line under ``Name,Type,Value``."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("Name", "Type", "Value"))
    writer.writerows(records)
    return text.getvalue()


def as_zone(records: Iterable[Record]) -> str:
    """Lines of a zone file (RFC 1035 §5.1); the names are complete, so that nothing is appended to them."""
    return "".join(f"{name}.\t{ZONE_TTL_SECONDS}\tIN\t{kind}\t{_data(kind, value)}\n" for name, kind, value in records)


def _data(kind: str, value: str) -> str:
    if kind != "TXT":
        return f"{value}."
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def places_of_mistakes(domain: str) -> tuple[str, ...]:
    """Names at which a record that was published wrongly would stand."""
    return *accepted_names(domain), *(f"{name}.{domain}" for name in accepted_names(domain)), domain


def mistakes(domain: str, token: str, found: Mapping[str, Sequence[str]]) -> list[str]:
    """What was done wrong, a sentence each. ``found``: the TXT values at ``places_of_mistakes``."""
    return [*_misplaced(domain, token, found), *_misspelt(domain, token, found)]


def _misplaced(domain: str, token: str, found: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name in accepted_names(domain):
        doubled = f"{name}.{domain}"
        if holds(token, found.get(doubled, ())):
            yield (
                f"The record stands at {doubled}: the DNS provider appended the domain. "
                f"Write the name as {name}. with a final dot, or as {name.removesuffix('.' + domain)} alone."
            )
    if holds(token, found.get(domain, ())):
        yield f"The token stands at {domain} itself: its place is the name _amazonses.{domain}."
    prefixed = [f"{label}={token}" for label in ("_amazonses", "amazonses")]
    if any(holds(wrong, found.get(domain, ())) for wrong in prefixed):
        yield (
            f"{domain} itself has the value {prefixed[0]}: the name of the record must be _amazonses.{domain}, "
            "and its value the token alone."
        )


def _misspelt(domain: str, token: str, found: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name in accepted_names(domain):
        values = [_bare(value) for value in found.get(name, ())]
        if token in values or not values:
            continue
        if any(value.lower() == token.lower() for value in values):
            yield f"The value at {name} has other capitals than the token: it must be copied exactly."
        elif any(token in value for value in values):
            yield f"The value at {name} has more in it than the token: it must be the token alone."
        else:
            yield f"{name} has a TXT record, but with another value: add the token as a value of its own."

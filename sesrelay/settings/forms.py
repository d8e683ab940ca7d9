"""What a setting may look like: each check gives the value in its one spelling, or raises ValueError for a person."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

_Item = TypeVar("_Item")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_REGION: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def _domain(text: str) -> str:
    """A domain in lower case without a final dot; IDNs in punycode (SMTP-11)."""
    name = text.lower().rstrip(".")
    labels = name.split(".")
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError("a domain name is wanted, such as relay.example.net (IDNs in punycode)")
    return name


def _service_domain(text: str) -> str:
    name = _domain(text)
    if "." not in name:
        raise ValueError("a domain name with at least one dot is wanted, such as relay.example.net")
    if len(name) > 200:
        raise ValueError("must not be longer than 200 characters: bounces.<region>. and more goes in front of it")
    return name


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("an IPv4 or IPv6 address is wanted, such as 127.0.0.1, 0.0.0.0 or ::") from None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("a network is wanted, such as 127.0.0.0/8 or fd00::/8, without host bits") from None


def _region(text: str) -> str:
    if len(text) > 32 or not _REGION.fullmatch(text):
        raise ValueError("a region name is wanted: at most 32 of a-z, 0-9 and single hyphens, such as us-east-1")
    return text


def _nameserver(text: str) -> str:
    host, port = text, "53"
    if match := re.fullmatch(r"\[(.+)\](?::(\d+))?|([^:]+):(\d+)", text):
        host = match[1] or match[3]
        port = match[2] or match[4] or "53"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError("address or address:port is wanted, such as 127.0.0.1:5353 or [::1]:5353") from None
    if not 0 < int(port) <= 65535:
        raise ValueError("the port must be 1 to 65535")
    return text


def _database(text: str) -> str:
    if text == "sqlite":
        return text
    # The URL carries a password: it is never repeated in a message.
    try:
        url = urlsplit(text)
        good = url.scheme in ("postgresql", "postgres") and len(url.path) > 1 and (url.port is None or url.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be sqlite, or postgresql://user:password@host/name")
    return text


def _route_domain(text: str) -> str:
    if text == "*":
        return text
    return "*." + _domain(text[2:]) if text.startswith("*.") else _domain(text)


def _via(text: str) -> str:
    if text in ("mx", "capture"):
        return text
    try:
        url = urlsplit(text)
        good = url.scheme in ("smtp", "smtps") and bool(url.hostname) and url.path in ("", "/") and not url.query
        good = good and (url.port is None or url.port > 0) and (url.username is None) == (url.password is None)
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be mx, capture, smtp://[user:password@]host[:port] or smtps://…")
    return text


def _public_url(text: str) -> str:
    try:
        url = urlsplit(text)
        good = url.scheme in ("https", "http") and bool(url.hostname) and not (url.query or url.fragment)
        good = good and (url.port is None or url.port > 0) and text.isascii() and text.isprintable() and " " not in text
    except ValueError:
        good = False
    if not good:
        raise ValueError("a URL is wanted, such as https://mail.example.net or https://example.net:8443/relay")
    return text.rstrip("/")


def _product_name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > 60 or not name.isascii() or not name.isprintable():
        raise ValueError("1 to 60 printable ASCII characters are wanted")
    return name


def some(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """Not empty; asked after the items are good: a min_length would complain of the bad ones once more. ValueError."""
    if not items:
        raise ValueError("at least one is wanted")
    return items


def unique_regions(regions: tuple[str, ...]) -> tuple[str, ...]:
    """None twice. ValueError."""
    if len(set(regions)) != len(regions):
        raise ValueError("each region may be named once")
    return regions


Port = Annotated[int, Field(ge=0, le=65535)]
IpAddress = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
Domain = Annotated[str, AfterValidator(_domain)]
Region = Annotated[str, AfterValidator(_region)]
FreeFailures = Annotated[int, Field(ge=1, le=100)]
ServiceDomain = Annotated[str, AfterValidator(_service_domain)]
Nameserver = Annotated[str, AfterValidator(_nameserver)]
DatabaseName = Annotated[str, AfterValidator(_database)]
RouteDomain = Annotated[str, AfterValidator(_route_domain)]
Via = Annotated[str, AfterValidator(_via)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
ProductName = Annotated[str, AfterValidator(_product_name)]

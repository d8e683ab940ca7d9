"""Which hosts may take mail for a destination, in the order in which they are tried (RFC 5321 §5.1, RFC 7505).

Only the owner of a domain can refuse its mail for good here (no such name, null MX); that the DNS does not answer
says nothing about anybody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from sesrelay.delivery.transaction import TlsPolicy
from sesrelay.model.reply import Scope
from sesrelay.resolver import DnsTroubleError, Mx, NoSuchNameError

MX_HOSTS: Final = 5
"""Mail exchangers tried in one attempt; RFC 5321 §5.1 wants at least two."""


class Route(Protocol):
    """A rule of the operator that a domain matched (rules.routing)."""

    @property
    def kind(self) -> Literal["mx", "capture", "smart-host"]: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def implicit_tls(self) -> bool: ...
    @property
    def user(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def tls(self) -> TlsPolicy: ...
    @property
    def verp(self) -> bool: ...


class Names(Protocol):
    """What of the DNS is asked here; ``resolver.Resolver`` answers."""

    async def mx(self, domain: str) -> Sequence[Mx]: ...
    async def addresses(self, host: str) -> Sequence[str]: ...
    async def system_addresses(self, host: str) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Host:
    """One address of one host to connect to."""

    name: str
    address: str
    port: int
    implicit_tls: bool = False

    def __str__(self) -> str:
        return f"{self.name} [{self.address}]:{self.port}"


class NoHostError(Exception):
    """There is no host to try. ``permanent``: a final no, the text begins with an SMTP code."""

    def __init__(self, trouble: str, scope: Scope, *, permanent: bool = False) -> None:
        super().__init__(trouble)
        self.trouble = trouble
        self.scope = scope
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class HostFinder:
    """Finds hosts for a route and a domain."""

    names: Names
    mx_port: int
    own_names: frozenset[str]
    """Host names (lower case) that mean ourselves: mail is never sent there."""
    own_addresses: frozenset[str]
    chance: Callable[[], float]
    """A number in [0, 1): exchangers of one preference share the load."""

    async def hosts(self, route: Route, domain: str) -> AsyncIterator[Host]:
        """Every host to try, best first; looked up only as far as they are asked for. Raises NoHostError."""
        if route.kind == "smart-host":
            names: Sequence[str] = (route.host,)
            port = route.port
        elif domain.startswith("["):
            names, port = (_literal(domain),), self.mx_port
        else:
            names, port = await self._exchangers(domain), self.mx_port
        found, worst = False, None
        for name in names:
            try:
                addresses = await self._addresses(name, ours=route.kind == "smart-host")
            except NoHostError as trouble:
                if worst is None or not trouble.permanent:  # one that may come back is reason enough to wait
                    worst = trouble
                continue
            for address in addresses:
                found = True
                yield Host(name, address, port, route.implicit_tls)
        if worst is not None and not found:
            raise worst

    async def _exchangers(self, domain: str) -> Sequence[str]:
        try:
            records = await self.names.mx(domain)
        except NoSuchNameError as no:
            raise NoHostError(f"550 5.4.4 Invalid domain {domain}", Scope.DESTINATION, permanent=True) from no
        except DnsTroubleError as trouble:
            raise NoHostError(f"the DNS does not answer: {trouble}", Scope.DESTINATION) from trouble
        if not records:
            return (domain,)  # RFC 5321 §5.1: the implicit MX
        if all(not record.host for record in records):
            no_mail = f"556 5.1.10 {domain} accepts no mail (null MX)"
            raise NoHostError(no_mail, Scope.DESTINATION, permanent=True)
        ours = [record.preference for record in records if record.host in self.own_names]
        # We are among them: those that are no better than we are would send it back to us.
        usable = [record for record in records if record.host and (not ours or record.preference < min(ours))]
        if not usable:
            raise NoHostError(f"554 5.4.6 mail for {domain} loops back to us", Scope.DESTINATION, permanent=True)
        shuffled = sorted(usable, key=lambda record: (record.preference, self.chance()))
        return [record.host for record in shuffled[:MX_HOSTS]]

    async def _addresses(self, name: str, *, ours: bool) -> Sequence[str]:
        if _is_address(name):
            return (name,)
        try:
            found = await (self.names.system_addresses(name) if ours else self.names.addresses(name))
        except NoSuchNameError as no:
            raise NoHostError(f"the mail host {name} does not exist", Scope.DESTINATION) from no
        except DnsTroubleError as trouble:
            raise NoHostError(f"the DNS does not answer: {trouble}", Scope.DESTINATION) from trouble
        foreign = found if ours else [address for address in found if address not in self.own_addresses]
        if found and not foreign:
            raise NoHostError(f"554 5.4.6 {name} is ourselves", Scope.DESTINATION, permanent=True)
        if not found:
            raise NoHostError(f"550 5.4.4 {name} has no address", Scope.DESTINATION, permanent=not ours)
        return foreign


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _literal(domain: str) -> str:
    """The address in ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]`` (RFC 5321 §4.1.3)."""
    text = domain.strip("[]")
    text = text[5:] if text.lower().startswith("ipv6:") else text
    if not _is_address(text):
        raise NoHostError(f"501 5.1.3 {domain} is no address", Scope.DESTINATION, permanent=True)
    return text

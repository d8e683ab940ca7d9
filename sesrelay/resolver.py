"""The only module that asks the DNS: answers are kept for as long as their owners allow, silence is never an answer.

A name that does not exist and a server that does not answer are different things to everybody who asks (ID-8, DEL-5):
``NoSuchNameError`` is a fact about the name, ``DnsTroubleError`` is none.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from sesrelay.model.clock import Clock

CACHED_ANSWERS: Final = 20_000
LONGEST_SECONDS: Final = 3600.0
"""No answer is kept longer, whatever its TTL."""
NEGATIVE_SECONDS: Final = 60.0
"""That there is nothing is believed so long."""
LOOKUP_SECONDS: Final = 15.0
"""All servers together get so long for one question."""


class NoSuchNameError(LookupError):
    """The DNS says that this name does not exist (NXDOMAIN), or it cannot be one."""


class DnsTroubleError(Exception):
    """No answer, or a server that failed: nothing is known about the name."""


class Mx(NamedTuple):
    """A mail exchanger; ``host`` "" is the null MX of RFC 7505."""

    preference: int
    host: str


class Resolver:
    """Asks the system's name servers, or those given as ``address`` or ``address:port``."""

    def __init__(self, nameservers: Sequence[str], clock: Clock) -> None:
        self._clock = clock
        self._nameservers = tuple(nameservers)
        self._cache: OrderedDict[tuple[str, str], tuple[float, tuple[str, ...] | None]] = OrderedDict()
        self._asker: dns.asyncresolver.Resolver | None = None

    async def mx(self, domain: str) -> tuple[Mx, ...]:
        """The mail exchangers of a domain, best first; none when it exists without. Raises as the module says."""
        found = []
        for text in await self._ask(domain, "MX"):
            preference, _, host = text.partition(" ")
            found.append(Mx(int(preference), host.rstrip(".").lower()))
        return tuple(sorted(found))

    async def addresses(self, host: str) -> tuple[str, ...]:
        """IPv4 addresses, then IPv6 ones. Raises as the module says when neither kind is known."""
        answers = await asyncio.gather(self._ask(host, "A"), self._ask(host, "AAAA"), return_exceptions=True)
        found: list[str] = []
        for answer in answers:
            if isinstance(answer, tuple):
                found.extend(answer)
        if not found:
            # What is not known outweighs what is denied: one silent server is reason enough to ask again.
            for kind in (DnsTroubleError, Exception):
                for answer in answers:
                    if isinstance(answer, kind):
                        raise answer
        return tuple(found)

    async def system_addresses(self, host: str) -> tuple[str, ...]:
        """Of a host that the operator named: by the machine's own means (hosts file) unless servers are configured."""
        if self._nameservers and host != "localhost":
            return await self.addresses(host)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as fault:
            raise DnsTroubleError(f"{host}: {fault}") from fault
        return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def txt(self, name: str) -> tuple[str, ...]:
        """The TXT values of a name, each joined to one text. Raises as the module says."""
        return await self._ask(name, "TXT")

    async def _ask(self, name: str, kind: str) -> tuple[str, ...]:
        key = (name.rstrip(".").lower(), kind)
        now = self._clock.monotonic()
        kept = self._cache.get(key)
        if kept is not None and kept[0] > now:
            self._cache.move_to_end(key)
            values = kept[1]
        else:
            values, seconds = await self._look_up(*key)
            self._cache[key] = (now + min(seconds, LONGEST_SECONDS), values)
            if len(self._cache) > CACHED_ANSWERS:
                self._cache.popitem(last=False)
        if values is None:
            raise NoSuchNameError(f"{name}: there is no such name in the DNS")
        return values

    async def _look_up(self, name: str, kind: str) -> tuple[tuple[str, ...] | None, float]:
        """The values (None: no such name) and for how long they hold."""
        try:
            answer = await self._resolver().resolve(
                dns.name.from_text(name), kind, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN:
            return None, NEGATIVE_SECONDS
        except dns.name.NameTooLong:
            return None, NEGATIVE_SECONDS
        except (dns.name.LabelTooLong, dns.name.EmptyLabel, dns.name.BadEscape, dns.name.IDNAException):
            return None, NEGATIVE_SECONDS
        except (dns.exception.DNSException, OSError) as fault:
            raise DnsTroubleError(f"{name} {kind}: {str(fault).splitlines()[0] if str(fault) else fault!r}") from fault
        if answer.rrset is None:
            return (), NEGATIVE_SECONDS
        return tuple(_text_of(record, kind) for record in answer.rrset), float(answer.rrset.ttl)

    def _resolver(self) -> dns.asyncresolver.Resolver:
        if self._asker is None:
            try:
                self._asker = dns.asyncresolver.Resolver(configure=not self._nameservers)
            except dns.exception.DNSException as fault:
                raise DnsTroubleError(f"this machine has no name servers: {fault}") from fault
            if self._nameservers:
                self._asker.nameservers = [_server(text) for text in self._nameservers]
            self._asker.lifetime = LOOKUP_SECONDS
            self._asker.use_edns(0, 0, 1232)
        return self._asker


def _server(text: str) -> dns.nameserver.Nameserver:
    """``192.0.2.1``, ``192.0.2.1:53``, ``2001:db8::1`` or ``[2001:db8::1]:53``."""
    try:
        return dns.nameserver.Do53Nameserver(str(ipaddress.ip_address(text)), 53)
    except ValueError:
        host, _, port = text.rpartition(":")
        return dns.nameserver.Do53Nameserver(host.strip("[]"), int(port))


def _text_of(record: object, kind: str) -> str:
    if kind == "TXT":
        return b"".join(getattr(record, "strings", ())).decode("utf-8", "backslashreplace")
    return str(record)

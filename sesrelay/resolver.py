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

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
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
OWNER_SECONDS: Final = 5.0
"""So long one of a domain's own servers gets."""
OWNERS_ASKED: Final = 4
PUBLISHED_SECONDS: Final = 60.0
"""All servers of a chain of zones get so long together."""
LONGEST_CHAIN: Final = 8
"""Of CNAMEs from zone to zone."""
DNS_PORT: Final = 53


class NoSuchNameError(LookupError):
    """The DNS says that this name does not exist (NXDOMAIN), or it cannot be one."""


class DnsTroubleError(Exception):
    """No answer, or a server that failed: nothing is known about the name."""


class Mx(NamedTuple):
    """A mail exchanger; ``host`` "" is the null MX of RFC 7505."""

    preference: int
    host: str


class _UnreachableError(DnsTroubleError):
    """None of a name's own servers can be reached, or none is known."""


class Resolver:
    """Asks the system's name servers, or those given as ``address`` or ``address:port``."""

    def __init__(self, nameservers: Sequence[str], clock: Clock, owners_port: int = DNS_PORT) -> None:
        """``owners_port``: where domains' own servers listen."""
        self._clock = clock
        self._owners_port = owners_port
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

    async def published_txt(self, name: str) -> tuple[str, ...]:
        """The TXT values of a name as its own servers have them now, not as somebody remembers; CNAMEs are followed.

        What one of several servers has counts: others may be late. Where none of them can be reached, what the usual
        servers say has to do. Raises as the module says.
        """
        try:
            async with asyncio.timeout(PUBLISHED_SECONDS):
                return await self._from_owners(name)
        except _UnreachableError:
            return await self._ask(name, "TXT")
        except TimeoutError:
            raise DnsTroubleError(f"{name}: no answer within {PUBLISHED_SECONDS:.0f} seconds") from None
        except (dns.name.NameTooLong, dns.name.LabelTooLong, dns.name.EmptyLabel, dns.name.BadEscape):
            raise NoSuchNameError(f"{name} cannot be a name in the DNS") from None

    async def _from_owners(self, name: str) -> tuple[str, ...]:
        wanted = dns.name.from_text(name)
        for _ in range(LONGEST_CHAIN):
            values, alias = await self._owners_say(wanted)
            if values or alias is None:
                return values
            wanted = alias
        raise DnsTroubleError(f"{name}: more than {LONGEST_CHAIN} CNAMEs one behind the other")

    async def _owners_say(self, wanted: dns.name.Name) -> tuple[tuple[str, ...], dns.name.Name | None]:
        """The values that a name's own servers have; without any, the name that it stands for instead."""
        answers = await asyncio.gather(*(self._one_owner_says(wanted, one) for one in await self._owners(wanted)))
        reached = [answer for answer in answers if answer is not None]
        if not reached:
            raise _UnreachableError(f"{wanted}: its name servers cannot be reached")
        known = [(values, alias) for sure, values, alias in reached if sure]
        if not known:
            raise DnsTroubleError(f"{wanted}: its name servers failed to answer")
        values = tuple(dict.fromkeys(value for some, _ in known for value in some))
        return values, next((alias for _, alias in known if alias is not None), None)

    async def _owners(self, wanted: dns.name.Name) -> tuple[str, ...]:
        """Addresses of the servers of the zone that a name lies in."""
        zone = wanted
        while len(zone) > 1:
            try:
                hosts = await self._ask(zone.to_text(), "NS")
            except NoSuchNameError:
                hosts = ()
            if hosts:
                found = await asyncio.gather(*map(self.addresses, sorted(hosts)), return_exceptions=True)
                return tuple(dict.fromkeys(one[0] for one in found if isinstance(one, tuple) and one))[:OWNERS_ASKED]
            zone = zone.parent()
        return ()

    async def _one_owner_says(
        self, wanted: dns.name.Name, address: str
    ) -> tuple[bool, tuple[str, ...], dns.name.Name | None] | None:
        """Whether it knows, the values, the name that it stands for; None: it cannot be reached."""
        question = dns.message.make_query(wanted, "TXT", flags=0, use_edns=0, payload=1232)
        try:
            response, _ = await dns.asyncquery.udp_with_fallback(question, address, OWNER_SECONDS, self._owners_port)
        except (dns.exception.Timeout, OSError):
            return None
        except dns.exception.DNSException:
            return False, (), None
        if not isinstance(response, dns.message.QueryMessage):
            return False, (), None
        chain = response.resolve_chaining()
        values = tuple(_text_of(record, "TXT") for record in chain.answer) if chain.answer is not None else ()
        # That there is nothing only the zone's own server may say: others point elsewhere, or guess.
        sure = bool(values) or (
            response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) and bool(response.flags & dns.flags.AA)
        )
        return sure, values, chain.canonical_name if chain.cnames and not values else None

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
        if answer.rrset is None or (kind == "NS" and answer.canonical_name != answer.qname):
            return (), NEGATIVE_SECONDS  # a name that stands for another one is no zone
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

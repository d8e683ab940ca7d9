"""A name server for tests: answers from a table, counts the questions, and can fail or be silent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer(asyncio.DatagramProtocol):
    """``async with NameServer({("example.org", "MX"): ["10 mx.example.org."]}) as server``.

    A name that stands nowhere in the table does not exist.
    """

    def __init__(
        self, table: Mapping[tuple[str, str], Sequence[str]], ttl: int = 300, at: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self._at = at
        self.authoritative = True
        self.table = dict(table)
        self.ttl = ttl
        self.failing: set[str] = set()
        """Names answered SERVFAIL."""
        self.silent: set[str] = set()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.port = 0
        self.address = ""
        """``127.0.0.1:port``"""
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> NameServer:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=self._at)
        self._transport = transport
        self.port = int(transport.get_extra_info("sockname")[1])
        self.address = f"{self._at[0]}:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._transport is not None:
            self._transport.close()
            await asyncio.sleep(0)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.answer(dns.message.from_wire(data))
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer.to_wire(), addr)

    def answer(self, query: dns.message.Message) -> dns.message.Message | None:
        """What the table says to a question; None: silence."""
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | (dns.flags.AA if self.authoritative else 0)
        if name in self.silent:
            return None
        if name in self.failing:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif (name, kind) in self.table:
            values = self.table[name, kind]
            response.answer.append(dns.rrset.from_text_list(question.name, self.ttl, "IN", kind, list(values)))
        elif (name, "CNAME") in self.table:
            values = self.table[name, "CNAME"]
            response.answer.append(dns.rrset.from_text_list(question.name, self.ttl, "IN", "CNAME", list(values)))
        elif not any(known == name for known, _ in self.table):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

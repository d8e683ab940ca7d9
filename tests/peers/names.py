"""The DNS as mail servers see it that ask it themselves: a name server on port 53 of some address of this machine."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import dns.message
import dns.rrset

from tests.standins.nameserver import NameServer


class Names:
    """``with Names({("a.example", "CNAME"): ["b.example."]}) as names:`` — and /etc/resolv.conf with ``names.conf``."""

    def __init__(self, table: Mapping[tuple[str, str], Sequence[str]]) -> None:
        self._server = NameServer(table)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)
        address = f"127.53.{random.randrange(256)}.{random.randrange(1, 255)}"
        self._socket.bind((address, 53))  # the resolver of libc knows no other port
        self.conf = f"nameserver {address}\noptions timeout:1 attempts:2\n"

    def _serve(self) -> None:
        while True:
            octets, asker = self._socket.recvfrom(4096)
            if octets == b"":
                return
            self._socket.sendto(self._answer(dns.message.from_wire(octets)).to_wire(), asker)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        """With the alias and what stands behind it, as a resolver answers."""
        name = query.question[0].name
        target = self._server.table.get((name.to_text(omit_final_dot=True).lower(), "CNAME"))
        if not target:
            answer = self._server.answer(query)
            assert answer is not None
            return answer
        behind = self._server.answer(dns.message.make_query(target[0], query.question[0].rdtype))
        assert behind is not None
        answer = dns.message.make_response(query)
        answer.flags = behind.flags
        answer.answer = [dns.rrset.from_text(name, 300, "IN", "CNAME", target[0]), *behind.answer]
        return answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

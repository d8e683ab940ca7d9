"""What delivery tests share: claims, a queue in memory, routes, names and a worker put together."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sesrelay.delivery.attempt import Envelopes, unsigned
from sesrelay.delivery.dialing import Dialer, TlsContexts
from sesrelay.delivery.hosts import HostFinder
from sesrelay.delivery.lease import Lease
from sesrelay.delivery.slots import WorkerShareOfSlots
from sesrelay.delivery.transaction import TlsPolicy
from sesrelay.delivery.watchdog import Watchdog
from sesrelay.delivery.worker import DeliveryLimits, DeliveryWorker
from sesrelay.model.clock import Clock, Micros
from sesrelay.model.message import AttemptResult, BodyLocation, Claim, MessageId, Origin
from sesrelay.model.reply import Stage
from sesrelay.resolver import DnsTroubleError, Mx, NoSuchNameError
from tests.clock import START

MESSAGE = b"From: a@example.com\r\nSubject: hello\r\n\r\n.a line with a dot\r\nand more\r\n"
_unique = itertools.count(1)


def claim(
    address: str = "b@example.org",
    *,
    number: int = 0,
    message_id: MessageId | None = None,
    account_id: str = "111122223333",
    accepted_at: Micros = START,
    attempts: int = 1,
    hops: int = 0,
    eight_bit: bool = False,
    origin: Origin = Origin.CLIENT,
    mail_from: str = "a@example.com",
) -> Claim:
    """A claim of a message of its own, unless one is given."""
    made = message_id or MessageId.make(0, START, next(_unique).to_bytes(16, "big"))
    return Claim(
        made, number, address, address.rpartition("@")[2].lower(), account_id, "us-east-1", origin, mail_from,
        mail_from, accepted_at, attempts, False, eight_bit, hops, 40, BodyLocation("", 0, len(MESSAGE), 0),
    )  # fmt: skip


@dataclass(frozen=True)
class TestRoute:
    """A route as rules.routing describes it."""

    __test__ = False
    kind: Literal["mx", "capture", "smart-host"] = "smart-host"
    host: str = "127.0.0.1"
    port: int = 25
    implicit_tls: bool = False
    user: str = ""
    password: str = ""
    tls: TlsPolicy = "opportunistic"
    verp: bool = True


class Names:
    """A DNS of a few entries; what is absent does not exist."""

    def __init__(
        self,
        mx: Mapping[str, Sequence[tuple[int, str]]] | None = None,
        hosts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.records = {name: tuple(Mx(*each) for each in records) for name, records in (mx or {}).items()}
        self.hosts = dict(hosts or {})
        self.away = False
        self.asked: list[str] = []

    async def mx(self, domain: str) -> Sequence[Mx]:
        self.asked.append(domain)
        if self.away:
            raise DnsTroubleError("SERVFAIL")
        if domain not in self.records and domain not in self.hosts:
            raise NoSuchNameError(domain)
        return self.records.get(domain, ())

    async def addresses(self, host: str) -> Sequence[str]:
        if self.away:
            raise DnsTroubleError("SERVFAIL")
        if host not in self.hosts:
            raise NoSuchNameError(host)
        return self.hosts[host]

    system_addresses = addresses


@dataclass
class Queue:
    """Claims that wait, in memory; what the worker does to them is written down."""

    clock: Clock
    waiting: list[tuple[Micros, Claim]] = field(default_factory=list)
    results: list[AttemptResult] = field(default_factory=list)
    returned: list[tuple[Claim, Micros]] = field(default_factory=list)
    postponed: list[tuple[tuple[str, str], Micros]] = field(default_factory=list)
    content: bytes = MESSAGE
    claims: int = 0
    faults: list[Exception] = field(default_factory=list)
    """Raised by the next calls of settle, one each."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def claim_due(self, limit: int) -> list[Claim]:
        self.claims += 1
        now = self.clock.now()
        due = [each for each in self.waiting if each[0] <= now][:limit]
        self.waiting = [each for each in self.waiting if each not in due]
        return [claim for _, claim in due]

    async def give_back(self, claims: Sequence[Claim], due_at: Micros) -> None:
        self.returned.extend((claim, due_at) for claim in claims)
        self.waiting.extend((due_at, claim) for claim in claims)
        self.changed.set()

    async def postpone_lanes(self, lanes: Collection[tuple[str, str]], due_at: Micros) -> None:
        self.postponed.extend((lane, due_at) for lane in sorted(lanes))

    async def next_due(self) -> Micros | None:
        return min((due for due, _ in self.waiting), default=None)

    async def body(self, message_id: MessageId, location: BodyLocation) -> bytes:
        return self.content

    async def settle(self, results: Sequence[AttemptResult]) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.results.extend(results)
        self.changed.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Returns when the condition holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def settled(self, number: int = 1) -> list[AttemptResult]:
        """Waits for so many results."""
        await self.until(lambda: len(self.results) >= number)
        return self.results


def delivered(result: AttemptResult) -> bool:
    """The next hop took it."""
    return result.stage is Stage.END_OF_DATA and result.reply is not None and result.reply.positive


def put_together(
    clock: Clock,
    queue: Queue,
    route: TestRoute | Callable[[str], TestRoute],
    *,
    names: Names | None = None,
    slots: int = 50,
    port: int = 25,
    limits: DeliveryLimits | None = None,
    sign: Callable[[Claim, bytes], bytes] = unsigned,
    contexts: TlsContexts | None = None,
    idle_seconds: float = 30,
    own_names: frozenset[str] = frozenset({"relay.example.net"}),
) -> DeliveryWorker:
    """A worker with everything around it."""
    finder = HostFinder(names or Names(), port, own_names, frozenset(), lambda: 0.5)
    dialer = Dialer(finder, clock, Watchdog(clock), contexts or TlsContexts(), "relay.example.net", idle_seconds)
    return DeliveryWorker(
        queue=queue,
        settle=queue.settle,
        routes=route if callable(route) else lambda _: route,
        dialer=dialer,
        slots=WorkerShareOfSlots(slots, 1),
        envelopes=Envelopes(lambda each: f"verp-{each.number}@bounces.example.net", sign),
        lease=Lease(clock),
        clock=clock,
        chance=lambda: 0.5,
        limits=limits or DeliveryLimits(),
    )


def smart_host(port: int, **changes: object) -> TestRoute:
    """A route to a receiver on this machine."""
    return replace(TestRoute(port=port), **changes)  # type: ignore[arg-type]

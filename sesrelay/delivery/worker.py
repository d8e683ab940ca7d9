"""The delivery of one worker: mail comes in by hand-over right after acceptance and out of the lanes.

Every claim that comes in here leaves as a result or is given back; admission is counted for each (destination,
account), so that whoever has a million waiting delays nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from sesrelay.delivery.attempt import Envelopes, captured, fault_of_ours, looping
from sesrelay.delivery.destinations import Destination, Job, Load
from sesrelay.delivery.dialing import Dialer
from sesrelay.delivery.dispatch import Dispatcher
from sesrelay.delivery.hosts import Route
from sesrelay.delivery.lease import Lease
from sesrelay.delivery.notes import Notes, Settle
from sesrelay.delivery.slots import Slots
from sesrelay.model.clock import HOUR, SECOND, Clock, Micros
from sesrelay.model.message import BodyLocation, Claim, MessageId

WAITING_PER_ACCOUNT: Final = 500
"""Jobs in memory for one (destination, account); more wait in their lane."""
WAITING_IN_ALL: Final = 20_000
"""Beyond it only who has nothing waiting yet is let in, so that nobody is shut out by others."""
CONTENT_OCTETS: Final = 67_108_864
"""Content kept in memory; beyond it the content is read again when its turn comes."""
CLAIMS_AT_ONCE: Final = 200
POLL_SECONDS: Final = 1.0
SOONEST_POLL_SECONDS: Final = 0.02
EMPTY_POLL_SECONDS: Final = 0.1
"""Something is due, but others were just taking it."""
FORGET_SECONDS: Final = 60.0

log = structlog.get_logger()


class QueueDoor(Protocol):
    """What delivery needs of the store."""

    async def claim_due(self, limit: int) -> list[Claim]: ...
    async def give_back(self, claims: Sequence[Claim], due_at: Micros) -> None: ...
    async def postpone_lanes(self, lanes: Collection[tuple[str, str]], due_at: Micros) -> None: ...
    async def next_due(self) -> Micros | None: ...
    async def body(self, message_id: MessageId, location: BodyLocation) -> bytes: ...


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """Numbers of the operator."""

    connection_messages: int = 1000
    hops: int = 50
    max_age: Micros = 14 * HOUR
    captured_domains: frozenset[str] = frozenset({"simulator.amazonses.com"})
    """Never leaves the relay (SIM-1)."""


class DeliveryWorker:
    """Hand-over, lanes and drain; implements ``core.relay.HandOver``."""

    def __init__(
        self,
        *,
        queue: QueueDoor,
        settle: Settle,
        routes: Callable[[str], Route],
        dialer: Dialer,
        slots: Slots,
        envelopes: Envelopes,
        lease: Lease,
        clock: Clock,
        chance: Callable[[], float],
        limits: DeliveryLimits,
    ) -> None:
        self._queue = queue
        self._routes = routes
        self._clock = clock
        self._limits = limits
        self._lease = lease
        self._watchdog = dialer.watchdog
        self._notes = Notes(settle, queue.give_back, queue.postpone_lanes, clock)
        self._dispatcher = Dispatcher(
            dialer=dialer,
            slots=slots,
            notes=self._notes,
            envelopes=envelopes,
            read_body=queue.body,
            clock=clock,
            may_finish=lease.held,
            chance=chance,
            connection_messages=limits.connection_messages,
            max_age=limits.max_age,
        )
        self._load = Load()
        self._destinations: dict[tuple[object, ...], Destination] = {}
        self._by_domain: dict[str, Destination] = {}
        self._poller: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._draining = False
        self._napping = False
        self._forgotten_at = clock.monotonic()

    def start(self) -> None:
        """Begins to take due mail from the lanes; needs a running loop."""
        loop = asyncio.get_running_loop()
        self._writer = loop.create_task(self._notes.run())
        self._watcher = loop.create_task(self._watchdog.run())
        self._poller = loop.create_task(self._poll())

    async def drain(self) -> None:
        """Begins nothing new, finishes what is under way, gives the rest back; returns when all of it is written."""
        self._draining = self._dispatcher.draining = True
        for destination in list(self._destinations.values()):
            self._dispatcher.postpone_all(destination, 0.0)
        if self._poller is not None:
            if self._napping:
                self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        await self._dispatcher.close()
        while self._dispatcher.busy or self._notes.pending:
            await self._clock.sleep(SOONEST_POLL_SECONDS)
        await self._dispatcher.close()
        while self._dispatcher.connections:
            await self._clock.sleep(SOONEST_POLL_SECONDS)
        await _stop(self._watcher)
        await _stop(self._writer)

    # HandOver

    def captures(self, domain: str) -> bool:
        """Whether mail for a domain is kept here as soon as it is accepted."""
        return self._destination(domain) is None

    def admits(self, account_id: str, domain: str, octets: int) -> bool:  # noqa: ARG002 - content may stay out
        """May this recipient be claimed for us? The bound is soft by the number of acceptances under way."""
        if self._draining or not self._lease.held():
            return False
        destination = self._destination(domain)
        return destination is None or self._has_room(destination, account_id)

    def take(self, claims: tuple[Claim, ...], content: bytes | None) -> None:
        """After the commit: these are ours to deliver now. Never raises."""
        if content is not None and self._load.octets + len(content) > CONTENT_OCTETS:
            content = None
        self._take(claims, content, new=True)

    def withdraw(self, account_id: str, domain: str, octets: int) -> None:
        """Nothing was reserved by ``admits``."""

    # Taking in

    def _take(self, claims: Iterable[Claim], content: bytes | None, *, new: bool) -> int:
        """Sorts claims by where they go; returns how many jobs were taken."""
        taken = 0
        together: dict[tuple[MessageId, int], list[Claim]] = {}
        now = self._clock.now()
        for claim in claims:
            try:
                destination = self._destination(claim.domain)
                if destination is None:
                    self._notes.add([captured(claim, now)])
                elif claim.hops > self._limits.hops:
                    self._notes.add([looping(claim, now)])
                elif destination.route.verp:
                    taken += self._queue_up(destination, Job((claim,), content, new), now)
                else:
                    together.setdefault((claim.message_id, id(destination)), []).append(claim)
            except Exception:
                log.exception("delivery-fault", message_id=str(claim.message_id))
                self._notes.add([fault_of_ours(claim, now)])
        for group in together.values():
            destination = self._destination(group[0].domain)
            if destination is not None:
                taken += self._queue_up(destination, Job(tuple(group), content, new), now)
        return taken

    def _queue_up(self, destination: Destination, job: Job, now: Micros) -> int:
        pause = destination.paused_until - self._clock.monotonic()
        if pause > 0 or self._draining:
            due_at = now + max(0, round(pause * SECOND))
            self._dispatcher.postpone(job, destination.last_failure, due_at, now)
            return 0
        if not job.new and not self._has_room(destination, job.claims[0].account_id):
            self._dispatcher.postpone(job, None, now + self._time_to_drain(destination), now)
            return 0
        self._dispatcher.enqueue(destination, job)
        return 1

    def _has_room(self, destination: Destination, account_id: str) -> bool:
        if destination.paused_until > self._clock.monotonic():
            return False
        waiting = destination.waiting_of(account_id)
        return waiting < WAITING_PER_ACCOUNT and (self._load.jobs < WAITING_IN_ALL or not waiting)

    def _time_to_drain(self, destination: Destination) -> Micros:
        """How long half of those who wait for it will probably take, by its pace so far."""
        span = max(0.001, self._clock.monotonic() - destination.counted_at)
        pace = max(1.0, destination.finished / span)
        return round(min(max(destination.waiting / pace / 2, SOONEST_POLL_SECONDS), 60.0) * SECOND)

    def _destination(self, domain: str) -> Destination | None:
        """Where mail for a domain goes now; None: it is captured."""
        known = self._by_domain.get(domain)
        if known is not None:
            return known
        route = self._routes(domain)
        if route.kind == "capture" or domain in self._limits.captured_domains:
            return None
        smart = route.kind == "smart-host"
        site = f"{route.host}:{route.port}" if smart else f"mx/{domain}"
        # Rules that differ in how they speak to one host share its slots, nothing else.
        key = (site, route.user, route.tls, route.implicit_tls, route.verp)
        found = self._destinations.get(key)
        if found is None:
            found = Destination(site, route, domain, self._load, counted_at=self._clock.monotonic())
            self._destinations[key] = found
        self._by_domain[domain] = found
        return found

    # Lanes

    async def _poll(self) -> None:
        while not self._draining:
            taken = 0
            wait = POLL_SECONDS
            try:
                if self._lease.held():
                    claims = await self._queue.claim_due(CLAIMS_AT_ONCE)
                    taken = self._take(claims, None, new=False)
                    wait = 0 if taken else await self._until_due(SOONEST_POLL_SECONDS if claims else EMPTY_POLL_SECONDS)
            except Exception:
                log.exception("lane-poll-failed")
            if not self._draining:
                await self._nap(wait)
            self._forget_unused()

    async def _nap(self, seconds: float) -> None:
        """The only place where polling may be interrupted: a claim on its way to us would be forgotten."""
        self._napping = True
        try:
            await self._clock.sleep(seconds)
        finally:
            self._napping = False

    async def _until_due(self, soonest: float) -> float:
        due = await self._queue.next_due()
        if due is None:
            return POLL_SECONDS
        return min(max((due - self._clock.now()) / SECOND, soonest), POLL_SECONDS)

    def _forget_unused(self) -> None:
        """Destinations are as many as the domains of the world; only the live ones are kept."""
        now = self._clock.monotonic()
        if now - self._forgotten_at < FORGET_SECONDS:
            return
        self._forgotten_at = now
        for destination in self._destinations.values():
            destination.finished, destination.counted_at = 0, now
        live = {
            key: destination
            for key, destination in self._destinations.items()
            if not destination.unused or (destination.failures and destination.paused_until + FORGET_SECONDS > now)
        }
        kept = set(map(id, live.values()))
        self._destinations = live
        self._by_domain = {domain: each for domain, each in self._by_domain.items() if id(each) in kept}


async def _stop(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

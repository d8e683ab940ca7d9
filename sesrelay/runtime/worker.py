"""One worker: takes mail in, delivers it, and ends without losing what it holds.

Started by the supervisor (``python -m sesrelay.runtime.worker FD``), which says over the channel at FD what to be.
It is ready when its listeners are open. When the supervisor is gone it drains and ends: nobody would replace it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from sesrelay.certificates.authority import Renewal
from sesrelay.certificates.configured import certificate_files
from sesrelay.certificates.pairs import BadPair
from sesrelay.fronts.smtp.door import Door
from sesrelay.fronts.smtp.server import front_door
from sesrelay.model.clock import DAY, Clock
from sesrelay.runtime import descriptors, logs
from sesrelay.runtime.caps import NodeCaps
from sesrelay.runtime.certificates import CertificateKeeper
from sesrelay.runtime.channel import Channel, Message
from sesrelay.runtime.clock import chance, spread, system_clock
from sesrelay.runtime.housekeeping import House
from sesrelay.runtime.https.port import HttpsPort, application
from sesrelay.runtime.listeners import BACKLOG
from sesrelay.runtime.metrics import WorkerMetrics
from sesrelay.runtime.roles import Roles
from sesrelay.runtime.tally import FAILED_LOGINS, LOGINS, NodeTally
from sesrelay.settings import Http, Retention, Settings, Smtp
from sesrelay.store.errors import DatabaseAway, DatabaseUnusable, StorageFull, StoreError
from sesrelay.store.retention import Keep
from sesrelay.wiring import Parts, Place, build

DRAINED: Final = 0
LEASE_LOST: Final = 1
CANNOT_START: Final = 2

HEART_SECONDS: Final = 5.0
COUNT_SECONDS: Final = 1.0
ORPHAN_DRAIN_SECONDS: Final = 5.0
"""Without a supervisor: somebody wants to start a new one soon."""
SWITCH_INTERVAL_SECONDS: Final = 0.0005
"""The store's thread gets its turn after so long; design notes, section 2, have the measurement."""

LOGIN_HALF_LIFE_SECONDS: Final = 86_400
"""Of what is known of a login that succeeded."""
MOST_FAILED_LOGINS: Final = 200
"""Of one name; more would only be remembered for longer."""

log = structlog.get_logger()


class Worker:
    """From the first message on the channel to the exit status."""

    def __init__(self, end: socket.socket, clock: Clock) -> None:
        self._clock = clock
        self._started: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._drain_seconds: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._channel = Channel(end, self._hear, self._orphaned)
        self._metrics = WorkerMetrics()
        self._tasks: list[asyncio.Task[Any]] = []
        self._doors: dict[str, Door] = {}

    def _hear(self, message: Message, fds: list[int]) -> None:
        match message:
            case {"say": "start"}:
                self._started.set_result(message)
            case {"say": "drain", "seconds": seconds}:
                self.ask_to_drain(seconds)
            case {"say": "release", "incarnations": incarnations}:
                self._run(self._release(incarnations))
            case {"say": "client", "door": name}:
                if fds:
                    self._take_client(name, socket.socket(fileno=fds[0]))
                else:
                    log.warning("no file descriptor for a connection: it was closed", door=name)

    def _orphaned(self) -> None:
        if not self._started.done():
            self._started.cancel()
        self.ask_to_drain(ORPHAN_DRAIN_SECONDS)

    def ask_to_drain(self, seconds: float) -> None:
        """Finish within so many seconds, and end."""
        if not self._drain_seconds.done():
            self._drain_seconds.set_result(seconds)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def live(self) -> int:
        """The whole life; the exit status."""
        order = await self._started
        settings = _settings(order["settings_fd"])
        logs.configure(self._clock, process=f"worker-{order['number']}")
        try:
            parts = await self._start(order, settings)
        except (StoreError, BadPair, OSError) as fault:
            passing = isinstance(fault, DatabaseAway | StorageFull) and not isinstance(fault, DatabaseUnusable)
            self._channel.say("fault", text=_one_line(fault), passing=passing)
            return CANNOT_START
        except Exception as fault:
            log.exception("worker could not start")
            text = f"a worker could not start: {type(fault).__name__}: {_one_line(fault)}"
            self._channel.say("fault", text=text, passing=True)
            return CANNOT_START
        self._channel.say("ready")
        keeper = asyncio.create_task(parts.lease.keep(parts.store.renew))
        await asyncio.wait((keeper, self._drain_seconds), return_when=asyncio.FIRST_COMPLETED)
        if not self._drain_seconds.done():
            return LEASE_LOST  # our claims are others': whatever we still did would be done twice
        await self._drain(parts, self._drain_seconds.result())
        keeper.cancel()
        await parts.store.close()
        return DRAINED

    async def _start(self, order: Message, settings: Settings) -> Parts:
        sessions = _sessions_here(order, settings)
        caps = _caps(order, "smtp", settings.smtp, sessions, settings.smtp.node_connections_per_address)
        parts = build(
            settings,
            Place(order["node"], order["incarnation"], order["workers"]),
            clock=self._clock,
            chance=chance,
            spread=spread,
            caps=caps,
            failed_logins=self._tally(
                order, FAILED_LOGINS, settings.smtp.failed_login_half_life_seconds, MOST_FAILED_LOGINS
            ),
            logins=self._tally(order, LOGINS, LOGIN_HALF_LIFE_SECONDS, 1),
            counts=self._metrics,
        )
        parts.store.watch_batches(self._metrics.committed)
        await parts.store.start()
        await parts.store.renew()
        self._parts = parts
        if order["live"]:
            await parts.store.release_node_leftovers(order["live"])
        await self._release(order["replaces"])
        parts.delivery.start()
        self._https = self._https_port(order, settings, parts)
        # A door of systemd's has no sockets here: its connections come over the channel.
        await self._https.start([socket.socket(fileno=fd) for fd in order["sockets"].get("http", ())])
        self._listen(order["sockets"], settings, parts)
        self._run(parts.publisher.run())
        self._run(self._beat(parts))
        self._run(self._count(caps))
        self._run(self._keeper(parts, settings).run(first_of_node=order["number"] == 0))
        keep, growth = _keep(settings.retention), settings.limits.growth
        house = House(parts.store, parts.relay, self._clock, self._metrics, keep, domains=parts.domains, growth=growth)
        self._run(Roles(house, order["incarnation"], first_of_node=order["number"] == 0).run())
        return parts

    def _tally(self, order: Message, table: int, half_life_seconds: float, most: float) -> NodeTally:
        memory = (order["tally_fd"], table, bytes.fromhex(order["tally_key"]))
        return NodeTally(*memory, self._clock, half_life_seconds=half_life_seconds, most=most)

    def _https_port(self, order: Message, settings: Settings, parts: Parts) -> HttpsPort:
        room = _room(order)
        extra = descriptors.for_https_crowd(room)
        here = descriptors.for_https(room) - extra
        return HttpsPort(
            application(parts.pages),
            parts.front.tls.default,
            settings.http,
            caps=_caps(order, "http", settings.http, here, max(1, here * order["workers"] // 2)),
            extra=extra,
            clock=self._clock,
            counters=self._metrics,
            mail=parts.front.handshakes,
        )

    def _listen(self, sockets: dict[str, list[int]], settings: Settings, parts: Parts) -> None:
        for number, listener in enumerate(settings.listeners):
            name = f"smtp-{number}"
            self._doors[name] = front_door(settings.smtp, listener, parts.front)
            for fd in sockets.get(name, ()):
                self._doors[name].listen(socket.socket(fileno=fd), BACKLOG)

    def _take_client(self, door: str, connection: socket.socket) -> None:
        """A connection that the supervisor accepted on a socket of systemd's; served although we may be leaving."""
        (self._https if door == "http" else self._doors[door]).take(connection)

    async def _release(self, incarnations: list[str]) -> None:
        """Frees what dead workers of this node had in hand, and says so; again until it worked."""
        while incarnations:
            try:
                freed = await self._parts.store.release(incarnations)
            except StoreError as fault:
                log.warning("claims of a dead worker not freed yet", incarnations=incarnations, reason=_one_line(fault))
                await self._clock.sleep(COUNT_SECONDS)
            else:
                if freed:
                    log.info("claims of a dead worker freed", incarnations=incarnations, recipients=freed)
                self._channel.say("released", incarnations=incarnations)
                return

    async def _beat(self, parts: Parts) -> None:
        """Tells the supervisor that the loop turns, and whether the store can be reached."""
        while True:
            self._channel.say("heart", store=parts.lease.held())
            await self._clock.sleep(HEART_SECONDS)

    async def _count(self, caps: NodeCaps) -> None:
        while True:
            self._metrics.flush(caps.connections_here(), self._https.connections)
            await self._clock.sleep(COUNT_SECONDS)

    def _keeper(self, parts: Parts, settings: Settings) -> CertificateKeeper:
        files = tuple(files for _, files in certificate_files(settings))
        renewal = Renewal(files, settings.service_domain, settings.regions)
        return CertificateKeeper(parts.front.tls, renewal, self._clock, self._metrics)

    async def _drain(self, parts: Parts, seconds: float) -> None:
        """No new connections; messages under way get their answer, deliveries their note; the rest is given back."""
        end = self._clock.monotonic() + seconds
        for door in self._doors.values():
            door.close()
        await asyncio.gather(self._https.stop(), *(door.drain(seconds / 2) for door in self._doors.values()))
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(max(1.0, end - self._clock.monotonic())):
                await parts.delivery.drain()
        except TimeoutError:
            log.warning("deliveries were still under way; their claims are freed by others")
        self._metrics.flush(0, 0)  # what was counted since the last second


def _settings(fd: int) -> Settings:
    """Read without moving in the file: all workers share the place where the next read would begin."""
    text = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    return Settings.model_validate(json.loads(text))


def _caps(order: Message, front: str, bounds: Smtp | Http, connections_here: int, most_per_address: int) -> NodeCaps:
    return NodeCaps(
        *(order["caps_fds"][front], order["workers"], order["number"], bytes.fromhex(order["caps_key"])),
        connections=bounds.node_connections,
        connections_per_address=min(bounds.node_connections_per_address, most_per_address),
        connections_here=connections_here,
    )


def _keep(retention: Retention) -> Keep:
    days = (retention.bodies_days, retention.captured_days, retention.history_days)
    return Keep(*(round(number * DAY) for number in days))


def _room(order: Message) -> int:
    """The file descriptors of this worker that no listening socket has."""
    return descriptors.beside(sum(map(len, order["sockets"].values())))


def _sessions_here(order: Message, settings: Settings) -> int:
    """How many this worker has descriptors for; says so when that is less than its share."""
    most = descriptors.for_sessions(_room(order))
    if most < settings.smtp.node_connections / order["workers"]:
        limit = descriptors.limit()
        log.warning("few file descriptors: this bounds sessions", descriptors=limit, sessions_here=most)
    return most


def _one_line(fault: BaseException) -> str:
    if isinstance(fault, OSError) and fault.filename and fault.strerror:
        return f"{fault.filename}: {fault.strerror}"
    return " ".join(str(fault).split()) or type(fault).__name__


async def _live(fd: int) -> int:
    worker = Worker(socket.socket(fileno=fd), system_clock())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.ask_to_drain, ORPHAN_DRAIN_SECONDS)
    return await worker.live()


def main() -> int:
    """Runs on uvloop where there is one."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor answers it
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    gc.freeze()  # what is loaded by now stays: no collection need look at it
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_live(int(sys.argv[1])))
    return uvloop.run(_live(int(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())

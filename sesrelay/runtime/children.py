"""A set of workers as the supervisor sees it: started together, kept alive, drained together.

A worker that dies is started again on the same sockets, at once the first time, later with growing waits; its
claims are freed by a living worker, or by its replacement. What a worker says of itself comes over its channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path
from typing import Final

from sesrelay.model.clock import Clock
from sesrelay.runtime import descriptors
from sesrelay.runtime.caps import NodeCaps
from sesrelay.runtime.channel import Channel, Message, pair
from sesrelay.runtime.listeners import OpenDoor
from sesrelay.runtime.logs import PlainLog
from sesrelay.runtime.plan import Plan

START_SECONDS: Final = 60
"""A worker that is not ready by then is given up."""
SILENCE_SECONDS: Final = 60
"""A worker whose loop has not turned for so long is killed: it renews nothing and answers nobody. Nor does one that is
not ready by then.
"""
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_LONG_LIFE_SECONDS: Final = 60
_LONGEST_WAIT_SECONDS: Final = 30
_GRACE_SECONDS: Final = 2
"""Beyond the time of a drain, for the exit itself."""


class WorkerFault(Exception):  # noqa: N818 - its text is for people
    """Why the workers could not start, in one line; ``passing``: it may work later without anybody's doing."""

    def __init__(self, text: str, *, passing: bool) -> None:
        super().__init__(text)
        self.passing = passing


def check_limit(listeners: int) -> None:
    """Raises WorkerFault when workers with so many listeners would have too few file descriptors to serve anybody."""
    limit, least = descriptors.limit(), descriptors.for_worker(listeners)
    if limit < least:
        text = f"a process may have {limit} files open here, and a worker needs {least}: raise the limit"
        raise WorkerFault(f"{text} (LimitNOFILE= of the unit, or ulimit -n)", passing=False)


def wait_before_restart(short_lives: int) -> float:
    """Seconds to wait after so many lives in a row that ended soon: none, then doubling up to half a minute."""
    return 0.0 if short_lives <= 1 else min(0.25 * 2.0 ** (short_lives - 2), _LONGEST_WAIT_SECONDS)


@dataclass(slots=True, eq=False)
class Child:
    """One worker process. ``number`` is its place in the set, from 0; its sockets and caps go by it."""

    number: int
    incarnation: str
    process: subprocess.Popen[bytes]
    started_at: float
    heard_at: float
    channel: Channel
    hung_up: asyncio.Event
    """Its end of the channel is closed: it has ended, or is about to."""
    ready: bool = False
    store_in_reach: bool = True
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every worker of the node shares, over all sets."""

    node: str
    lock_fd: int
    tally_fd: int
    """Memory of failed logins, which outlives every set."""
    tally_key: bytes
    clock: Clock
    log: PlainLog
    chance: Callable[[int], bytes]
    metrics_dir: Path
    gone: Callable[[int], None]
    """Told the process id of every worker that ended (its live metrics end with it)."""


class WorkerSet:
    """All workers on one configuration."""

    def __init__(self, plan: Plan, doors: Mapping[str, OpenDoor], around: Surroundings) -> None:
        self.plan = plan
        self.children: dict[int, Child] = {}
        self._doors = doors
        self._around = around
        self._caps_key = around.chance(16)
        self._caps: dict[str, NodeCaps] = {}
        self._held = self._memory()
        """Closed at the end of the set."""
        self._unreleased: list[str] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._turns = cycle(range(plan.workers))

    def _memory(self) -> contextlib.ExitStack:
        """Makes what lies in memory that all workers see: the counts of connections of each front, whose bounds workers
        know, and the settings, which may be longer than a message of the channel. Raises WorkerFault.
        """
        with contextlib.ExitStack() as held:
            try:
                for front in ("smtp", "http"):
                    fd = NodeCaps.memory(self.plan.workers)
                    held.callback(os.close, fd)
                    caps = self._caps[front] = NodeCaps(
                        *(fd, self.plan.workers, 0, self._caps_key),
                        connections=0,
                        connections_per_address=0,
                        connections_here=0,
                    )
                    held.callback(caps.close)
                self._settings_fd = os.memfd_create("sesrelay-settings", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                held.callback(os.close, self._settings_fd)
                with open(self._settings_fd, "wb", closefd=False) as file:
                    file.write(json.dumps(self.plan.settings).encode())
                # Nobody changes them any more, not even a worker that has been taken over, for those who come after it.
                fcntl.fcntl(self._settings_fd, fcntl.F_ADD_SEALS, _SEALS)
            except OSError as error:
                reason = f"{error.strerror}: file descriptors or memory of this machine have run out"
                raise WorkerFault(f"there is no memory for what workers share: {reason}", passing=True) from None
            return held.pop_all()

    async def start(self, *, first: bool) -> None:
        """Returns when all are ready. Raises WorkerFault with the first one's reason; then none is left.

        ``first``: no other set of this node is alive, so claims of any older incarnation of it are free.
        """
        try:
            await self._start(first=first)
        except BaseException:
            await self.end()
            raise

    async def _start(self, *, first: bool) -> None:
        loop = asyncio.get_running_loop()
        started: list[asyncio.Future[None]] = [loop.create_future() for _ in range(self.plan.workers)]
        names = [self._name(number) for number in range(self.plan.workers)]
        try:
            for number, future in enumerate(started):
                live = names if first and number == 0 else []
                child = self._spawn(number, names[number], future, live)
                self._keepers.append(loop.create_task(self._keep(child, future)))
            async with asyncio.timeout(START_SECONDS):
                await asyncio.gather(*started)
        except TimeoutError:
            raise WorkerFault(f"the workers were not ready within {START_SECONDS} seconds", passing=True) from None
        except OSError as error:
            raise WorkerFault(f"a worker could not be started: {error.strerror}", passing=True) from None

    async def _keep(self, child: Child, started: asyncio.Future[None]) -> None:
        """Keeps a worker alive in this place. Gives up only before the first one was ready."""
        short_lives = 0
        while True:
            await child.hung_up.wait()
            await self._bury(child)
            if not started.done():
                _give_up(started, WorkerFault(f"a worker ended while starting ({_how(child)})", passing=True))
            if self._stopping.is_set() or started.cancelled() or started.exception():
                return
            self.release([child.incarnation])
            lived = self._around.clock.monotonic() - child.started_at
            short_lives = 1 if lived >= _LONG_LIFE_SECONDS else short_lives + 1
            wait = wait_before_restart(short_lives)
            self._around.log.error(
                "worker ended; starting another",
                **{
                    "worker": child.number,
                    "pid": child.process.pid,
                    "how": child.fault or _how(child),
                    "wait_seconds": wait,
                },
            )
            await self._around.clock.sleep(wait)
            another = await self._another(child, started)
            if another is None:
                return
            child = another

    async def _another(self, child: Child, started: asyncio.Future[None]) -> Child | None:
        """In the place of this one; None when the set is leaving: it would never hear that it is to leave, too."""
        while not self._stopping.is_set():
            try:
                return self._spawn(child.number, self._name(child.number), started, [])
            except OSError as error:  # no memory, or too many processes
                reason = error.strerror
            self._around.log.error("no worker can be started now", worker=child.number, reason=reason)
            await self._around.clock.sleep(_LONGEST_WAIT_SECONDS)
        return None

    def _name(self, number: int) -> str:
        return f"{self._around.node}-{number}-{self._around.chance(6).hex()}"

    def _spawn(self, number: int, incarnation: str, started: asyncio.Future[None], live: list[str]) -> Child:
        """``live``: every incarnation of this node that is not dead, for the one who frees what the others held."""
        ours, theirs = pair()
        hung_up = asyncio.Event()
        channel = Channel(ours, lambda message, _: self._hear(self.children[number], message, started), hung_up.set)
        sockets = {
            name: [sock.fileno() for sock in door.of(number, self.plan.workers)]
            for name, door in self._doors.items()
            if not door.shared
        }
        with contextlib.ExitStack() as unless_started, theirs:
            unless_started.callback(channel.close)
            process = subprocess.Popen(
                [sys.executable, "-m", "sesrelay.runtime.worker", str(theirs.fileno())],
                pass_fds=[
                    theirs.fileno(),
                    *(caps.fd for caps in self._caps.values()),
                    self._around.lock_fd,
                    self._around.tally_fd,
                    self._settings_fd,
                    *chain(*sockets.values()),
                ],
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self._around.metrics_dir)},
                stdin=subprocess.DEVNULL,
            )
            unless_started.pop_all()
        now = self._around.clock.monotonic()
        child = self.children[number] = Child(number, incarnation, process, now, now, channel, hung_up)
        channel.say(
            "start",
            number=number,
            workers=self.plan.workers,
            node=self._around.node,
            incarnation=incarnation,
            replaces=self._unreleased,
            live=live,
            sockets=sockets,
            caps_fds={front: caps.fd for front, caps in self._caps.items()},
            caps_key=self._caps_key.hex(),
            tally_fd=self._around.tally_fd,
            tally_key=self._around.tally_key.hex(),
            settings_fd=self._settings_fd,
        )
        return child

    def _hear(self, child: Child, message: Message, started: asyncio.Future[None]) -> None:
        child.heard_at = self._around.clock.monotonic()
        match message:
            case {"say": "ready"}:
                child.ready = True
                if not started.done():
                    started.set_result(None)
            case {"say": "fault", "text": text, "passing": passing}:
                child.fault = text
                if not started.done():  # at once: the process may need long for its end
                    _give_up(started, WorkerFault(text, passing=passing))
            case {"say": "heart", "store": in_reach}:
                child.store_in_reach = in_reach
            case {"say": "released", "incarnations": incarnations}:
                self._unreleased = [one for one in self._unreleased if one not in incarnations]

    async def _bury(self, child: Child) -> None:
        """Waits for its end, which is near, and gives back what it held."""
        while child.process.poll() is None:
            await self._around.clock.sleep(0.005)
        child.ready = False
        for caps in self._caps.values():
            caps.give_back(child.number)
        self._forget(child)

    def _forget(self, child: Child) -> None:
        try:
            self._around.gone(child.process.pid)
        except OSError as error:  # not even then is its place to stay empty
            self._around.log.warning("a dead worker's gauges stay", pid=child.process.pid, reason=str(error))

    def release(self, incarnations: list[str]) -> None:
        """Has the claims of dead incarnations freed at once by a living worker, else by the next that starts."""
        self._unreleased += incarnations
        for child in self.children.values():
            if child.ready and child.channel.say("release", incarnations=incarnations):
                return

    def give(self, door: str, connection: socket.socket) -> bool:
        """Hands an accepted connection to the next worker. False: there is none that could take it."""
        for _ in range(self.plan.workers):
            child = self.children[next(self._turns)]
            if child.ready and child.channel.say("client", fds=[connection.fileno()], sent=connection.close, door=door):
                return True
        return False

    def kill_the_silent(self) -> None:
        """Ends workers whose loop stands still; they are replaced like any dead one."""
        now = self._around.clock.monotonic()
        for child in self.children.values():
            if child.process.returncode is None and now - child.heard_at > SILENCE_SECONDS:
                self._around.log.error("worker is silent; killing it", worker=child.number, pid=child.process.pid)
                child.process.kill()

    @property
    def ready(self) -> bool:
        """All workers take mail, and reach their store."""
        return bool(self.children) and all(c.ready and c.store_in_reach for c in self.children.values())

    async def drain(self, seconds: float) -> list[str]:
        """Lets all finish what is under way, within so many seconds; returns the incarnations that ended."""
        self._stopping.set()
        for child in self.children.values():
            child.channel.say("drain", seconds=seconds)
        await self._all_gone(seconds + _GRACE_SECONDS)
        return await self.end()

    async def end(self) -> list[str]:
        """Ends whoever is left, at once; returns all incarnations of the set."""
        self._stopping.set()
        for child in self.children.values():
            if child.process.poll() is None:
                child.process.kill()
        await self._all_gone(_GRACE_SECONDS)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for child in self.children.values():
            child.channel.close()
            self._forget(child)  # its keeper may not have come to it
        self._held.close()
        return [child.incarnation for child in self.children.values()]

    async def _all_gone(self, seconds: float) -> None:
        end = self._around.clock.monotonic() + seconds
        while self._around.clock.monotonic() < end and any(c.process.poll() is None for c in self.children.values()):
            await self._around.clock.sleep(0.01)


def _give_up(started: asyncio.Future[None], fault: WorkerFault) -> None:
    started.set_exception(fault)
    started.exception()  # looked at by the first only: one reason is enough


def _how(child: Child) -> str:
    """How its process ended, for people."""
    status = child.process.returncode
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

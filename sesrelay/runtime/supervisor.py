"""The life of a node: start the workers, keep them, exchange them at a reload, let them finish at a stop.

The supervisor never opens the database and loads little: what may break breaks in a worker. It holds what must
outlive a worker: the lock of the data folder, the listening sockets, the node's caps, the metrics of the dead.
``ready`` stands on stderr, a line of its own, when every listener is open and every worker takes mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from sesrelay.connections.complaints import Complaints
from sesrelay.runtime import descriptors, node
from sesrelay.runtime.children import Surroundings, WorkerFault, WorkerSet, check_limit
from sesrelay.runtime.clock import SystemClock, chance, system_clock
from sesrelay.runtime.listeners import DoorFault, Doors, OpenDoor, Passer
from sesrelay.runtime.logs import PlainLog
from sesrelay.runtime.plan import Plan, PlanFault, read
from sesrelay.runtime.status import Answer, StatusPort, text
from sesrelay.runtime.systemd import Notifier, passed_sockets
from sesrelay.runtime.tally import NodeTally

T = TypeVar("T")

DONE: Final = 0
TRY_AGAIN: Final = 1
"""What stood in the way may pass by itself: the database is away, the disk is full."""
CANNOT_START: Final = 2

_LOOK_SECONDS: Final = 1.0
_LEFTOVERS_SECONDS: Final = 30.0


def serve(config: Path) -> NoReturn:
    """Becomes the supervisor: the same process, without what the command line has loaded."""
    os.execv(sys.executable, [sys.executable, "-m", "sesrelay.runtime.supervisor", str(config)])  # noqa: S606


class Supervisor:
    """One run of ``sesrelay serve``."""

    def __init__(self, config: Path, notifier: Notifier, doors: Doors) -> None:
        self._config = config
        self._notifier = notifier
        self._doors = doors
        self._clock = SystemClock()  # workers' health is real time, whatever hour tests say it is
        self._log = PlainLog(system_clock(), process="supervisor")
        self._complaints = Complaints(self._log.info, self._clock.monotonic)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reload = False
        self._woken = asyncio.Event()
        self._workers: WorkerSet | None = None
        self._opened: list[OpenDoor] = []
        self._previous: WorkerSet | None = None
        self._old: asyncio.Task[None] | None = None
        """The previous set finishes."""
        self._passers: list[Passer] = []
        self._names: dict[socket.socket, str] = {}
        """The doors whose connections we accept, by their sockets."""
        self._status: StatusPort | None = None
        self._collect: Callable[[], bytes] = bytes
        self._around: Surroundings | None = None
        self._metrics_dir: Path | None = None

    async def run(self) -> int:
        """Until a signal says stop; returns the exit status. A fault before ``ready`` is one line on stderr."""
        try:
            self._listen_to_signals()
            plan = await self._unless_stopped(read(self._config, self._clock))
            lock_fd = await self._unless_stopped(self._lock(plan.data_dir))
            self._around = self._surroundings(plan.data_dir, lock_fd)
            await self._take_up(plan, first=True)
        except (PlanFault, node.NodeFault, DoorFault, WorkerFault, OSError) as fault:
            if not self._stop.is_set():
                for line in _words(fault).splitlines():
                    print(f"sesrelay: {line}", file=sys.stderr, flush=True)  # noqa: T201
            self._doors.close()
            self._forget_metrics()
            if self._stop.is_set():
                return DONE
            return TRY_AGAIN if _may_pass(fault) else CANNOT_START
        print("ready", file=sys.stderr, flush=True)  # noqa: T201
        places = {door.door.name: f"{door.door.address}:{door.port}" for door in self._opened}
        self._log.info("started", workers=plan.workers, listeners=places)
        for place in self._doors.unused():
            self._log.warning("systemd opened a socket that no listener of the configuration wants", place=place)
        await self._stay()
        return DONE

    async def _stay(self) -> None:
        """As long as it is to run. Workers are let finish whatever ends that."""
        try:
            await self._watch()
        finally:
            await self._leave()

    async def _lock(self, data_dir: Path) -> int:
        """The folder's lock; waits a little for workers of a supervisor that was killed."""
        end = self._clock.monotonic() + _LEFTOVERS_SECONDS
        while True:
            try:
                return node.lock(data_dir)
            except node.NodeBusy as busy:
                if busy.pid or self._clock.monotonic() > end:
                    raise
            await self._clock.sleep(0.1)

    def _surroundings(self, data_dir: Path, lock_fd: int) -> Surroundings:
        try:
            folder = self._metrics_dir = node.metrics_folder(data_dir, os.environ.get("RUNTIME_DIRECTORY", ""))
        except OSError as error:
            raise node.NodeFault(f"the data folder {data_dir} cannot be used: {error.strerror}") from None
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        from sesrelay.runtime.collected import collect, forget  # reads that variable when it is loaded

        self._collect = collect
        return Surroundings(
            node=node.name(data_dir, chance),
            lock_fd=lock_fd,
            tally_fd=NodeTally.memory(),
            tally_key=chance(16),
            clock=self._clock,
            log=self._log,
            chance=chance,
            metrics_dir=folder,
            gone=forget,
        )

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)

    def _asked_to_stop(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()
        self._woken.set()

    def _asked_to_reload(self) -> None:
        self._reload = True
        self._woken.set()

    async def _take_up(self, plan: Plan, *, first: bool) -> None:
        """Starts a set on this plan and makes it the one that counts. Raises a fault and then changes nothing."""
        assert self._around
        check_limit(len(plan.doors))
        opened = self._doors.open(plan.doors, plan.workers) | self._doors.open([plan.metrics], 1)
        fresh = WorkerSet(plan, {name: door for name, door in opened.items() if name != "metrics"}, self._around)
        await self._unless_stopped(fresh.start(first=first))
        try:  # what may fail comes before the set counts
            places = {name: [door.door.address, door.port] for name, door in opened.items()}
            status = self._status_on(opened["metrics"])
            try:
                node.tell_ports(plan.data_dir, places)
            except OSError:
                if status is not self._status:
                    status.close()
                raise
        except OSError:
            await fresh.end()
            raise
        if self._status and status is not self._status:
            self._status.close()
        self._status = status
        self._previous, self._workers = self._workers, fresh
        self._opened = list(opened.values())
        self._doors.settle(self._opened)  # before the old set leaves off: nobody is to wait where nobody comes any more
        self._pass_on(opened)
        self._notifier.ready()
        if self._previous:
            self._old = asyncio.create_task(self._let_finish(self._previous))

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of the work. Raises WorkerFault when a signal to stop comes before; then it is cancelled."""
        working = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            raise WorkerFault("stopped while starting", passing=True)
        return await working

    async def _let_finish(self, old: WorkerSet) -> None:
        ended = await old.drain(old.plan.drain_seconds)
        assert self._workers
        self._workers.release(ended)

    def _status_on(self, door: OpenDoor) -> StatusPort:
        """The one that is there, when it is on this door's socket, or another."""
        if self._status and door.sockets[0].getsockname() == self._status.place:
            return self._status
        pages = {"/metrics": self._metrics_page, "/healthz": lambda: text(200, "ok"), "/readyz": self._ready_page}
        port = StatusPort(pages, self._complaints.about, descriptors.limit())
        port.listen(door.sockets[0].dup())
        return port

    def _metrics_page(self) -> Answer:
        return 200, "text/plain; version=0.0.4; charset=utf-8", self._collect()

    def _ready_page(self) -> Answer:
        if self._stop.is_set():
            return text(503, "stopping")
        return text(200, "ready") if self._workers and self._workers.ready else text(503, "not all workers are ready")

    def _pass_on(self, opened: dict[str, OpenDoor]) -> None:
        """Accepts on systemd's sockets for the workers; the metrics port accepts for itself."""
        self._names = {door.sockets[0]: name for name, door in opened.items() if door.shared and name != "metrics"}
        for passer in self._passers:
            passer.close()  # who is in its hand goes to the workers of now
        self._passers = [Passer(sock, partial(self._give, sock)) for sock in self._names]

    def _give(self, sock: socket.socket, connection: socket.socket) -> bool:
        """Its door may have another name after a reload."""
        name = self._names.get(sock)
        return bool(name and self._workers and self._workers.give(name, connection))

    async def _watch(self) -> None:
        """Silent workers and reloads, until it is time to stop. While one of these goes on, so does the watch."""
        signs = asyncio.create_task(self._give_signs_of_life())
        reloading: asyncio.Task[None] | None = None
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._woken.wait()
            self._woken.clear()
            if self._workers:
                self._workers.kill_the_silent()
            if reloading and reloading.done():
                reloading.result()  # raises what nobody expected
                reloading = None
            if self._reload and not self._stop.is_set() and not reloading and (self._old is None or self._old.done()):
                self._reload = False
                reloading = asyncio.create_task(self._exchange())
                reloading.add_done_callback(lambda _: self._woken.set())  # for who asked meanwhile
        if reloading:
            await reloading
        signs.cancel()

    async def _give_signs_of_life(self) -> None:
        """For systemd's watchdog: this loop turns."""
        while self._notifier.watchdog_seconds:
            self._notifier.alive()
            await self._clock.sleep(self._notifier.watchdog_seconds / 3)

    async def _exchange(self) -> None:
        """A reload: the new configuration's workers take over, or everything stays and the log says why."""
        self._notifier.reloading(self._clock.monotonic())
        try:
            plan = await self._unless_stopped(read(self._config, self._clock))
            if self._workers and plan.data_dir != self._workers.plan.data_dir:
                raise PlanFault(["data_dir cannot change while the relay runs: stop it first"])
            await self._take_up(plan, first=False)
        except (PlanFault, DoorFault, WorkerFault, OSError) as fault:
            self._doors.withdraw()
            if self._stop.is_set():  # it was not refused, and nothing stays
                return
            for line in _words(fault).splitlines():
                self._log.error("reload refused; the old configuration stays", fault=line)
            self._notifier.ready()
        else:
            self._log.info("reloaded", workers=plan.workers)

    async def _leave(self) -> None:
        """Lets the workers finish, within their time, or at once when asked twice; those of before a reload, too."""
        self._notifier.stopping()
        self._log.info("stopping")
        for passer in self._passers:
            passer.close()
        self._doors.close()
        leaving = [asyncio.create_task(self._drain_current()), *([self._old] if self._old else [])]
        hurried = asyncio.create_task(self._hurry.wait())
        everybody = asyncio.gather(*leaving, return_exceptions=True)
        await asyncio.wait((everybody, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        for workers in (self._workers, self._previous):
            if workers:  # who was not asked to hurry is gone already
                await workers.end()
        if self._status:
            self._status.close()
        self._forget_metrics()
        self._log.info("stopped")

    def _forget_metrics(self) -> None:
        if self._metrics_dir:
            shutil.rmtree(self._metrics_dir, ignore_errors=True)

    async def _drain_current(self) -> None:
        if self._workers:
            await self._workers.drain(self._workers.plan.drain_seconds)


def _words(fault: Exception) -> str:
    """What an operator reads of it, a line for each fault."""
    if not isinstance(fault, OSError):
        return str(fault)
    place = f" ({fault.filename})" if fault.filename else ""
    if fault.errno in descriptors.NO_ROOM:
        return f"this machine has no room for it: {fault.strerror}{place}"
    return f"the system refuses: {fault.strerror or fault}{place}"


def _may_pass(fault: Exception) -> bool:
    """Whether it may work later by itself."""
    if isinstance(fault, OSError):
        return fault.errno in descriptors.NO_ROOM
    return isinstance(fault, PlanFault | DoorFault | WorkerFault) and fault.passing


def main() -> int:
    """``python -m sesrelay.runtime.supervisor CONFIG``."""
    descriptors.raise_limit()
    notifier = Notifier(os.environ, os.getpid())
    doors = Doors(passed_sockets(os.environ, os.getpid()))
    return asyncio.run(Supervisor(Path(sys.argv[1]), notifier, doors).run())


if __name__ == "__main__":
    sys.exit(main())

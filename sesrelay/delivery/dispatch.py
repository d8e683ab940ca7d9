"""Jobs meet connections: whoever waits gets the next free session, and a finished one starts the next job at once.

No job is ever lost here: each ends as results or as claims given back, whatever goes wrong. The way of a message over
a kept connection is callbacks only, no task and no future.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import structlog

from sesrelay.delivery.attempt import Envelopes, fault_of_ours, result
from sesrelay.delivery.connection import Connection
from sesrelay.delivery.destinations import Destination, Job
from sesrelay.delivery.dialing import Dialer, DialError
from sesrelay.delivery.notes import Notes
from sesrelay.delivery.slots import Slots
from sesrelay.delivery.transaction import Answer, Outcome
from sesrelay.model.clock import SECOND, Clock, Micros
from sesrelay.model.message import BodyLocation, MessageId
from sesrelay.model.reply import Scope, Stage

ReadBody = Callable[[MessageId, BodyLocation], Awaitable[bytes]]

log = structlog.get_logger()

OWN_TROUBLE_SECONDS: Final = 5.0
"""When we cannot even open a socket, nobody is tried for so long."""
_NOBODY: Final[frozenset[int]] = frozenset()


@dataclass(slots=True, eq=False)
class Running:
    """A job on a connection."""

    job: Job
    destination: Destination
    started_at: Micros


class Dispatcher:
    """Owns the connections of this worker (``connection.Owner``)."""

    def __init__(
        self,
        *,
        dialer: Dialer,
        slots: Slots,
        notes: Notes,
        envelopes: Envelopes,
        read_body: ReadBody,
        clock: Clock,
        may_finish: Callable[[], bool],
        chance: Callable[[], float],
        connection_messages: int,
        max_age: Micros,
    ) -> None:
        self._dialer = dialer
        self._slots = slots
        self._notes = notes
        self._envelopes = envelopes
        self._read_body = read_body
        self._clock = clock
        self._chance = chance
        self._connection_messages = connection_messages
        self._max_age = max_age
        self.may_finish = may_finish
        self.draining = False
        self._destination_of: dict[Connection, Destination] = {}
        self._running: dict[Connection, Running] = {}
        self._starved: dict[Destination, None] = {}
        """Without any connection, because there was none left for them; the longest first."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading = 0

    @property
    def busy(self) -> int:
        """Jobs on a connection, or about to be."""
        return len(self._running) + self._loading

    @property
    def connections(self) -> int:
        """Open sessions."""
        return len(self._destination_of)

    def enqueue(self, destination: Destination, job: Job) -> None:
        """Somebody to be served; at once if there is a free session."""
        destination.push(job)
        self.serve(destination)

    def serve(self, destination: Destination) -> None:
        """Brings together who waits and what is free; opens connections where that helps."""
        if self.draining:
            self.postpone_all(destination, 0.0)
            return
        while destination.idle and destination.waiting:
            self._make_idle(destination.idle.pop(), destination)
        while destination.wants_connection():
            if not self._slots.take(destination.site):
                if not (destination.connections or destination.opening):
                    self._starve(destination)
                return
            destination.opening += 1
            self._spawn(self._open(destination))

    def _starve(self, destination: Destination) -> None:
        """All connections of this worker are elsewhere: one that is idle there makes room, or the next that ends."""
        self._starved[destination] = None
        for connection, other in self._destination_of.items():
            if connection.ready and not other.waiting:
                connection.quit()
                return

    def _free_slot(self, destination: Destination) -> None:
        self._slots.give(destination.site)
        if self._starved:
            longest = next(iter(self._starved))
            del self._starved[longest]
            self.serve(longest)

    def postpone_all(self, destination: Destination, seconds: float) -> None:
        """Everybody who waits goes back to the lanes; who has become too old learns why."""
        now = self._clock.now()
        due_at = now + round(seconds * SECOND)
        while destination.waiting:
            self.postpone(destination.pop(), destination.last_failure, due_at, now)

    def postpone(self, job: Job, failure: Answer | None, due_at: Micros, now: Micros) -> None:
        """Gives a job back unsent. A failure that keeps it waiting for too long is its result in the end."""
        if failure is not None and now - job.claims[0].accepted_at >= self._max_age:
            self._notes.add([result(claim, failure, started_at=now, finished_at=now) for claim in job.claims])
        else:
            self._notes.give_back(job.claims, due_at, postpone_lanes=due_at > now)

    async def close(self) -> None:
        """After ``draining`` was set: what is not carrying a message ends now."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._destination_of):
            if connection.ready:
                connection.quit()

    # Opening

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, destination: Destination) -> None:
        started_at = self._clock.now()
        try:
            connection = await self._dialer.dial(destination.route, destination.domain, self)
        except DialError as failed:
            destination.opening -= 1
            self._free_slot(destination)
            self._not_opened(destination, failed, started_at)
            return
        except BaseException as fault:
            destination.opening -= 1
            self._free_slot(destination)
            if not isinstance(fault, Exception):
                raise
            log.exception("delivery-dial-fault", site=destination.site)
            self._not_opened(destination, DialError(_fault_answer()), started_at)
            return
        destination.opening -= 1
        destination.connections += 1
        destination.proven = True
        self._destination_of[connection] = destination
        destination.idle.append(connection)
        self.serve(destination)

    def _not_opened(self, destination: Destination, failed: DialError, started_at: Micros) -> None:
        """One job pays for having asked; the others wait with their attempt unspent."""
        now = self._clock.now()
        answer = failed.answer
        if answer.scope is Scope.OURSELVES:
            self.postpone_all(destination, OWN_TROUBLE_SECONDS)
            return
        everybody = answer.permanent  # a fact about the domain, true for all of its mail
        while destination.waiting:
            job = destination.pop()
            self._notes.add(
                [
                    result(
                        claim,
                        answer,
                        remote=failed.remote,
                        local_address=failed.local_address,
                        tls=failed.tls,
                        started_at=started_at,
                        finished_at=now,
                    )
                    for claim in job.claims
                ]
            )
            if not everybody:
                break
        if not everybody:
            self._pause(destination, answer)

    def _pause(self, destination: Destination, answer: Answer) -> None:
        seconds = destination.failed(answer, self._clock.monotonic(), self._chance())
        log.info("destination-paused", site=destination.site, seconds=round(seconds, 1), trouble=_words(answer))
        self.postpone_all(destination, seconds)

    # Transactions

    def _start(self, connection: Connection, destination: Destination, job: Job) -> bool:
        """Puts a job on a ready connection; False: the job is dealt with and the connection is still free."""
        if not self.may_finish():
            self._notes.give_back(job.claims, self._clock.now())
            return False
        if job.content is None:
            self._loading += 1
            self._spawn(self._load(connection, destination, job))
            return True
        try:
            transaction = self._envelopes.transaction(job, job.content, verp=destination.route.verp)
        except Exception:
            log.exception("delivery-fault", message_id=str(job.claims[0].message_id))
            self._give_up(job)
            return False
        self._running[connection] = Running(job, destination, self._clock.now())
        connection.begin(transaction)
        return True

    async def _load(self, connection: Connection, destination: Destination, job: Job) -> None:
        """The content is read first; the connection waits for it meanwhile."""
        claim = job.claims[0]
        try:
            job.content = await self._read_body(claim.message_id, claim.body)
        except asyncio.CancelledError:
            self._notes.give_back(job.claims, self._clock.now())
            raise
        except Exception:
            log.exception("delivery-fault", message_id=str(job.claims[0].message_id))
            self._give_up(job)
            self._make_idle(connection, destination)
            return
        finally:
            self._loading -= 1
        if self.draining:
            self._notes.give_back(job.claims, self._clock.now())
            self._make_idle(connection, destination)
        elif connection.ready:
            if not self._start(connection, destination, job):
                self._make_idle(connection, destination)
        else:
            destination.push(job, first=True)
            self.serve(destination)

    def _give_up(self, job: Job, *, in_doubt: bool = False) -> None:
        """Trouble that we do not understand is temporary; ``in_doubt``: the final dot may be out."""
        now = self._clock.now()
        self._notes.add([fault_of_ours(claim, now, in_doubt=in_doubt) for claim in job.claims])

    def transaction_ended(self, connection: Connection, outcome: Outcome) -> None:
        """A transaction has its outcome; the next one begins."""
        running = self._running.pop(connection)
        destination = running.destination
        try:
            self._conclude(connection, running, outcome)
        except Exception:
            log.exception("delivery-fault", message_id=str(running.job.claims[0].message_id))
            ended = (answer.stage is Stage.END_OF_DATA for answer in outcome.answers.values())
            self._give_up(running.job, in_doubt=any(ended))
        self._make_idle(connection, destination)

    def _conclude(self, connection: Connection, running: Running, outcome: Outcome) -> None:
        job, destination = running.job, running.destination
        if outcome.stale:
            destination.push(job, first=True)
            self.serve(destination)
            return
        now = self._clock.now()
        later = _too_many(outcome)
        results, again, unsent, broke = [], [], [], None
        for claim in job.claims:
            answer = outcome.answers[claim.number]
            if claim.number in later:
                again.append(claim)
                continue
            if answer.not_tried:
                unsent.append(claim)
                continue
            if answer.scope is Scope.SESSION:
                broke = answer
            results.append(
                result(
                    claim,
                    answer,
                    remote=connection.remote,
                    local_address=connection.local_address,
                    tls=connection.tls,
                    started_at=running.started_at,
                    finished_at=now,
                )
            )
        destination.finished += 1
        self._notes.add(results)
        self._notes.give_back(unsent, now)
        if again:
            destination.push(Job(tuple(again), job.content, job.new), first=True)
        if broke is None:
            destination.answered()
        elif destination.session_broke(broke):
            self._pause(destination, broke)

    def _make_idle(self, connection: Connection, destination: Destination) -> None:
        """The connection takes the next job, waits for one, or says goodbye."""
        if not connection.ready:
            return
        if connection.conversation.served >= self._connection_messages or self.draining:
            connection.quit()
            return
        while destination.waiting:
            if self._start(connection, destination, destination.pop()):
                return
        destination.idle.append(connection)

    def connection_gone(self, connection: Connection) -> None:
        """Its slot is free."""
        self._dialer.watchdog.forget(connection)
        destination = self._destination_of.pop(connection, None)
        if destination is None:
            return  # it never became ready: who opened it knows
        destination.connections -= 1
        self._free_slot(destination)
        if connection in destination.idle:
            destination.idle.remove(connection)
        running = self._running.pop(connection, None)
        if running is not None:
            log.error("delivery-connection-gone-while-busy", message_id=str(running.job.claims[0].message_id))
            self._give_up(running.job, in_doubt=True)
        self.serve(destination)


def _too_many(outcome: Outcome) -> frozenset[int]:
    """Recipients for whom there was no room in this transaction; RFC 5321 §4.5.3.1.10: another one right away."""
    if len(outcome.answers) == 1:
        return _NOBODY
    full = [
        key
        for key, answer in outcome.answers.items()
        if answer.stage is Stage.RCPT
        and answer.reply is not None
        and answer.reply.code == 452
        and answer.reply.enhanced_status in ("", "4.5.3")
    ]
    return frozenset(full) if len(full) < len(outcome.answers) else _NOBODY


def _fault_answer() -> Answer:
    return Answer(Stage.ROUTE, Scope.OURSELVES, None, "a fault of our own")


def _words(answer: Answer) -> str:
    return f"{answer.stage}: {answer.reply or answer.trouble}"

"""One writer: whatever waits is written in one transaction, and everybody hears of it after the commit.

The thread drains its inbox, so batches form by themselves: the longer a commit takes, the more wait for the next.
Accepts and settles that wait together share a transaction. A batch that fails for its contents is replayed one by one;
one that fails for its surroundings is refused (accepts) or waits (settles: what was delivered must be written down).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog

from sesrelay.killpoints import reached
from sesrelay.model.clock import Clock, Micros
from sesrelay.model.message import Claim, Settlement
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.store.accepting import Accepted, AcceptOrder, Placed
from sesrelay.store.batch import Batch, Ours, Outcome
from sesrelay.store.errors import CommitUnknown, DatabaseAway, StorageFull, StoreError
from sesrelay.store.placing import Placing
from sesrelay.store.session import Session
from sesrelay.store.transactions import Proof, Transactions

Job = Callable[[Session, Micros], Any]

SETTLE_WAIT_SECONDS: Final = 0.02
AWAY_SECONDS: Final = 0.25
"""Between two tries to write settles while the database is away."""
CLOSING_TRIES: Final = 40
ROWS_AT_ONCE: Final = 500
JOBS_AT_ONCE: Final = 16
HEAVY_OCTETS: Final = 512 * 1024
"""A batch with so much body writes it before it asks for its turn; a smaller one grows until its turn has come."""

log = structlog.get_logger()


class _Stop:
    """Put into the inbox last."""


class Engine:
    """The writer's thread and its inbox. ``submit_…`` are called on the loop, everything else runs in the thread."""

    def __init__(
        self, connect: Callable[[], Session], ours: Ours, register: Callable[[Session, Micros], int], clock: Clock
    ) -> None:
        self._transactions = Transactions(connect, clock)
        self._register = register
        self._ours = ours
        self._clock = clock
        self._placing: Placing | None = None
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._accepts: deque[tuple[AcceptOrder, asyncio.Future[Accepted]]] = deque()
        self._settles: deque[tuple[Sequence[Settlement], asyncio.Future[frozenset[Any]]]] = deque()
        self._jobs: deque[tuple[Job, asyncio.Future[Any]]] = deque()
        self._answers: list[tuple[asyncio.Future[Any], Any]] = []
        self._away = False
        self._stopping = False
        self._closing_tries = CLOSING_TRIES
        self._last_accept = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._main, name="store-writer", daemon=True)
        self.batches = 0
        """Transactions of accepts and settles so far."""
        self.orphaned: Callable[[Sequence[Claim], Proof | None], None] = lambda _claims, _proof: None
        """Gets, on the loop, what was claimed for a caller who has gone away; if it was: the proof tells."""
        self.on_death: Callable[[], object] = partial(os._exit, 1)
        """Called in the writer's thread when it ends by a fault of ours: nobody would ever be answered again."""
        self.on_batch: Callable[[int], None] | None = None
        """Called in the writer's thread with the size of each batch."""

    # On the loop

    def start(self, loop: asyncio.AbstractEventLoop, placing: Placing) -> None:
        """Answers go to this loop from now on."""
        self._loop = loop
        self._placing = placing
        self._thread.start()

    def submit_accept(self, order: AcceptOrder) -> asyncio.Future[Accepted]:
        """The future of an order's answer."""
        return self._submit(order)

    def submit_settle(self, settlements: Sequence[Settlement]) -> asyncio.Future[frozenset[Any]]:
        """The future of the places that were written."""
        return self._submit(settlements)

    def submit_job(self, job: Job) -> asyncio.Future[Any]:
        """The future of a function that runs in a transaction of its own, perhaps more than once."""
        return self._submit(job)

    def _submit(self, work: Any) -> asyncio.Future[Any]:
        if self._loop is None or self._stopping:
            raise DatabaseAway("the store is not running")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._inbox.put((work, future))
        return future

    def stop(self) -> None:
        """Everything that waits is written first; then the thread ends."""
        if self._loop is not None and not self._stopping:
            self._stopping = True
            self._inbox.put((_Stop, None))

    def join(self) -> None:
        """Waits for the thread's end."""
        if self._thread.ident is not None:
            self._thread.join()

    # In the thread

    def _main(self) -> None:
        try:
            self._write_until_stopped()
        except BaseException:
            log.critical("the writer died, and its process with it: others free what it has in hand", exc_info=True)
            self.on_death()

    def _write_until_stopped(self) -> None:
        stopped = False
        while not stopped or self._waiting():
            stopped = self._collect(stopped) or stopped
            self._write_batch()
            if self._transactions.session is not None:
                self._transactions.session.end_turn()
            for _ in range(min(len(self._jobs), JOBS_AT_ONCE)):
                self._run_job(*self._jobs.popleft())
            self._answer()
            if self._transactions.session is not None:
                self._transactions.session.tidy()
            if stopped and self._away:
                self._give_up_closing()
        self._transactions.close()

    def _waiting(self) -> bool:
        return bool(self._accepts or self._settles or self._jobs)

    def _collect(self, stopped: bool) -> bool:
        """Takes what has come, and waits for it where nothing has; True when that was the last."""
        if self._away and self._only_settles():
            last = self._take(AWAY_SECONDS)
        elif self._waiting() or stopped:
            last = self._take(0)
        else:
            last = self._take(None)
        # While accepts come in, a settle that waits for the next of them saves a sync.
        busy_until = self._last_accept + SETTLE_WAIT_SECONDS
        while self._only_settles() and not (last or stopped) and len(self._settles) < ROWS_AT_ONCE:
            before = len(self._settles)
            wait = busy_until - self._clock.monotonic()
            last = wait > 0 and self._take(wait)
            if len(self._settles) == before:
                break
        session = self._transactions.session
        if session is not None and self._is_light():
            with contextlib.suppress(OSError):  # the transaction will meet it again, and knows what to do
                session.await_turn()
            last = self._take(0) or last  # whoever came while another process wrote goes with this batch
        return last

    def _is_light(self) -> bool:
        """Something waits, and its bodies are written so fast that nobody minds waiting for it with the turn."""
        octets = 0
        for order, _ in self._accepts:
            content = order.message.content
            octets += len(content) if isinstance(content, bytes) else HEAVY_OCTETS
            if octets >= HEAVY_OCTETS:
                return False
        return bool(self._accepts or self._settles)

    def _only_settles(self) -> bool:
        return bool(self._settles) and not self._accepts and not self._jobs

    def _take(self, seconds: float | None) -> bool:
        """Empties the inbox, after waiting up to ``seconds`` (None: for ever) for a first entry."""
        last = False
        try:
            work, future = self._inbox.get(seconds != 0, seconds or None)
            while True:
                if isinstance(work, AcceptOrder):
                    self._accepts.append((work, future))
                elif work is _Stop:
                    last = True
                elif callable(work):
                    self._jobs.append((work, future))
                else:
                    self._settles.append((work, future))
                work, future = self._inbox.get_nowait()
        except queue.Empty:
            return last

    def _next_accepts(self) -> list[tuple[AcceptOrder, asyncio.Future[Accepted]]]:
        """As many as fit into one transaction."""
        taken: list[tuple[AcceptOrder, asyncio.Future[Accepted]]] = []
        rows = octets = 0
        assert self._placing is not None
        while self._accepts and rows < ROWS_AT_ONCE and octets < self._placing.batch_octets:
            taken.append(self._accepts.popleft())
            message = taken[-1][0].message
            rows += len(message.recipients)
            octets += len(message.content) if isinstance(message.content, bytes) else 0
        return taken

    def _next_settles(self) -> list[tuple[Sequence[Settlement], asyncio.Future[frozenset[Any]]]]:
        taken: list[tuple[Sequence[Settlement], asyncio.Future[frozenset[Any]]]] = []
        rows = 0
        while self._settles and rows < ROWS_AT_ONCE:
            taken.append(self._settles.popleft())
            rows += len(taken[-1][0])
        return taken

    def _write_batch(self) -> None:
        accepts, settles = self._next_accepts(), self._next_settles()
        if not accepts and not settles:
            return
        placed: list[tuple[Placed, asyncio.Future[Accepted]]] = []
        for (_, future), place in zip(accepts, self._places([order for order, _ in accepts]), strict=True):
            if isinstance(place, Placed):
                placed.append((place, future))
            else:
                self._answers.append((future, place))
        self._write_placed(placed, settles)
        if accepts:
            self._last_accept = self._clock.monotonic()

    def _places(self, orders: Sequence[AcceptOrder]) -> Sequence[Placed | Refused]:
        """Whatever goes wrong here, this thread lives on: nobody would write for the others."""
        assert self._placing is not None
        try:
            return self._placing.place(orders)
        except Exception:
            log.exception("bodies cannot be written", messages=len(orders))
            return [Refused(Refusal.UNAVAILABLE)] * len(orders)

    def _write_placed(
        self,
        placed: list[tuple[Placed, asyncio.Future[Accepted]]],
        settles: list[tuple[Sequence[Settlement], asyncio.Future[frozenset[Any]]]],
    ) -> None:
        if not placed and not settles:
            return
        batch = Batch([place for place, _ in placed], [one for some, _ in settles for one in some])
        try:
            self._enter()
            outcome = self._transactions.run(lambda session, now: batch.write(session, self._ours, now), batch.happened)
        except StoreError as error:
            self._postpone(error, placed, settles)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the others' fault
            self._replay(error, placed, settles)
        else:
            reached("after-commit")
            self._away = False
            self._tell(outcome, placed, settles)

    def _enter(self) -> None:
        """Makes our incarnation known before anything is claimed for it."""
        if not self._ours.number:
            self._ours.number = self._transactions.run(self._register, None)

    def write_hot(self, function: Callable[[Any], None]) -> None:
        """A transaction of its own for a function of hot statements, in the thread. StoreError."""
        self._transactions.run(lambda session, _: function(session.hot), None)

    def _tell(
        self,
        outcome: Outcome,
        placed: list[tuple[Placed, asyncio.Future[Accepted]]],
        settles: list[tuple[Sequence[Settlement], asyncio.Future[frozenset[Any]]]],
    ) -> None:
        refused: list[Placed] = []
        for (place, future), answer in zip(placed, outcome.answers, strict=True):
            self._answers.append((future, answer))
            if isinstance(answer, Refused) or answer.replayed:
                refused.append(place)
        for some, future_of_places in settles:
            places = {(one.claim.message_id, one.claim.number) for one in some}
            self._answers.append((future_of_places, outcome.applied & places))
        self.batches += 1
        if self.on_batch is not None:
            self.on_batch(len(placed) + len(settles))
        if refused:
            self._answer()
            self._forget(refused)

    def _forget(self, refused: Sequence[Placed]) -> None:
        assert self._placing is not None
        try:
            self._placing.forget(refused)
        except Exception:
            log.exception("bodies of refused messages stay until the next sweep")

    def _postpone(
        self,
        error: StoreError,
        placed: list[tuple[Placed, asyncio.Future[Accepted]]],
        settles: list[tuple[Sequence[Settlement], asyncio.Future[frozenset[Any]]]],
    ) -> None:
        """Our surroundings fail: clients come again, settles wait here."""
        if not self._away:
            log.error("the store cannot write", error=str(error))
        self._away = True
        refusal = Refusal.STORAGE_FULL if isinstance(error, StorageFull) else Refusal.UNAVAILABLE
        self._answers += [(future, Refused(refusal)) for _, future in placed]
        self._settles.extendleft(reversed(settles))
        if isinstance(error, CommitUnknown) and isinstance(error.result, Outcome) and self._loop is not None:
            claims = [claim for one in error.result.answers if isinstance(one, Accepted) for claim in one.claims]
            self._loop.call_soon_threadsafe(self.orphaned, claims, error.proof)

    def _replay(
        self,
        error: Exception,
        placed: list[tuple[Placed, asyncio.Future[Accepted]]],
        settles: list[tuple[Sequence[Settlement], asyncio.Future[frozenset[Any]]]],
    ) -> None:
        """Something in the batch cannot be written: each alone, so that only that one suffers."""
        if len(placed) + len(settles) > 1:
            for place in placed:
                self._write_placed([place], [])
            for settle in settles:
                self._write_placed([], [settle])
        elif placed:
            message_id = str(placed[0][0].order.message.message_id)
            log.error("a message cannot be written", message_id=message_id, exc_info=error)
            self._answers.append((placed[0][1], Refused(Refusal.UNAVAILABLE)))
        else:
            ids = [str(one.claim.message_id) for one in settles[0][0]]
            log.error("an outcome cannot be written", message_ids=ids, exc_info=error)
            self._answers.append((settles[0][1], error))

    def _run_job(self, job: Job, future: asyncio.Future[Any]) -> None:
        try:
            self._answers.append((future, self._transactions.run(job, None)))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            self._answers.append((future, error))

    def _give_up_closing(self) -> None:
        """The database stays away and we have to go: the claims are released by whoever finds us dead."""
        self._closing_tries -= 1
        if self._closing_tries <= 0:
            error = DatabaseAway("the database was away until the end")
            self._answers += [(future, error) for _, future in self._settles]
            log.error("outcomes were not written", calls=len(self._settles))
            self._settles.clear()
            self._answer()

    def _answer(self) -> None:
        """Wakes the loop once for all of them."""
        if self._answers and self._loop is not None:
            answers, self._answers = self._answers, []
            self._loop.call_soon_threadsafe(self._resolve, answers)

    def _resolve(self, answers: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
        """On the loop."""
        for future, answer in answers:
            if future.done():  # nobody waits for it any more
                if isinstance(answer, Accepted) and answer.claims:
                    self.orphaned(answer.claims, None)
            elif isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

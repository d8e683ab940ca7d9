"""The relay's memory as the rest of the product sees it: one object for each process.

What ``accept`` and ``settle`` return has been committed and synced. Everything else runs as a function inside a
transaction: ``write`` on the writer's thread, ``read`` on a reader's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final, TypeVar

import structlog

from sesrelay.model.account import AccountFacts
from sesrelay.model.clock import SECOND, Clock, Micros
from sesrelay.model.message import BodyLocation, Claim, MessageId, OutboxRow, Settlement
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.store import credentials, leases, looking, outbox, queue, retention, verify
from sesrelay.store import facts as facts_of
from sesrelay.store.accepting import Accepted, AcceptOrder
from sesrelay.store.batch import Ours
from sesrelay.store.bodies import Bodies
from sesrelay.store.contents import delete_chunks, location_of, orphans, read_rows, segments_with_rows
from sesrelay.store.credentials import FoundKey
from sesrelay.store.database import Database, StoreOptions
from sesrelay.store.engine import Engine
from sesrelay.store.errors import CommitUnknown, DatabaseAway, StoreError
from sesrelay.store.placing import EmbeddedPlacing, RowPlacing
from sesrelay.store.reader import Reader
from sesrelay.store.segments import BodyMissing
from sesrelay.store.session import Session
from sesrelay.store.settling import Place
from sesrelay.store.spool import SpoolWriter
from sesrelay.store.transaction import Transaction
from sesrelay.store.transactions import Proof

T = TypeVar("T")

FACTS_SECONDS: Final = 1.0
"""Cached facts older than this are compared with the database before they are given out."""
SETTLES_AT_ONCE: Final = 250
STEADY: Final[Micros] = 15 * SECOND
"""Whoever renewed itself at shorter intervals than this, for so long, may say of others that they did not."""
PUT_BACK_SECONDS: Final = 5.0
PUT_BACK_TRIES: Final = 30
"""A lost connection's transaction is over by then: its server waits 60 seconds for anything."""

log = structlog.get_logger()


class Store:
    """Opened once, started on a loop, closed in the end."""

    def __init__(self, options: StoreOptions, clock: Clock, database: Database) -> None:
        """Use ``open``."""
        self._options = options
        self._clock = clock
        self._database = database
        self._ours = Ours()
        self._facts_checked: dict[facts_of.Key, float] = {}
        self._bodies = Bodies(options.data_dir, options.incarnation)
        self._reader = Reader(database.connect_reading, clock, at_once=options.embedded)
        self._engine = Engine(database.connect, self._ours, self._enter, clock)
        self._engine.orphaned = self._give_back_orphans
        self._closed = False
        self._orphans: set[asyncio.Task[None]] = set()
        self._renewed_at: Micros | None = None
        self._judges_from: Micros = 0

    @classmethod
    def open(cls, options: StoreOptions, clock: Clock) -> Store:
        """Checks everything that would make it unwise to go on. StoreError; OSError for the data folder."""
        database = Database(options)
        try:
            session = database.connect()
            try:
                for fault in looking.faults(session, options, clock.now()):
                    raise fault
            finally:
                session.rollback()
                session.close()
            return cls(options, clock, database)
        except BaseException:
            database.close()
            raise

    async def start(self) -> None:
        """Binds the running loop, opens the way for reading and starts the writer. StoreError."""
        self._reader.open()
        placing = EmbeddedPlacing(self._bodies) if self._options.embedded else RowPlacing(self._engine.write_hot)
        self._engine.start(asyncio.get_running_loop(), placing)

    async def close(self) -> None:
        """Everything that waits is committed first; our incarnation ends. A second time does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._ours.number:
            self._ours.claims = False
            try:
                await self._hot(lambda session, now: leases.leave(session.transaction(now), self._ours.number))
            except StoreError as error:
                log.warning("no word of our end could be written: others will find us dead", error=str(error))
        self._engine.stop()
        await asyncio.to_thread(self._engine.join)
        self._reader.close()
        self._bodies.close()
        self._database.close()

    def watch_batches(self, watcher: Callable[[int], None]) -> None:
        """``watcher`` is called with the size of each batch, in the writer's thread."""
        self._engine.on_batch = watcher

    # The two doors

    async def accept(self, order: AcceptOrder) -> Accepted:
        """The message is durable when this returns. Raises Refused: STORAGE_FULL, UNAVAILABLE for our own trouble."""
        try:
            return await self._engine.submit_accept(order)
        except DatabaseAway as error:
            raise Refused(Refusal.UNAVAILABLE) from error

    async def settle(self, settlements: Sequence[Settlement]) -> frozenset[Place]:
        """Writes outcomes down; the places whose claim was still ours. Waits while the database is away."""
        parts = [settlements[at : at + SETTLES_AT_ONCE] for at in range(0, len(settlements), SETTLES_AT_ONCE)]
        done = await asyncio.gather(*[self._engine.submit_settle(part) for part in parts])
        return frozenset().union(*done)

    # Everything else

    async def write(self, function: Callable[[Transaction], T]) -> T:
        """Runs a rare verb in a transaction of its own; it may run again after a conflict. StoreError."""

        def job(session: Session, now: Micros) -> T:
            return function(session.transaction(now))

        return await self._hot(job)

    async def read(self, function: Callable[[Transaction], T]) -> T:
        """Runs a function that only reads, beside the writer. StoreError."""
        return await self._reader.run(function)

    async def _hot(self, job: Callable[[Session, Micros], T]) -> T:
        return await self._engine.submit_job(job)  # type: ignore[no-any-return]

    async def facts(
        self, account_id: str, region: str, *, fresh: bool = False, version: int | None = None
    ) -> AccountFacts:
        """What acceptance must know; at most a second old, or as of now, or of that version or a later one.

        UnknownAccount, StoreError.
        """
        key = (account_id, region)
        known = self._ours.facts.get(key)
        if version is not None:
            if known is not None and known.version >= version > 0:
                return known
            fresh = True
        now = self._clock.monotonic()
        if known is not None and not fresh and now - self._facts_checked.get(key, float("-inf")) < FACTS_SECONDS:
            return known
        if known is not None:
            self._facts_checked[key] = now  # one asks for all: whoever comes meanwhile takes what is known
        try:
            known = await self.read(partial(_refresh, key=key, known=known))
        except BaseException:
            self._facts_checked.pop(key, None)
            raise
        self._ours.facts[key] = known
        self._facts_checked[key] = now
        return known

    async def find_key(self, access_key_id: str, region: str) -> FoundKey | None:
        """The access key as it is at this moment, whatever its status, and the version of facts. StoreError."""
        return await self._reader.point(lambda hot: credentials.find_key(hot, access_key_id, region))

    async def body(self, message_id: MessageId, location: BodyLocation) -> bytes:
        """The bytes of a message as it was accepted. BodyDamaged, StoreError, OSError."""
        if not location.segment:
            return await self.read(partial(read_rows, message_id=message_id, location=location))
        try:
            return await asyncio.to_thread(self._bodies.read, location)
        except BodyMissing:
            now = await self.read(partial(location_of, message_id=message_id))
            if now == location:
                raise
            return await self.body(message_id, now)  # it has moved since the caller read its row

    def spool(self, header: bytes) -> SpoolWriter:
        """Where a big message goes while it comes in. OSError."""
        return self._bodies.spool(header)

    # The queue

    async def claim_due(self, limit: int) -> list[Claim]:
        """Up to ``limit`` recipients that are due, fairly over the lanes, claimed for this process."""
        await self._known()
        if not self._ours.claims:
            return []
        try:
            return await self._hot(lambda session, now: queue.claim_due(session.hot, self._ours.number, now, limit))
        except CommitUnknown as unknown:
            self._give_back_orphans(unknown.result, unknown.proof)
            raise

    async def claim_held(self, accepted_before: Micros, limit: int) -> list[Claim]:
        """Up to ``limit`` held recipients of messages accepted until then, claimed for this process."""
        await self._known()
        if not self._ours.claims:
            return []
        return await self._hot(
            lambda session, _: queue.claim_held(session.hot, self._ours.number, accepted_before, limit)
        )

    async def give_back(self, claims: Sequence[Claim], due_at: Micros) -> None:
        """Claims that were not tried go back into their lanes, as if never taken."""
        number = self._ours.number
        for at in range(0, len(claims), SETTLES_AT_ONCE):
            part = claims[at : at + SETTLES_AT_ONCE]
            await self._hot(partial(_give_back, number=number, claims=part, due_at=due_at))

    async def postpone_lanes(self, lanes: Collection[tuple[str, str]], due_at: Micros) -> None:
        """Lanes (domain, account) whose destination cannot take mail: claiming looks there again no sooner."""
        rows = sorted(set(lanes))
        for at in range(0, len(rows), SETTLES_AT_ONCE):
            await self._hot(partial(_postpone_lanes, lanes=rows[at : at + SETTLES_AT_ONCE], due_at=due_at))

    async def next_due(self) -> Micros | None:
        """When the first lane is due; None when nothing waits."""
        return await self._reader.run_hot(lambda hot: hot.next_due())

    # Life and death

    async def renew(self) -> bool:
        """We live for another 30 seconds. False: we were declared dead and must not touch what we had claimed."""
        await self._known()
        alive = await self._hot(lambda session, now: leases.renew(session.transaction(now), self._ours.number))
        self._ours.claims = alive
        now = self._clock.now()
        if not self._is_steady(now):
            self._judges_from = now + STEADY
        self._renewed_at = now
        return alive

    def _is_steady(self, now: Micros) -> bool:
        """Whether we have renewed ourselves without a gap.

        After one everybody seems dead: the clock was put forward, or nobody could reach the database.
        """
        return self._renewed_at is not None and now - self._renewed_at < STEADY

    async def release(self, incarnations: Sequence[str]) -> int:
        """Declares them dead and frees what they had in hand; how many recipients. Three deaths: held."""
        dead = await self.write(partial(leases.declare_dead, names=incarnations))
        freed = 0
        for number, died in dead:
            while some := await self._release_some(number, died=died):
                freed += some
        return freed

    async def _release_some(self, dead: int, *, died: bool) -> int:
        freed, held = await self._hot(lambda session, now: queue.release_some(session.hot, dead, now, died=died))
        for message_id in held:
            log.error(
                "held: several workers died with it in hand; `sesrelay queue retry --state held` tries it again",
                message_id=str(message_id),
            )
        return freed

    async def release_dead(self) -> int:
        """Frees what incarnations have in hand that did not renew themselves in time, though we could."""
        now = self._clock.now()
        judges = self._is_steady(now) and now >= self._judges_from
        names = await self.read(partial(leases.expired, late_too=judges))
        return await self.release(names) if names else 0

    async def release_node_leftovers(self, live: Sequence[str]) -> int:
        """Frees what earlier processes of this node have left, all but ``live``."""
        names = await self.read(partial(leases.leftovers, node=self._options.node, live=live))
        return await self.release(names) if names else 0

    def _enter(self, session: Session, now: Micros) -> int:
        return leases.enter(session.transaction(now), self._options.incarnation, self._options.node)

    async def _known(self) -> None:
        """Our incarnation has its number after this."""
        if not self._ours.number:
            self._ours.number = await self._hot(lambda session, now: self._ours.number or self._enter(session, now))

    def _give_back_orphans(self, claims: Sequence[Claim], proof: Proof | None) -> None:
        """Claimed for us, or perhaps (the proof tells), but in nobody's hands: they must not lie here until we die."""
        task = asyncio.get_running_loop().create_task(self._put_back(claims, proof))
        self._orphans.add(task)
        task.add_done_callback(self._orphans.discard)

    async def _put_back(self, claims: Sequence[Claim], proof: Proof | None) -> None:
        """Once for each claim: what was put back may soon be claimed again, by us too."""
        left = [claims[at : at + SETTLES_AT_ONCE] for at in range(0, len(claims), SETTLES_AT_ONCE)]
        certain, tries = proof is None, PUT_BACK_TRIES
        while left and tries and not self._closed:
            try:
                if not certain:
                    certain = await self._hot(lambda session, _: proof is None or proof(session))
                    tries -= 1
                while certain and left:
                    await self.give_back(left[-1], self._clock.now())
                    left.pop()
                    log.warning("claims that nobody had in hand were given back", count=len(claims))
            except StoreError as error:
                log.warning("claims in nobody's hands wait for the database", error=str(error))
            if left:
                await self._clock.sleep(PUT_BACK_SECONDS)

    # Telling

    async def due_outbox(self, kind: str, limit: int) -> list[OutboxRow]:
        """Rows to be told now; another worker sees them again in a minute, unless they are deleted or postponed."""
        return await self.write(partial(outbox.take_due, kind=kind, limit=limit))

    async def verify(self, progress: Callable[[int], None] = lambda _read: None) -> list[str]:
        """Everything that does not agree with itself, one line each. ``progress`` hears of bodies that were read.

        Bodies that are still needed are read, too. StoreError when the database itself cannot be read.
        """
        faults = [str(one) for one in await self.read(verify.books) if not one.balance]
        faults += await self.read(verify.faults_of_recipients)
        page = await self.read(partial(verify.page_of_messages, after=None))
        while True:
            faults += page.faults
            for message_id, location in page.unfinished:
                try:
                    await self.body(message_id, location)
                except (StoreError, OSError) as error:
                    faults.append(f"message {message_id}: its body cannot be read: {error}")
            progress(len(page.unfinished))
            if page.last is None:
                return faults
            page = await self.read(partial(verify.page_of_messages, after=page.last))

    async def sweep_bodies(self) -> list[str]:
        """Removes bodies of messages that were never accepted; what was removed. OSError, StoreError."""
        if not self._options.embedded:
            found = await self.read(orphans)
            if found:
                await self.write(partial(delete_chunks, ids=found))
            return [str(message_id) for message_id in found]
        return await asyncio.to_thread(self._bodies.sweep, self._asking_for_rows())

    async def is_written(self, segment: str) -> bool:
        """Whether some process still writes this segment; once it does not, nobody ever will. OSError."""
        return await asyncio.to_thread(self._bodies.is_written, segment)

    async def move_bodies(self, segment: str) -> int:
        """Moves some bodies out of a segment into the one that we write; how many, 0: none is left there.

        BodyDamaged, OSError, StoreError.
        """
        return await self.write(partial(_move_some, bodies=self._bodies, segment=segment))

    async def remove_bodies(self, segments: Sequence[str]) -> list[str]:
        """Removes those files that no row knows any more and nobody is writing; what went. OSError, StoreError."""
        return await asyncio.to_thread(self._bodies.remove, segments, self._asking_for_rows())

    def _asking_for_rows(self) -> Callable[[Sequence[str]], set[str]]:
        """For other threads: which of some files the rows know, asked under the write lock."""
        loop = asyncio.get_running_loop()

        def still_needed(names: Sequence[str]) -> set[str]:
            needed = self.write(partial(segments_with_rows, names=names))
            return asyncio.run_coroutine_threadsafe(needed, loop).result()

        return still_needed


def _move_some(tx: Transaction, bodies: Bodies, segment: str) -> int:
    """Copies first, durably; the rows then say where."""
    found = retention.bodies_in(tx, segment)
    places = bodies.move([place for _, place in found])
    retention.moved(tx, [(message_id, place) for (message_id, _), place in zip(found, places, strict=True)])
    return len(found)


def _refresh(tx: Transaction, key: facts_of.Key, known: AccountFacts | None) -> AccountFacts:
    """What is known, if it is still right; else what is right."""
    if known is not None and facts_of.version(tx, *key) == known.version:
        return known
    return facts_of.load(tx, *key)


def _postpone_lanes(session: Session, _now: Micros, lanes: Sequence[tuple[str, str]], due_at: Micros) -> None:
    session.hot.postpone_lanes(due_at, lanes)


def _give_back(session: Session, now: Micros, number: int, claims: Sequence[Claim], due_at: Micros) -> None:
    queue.give_back(session.hot, number, claims, due_at, now)

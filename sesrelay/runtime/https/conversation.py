"""A connection of the HTTPS port: uvicorn's, with bounds for what its client does not say, says or does not hear.

uvicorn's own names that are used here stand in this module only; its version is pinned, and tests with real
connections go through each of them.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Protocol

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from sesrelay.fronts.smtp.data import WorkerOctets
from sesrelay.runtime.https.arrivals import Ticket
from sesrelay.runtime.https.reading import BoundedReader
from sesrelay.runtime.https.refusals import WORDS, answer
from sesrelay.runtime.https.sending import taken, untaken
from sesrelay.runtime.https.waiting import BEHIND_ANSWERS, PROGRESS_OCTETS, Act, Taking, Waits, judge
from sesrelay.settings import Http


class Surroundings(Protocol):
    """What a conversation needs of its port."""

    bounds: Http
    memory: WorkerOctets
    leaving: bool
    """No connection outlives its request any more."""

    def now(self) -> float:
        """Seconds that only ever grow."""

    def refused(self, kind: str, client: str, reason: str) -> None:
        """Counts it, and says so in the log."""


class Conversation(H11Protocol):
    """Requests and answers. It has its ticket from the moment when TLS is up, and gives it back at the end."""

    def __init__(self, config: Config, state: ServerState, port: Surroundings, ticket: Ticket) -> None:
        super().__init__(config, state, {})
        self.conn: BoundedReader = BoundedReader(port.bounds, self._take, crowded=ticket.crowded)
        self._port = port
        self._ticket = ticket
        self._waits = Waits.BEGIN
        self._since = 0.0
        self._progress = 0
        """Octets of a body that came since."""
        self._taking = Taking()
        self._held = 0
        """Octets of the body that count in the worker's sum."""
        self._refused = self._ending = False

    # As the loop says

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._ticket.taken_by(self)
        self._since = self._port.now()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._give_back()
        self._ticket.give_back()

    def data_received(self, data: bytes) -> None:
        if self._refused or self._ending:
            return  # it may say what it has to say, but nobody listens
        super().data_received(data)
        self._look_anew(len(data))

    # As uvicorn says

    def on_response_complete(self) -> None:
        self._give_back()
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the look below knows idle connections, and our clock
        self._begin(self._state())
        if self._ticket.crowded or self._port.leaving:
            self._close()

    def send_400_response(self, msg: str) -> None:
        """Called where uvicorn handles the reader's fault."""
        fault = sys.exception()
        status = fault.error_status_hint if isinstance(fault, h11.RemoteProtocolError) else 400
        self._refuse(status if status in WORDS else 400, str(fault or msg))

    def shutdown(self) -> None:
        if self._refused or self._ending:
            return
        super().shutdown()
        self._ending = self.transport.is_closing()
        self._look_anew()

    # What becomes of those who let us wait

    def look(self, now: float) -> None:
        """The port's, again and again."""
        self._look_anew()
        taking = self._seconds_without_taking(now)
        if taking is not None:
            if judge(Waits.TAKE, taking, self._port.bounds):
                self._port.refused("slow", self._ticket.client, "does not take its answer")
                self.cut()
                return
            if self._waits in BEHIND_ANSWERS:
                self._since = now
        match judge(self._waits, now - self._since, self._port.bounds):
            case Act.CLOSE:
                self._close()
            case Act.REFUSE:
                self._refuse(408, "too late")
            case Act.CUT:
                self.cut()

    def _seconds_without_taking(self, now: float) -> float | None:
        connection = self._ticket.socket
        on_their_way = untaken(connection)
        return self._taking.seconds(now, untaken=on_their_way, taken=taken(connection) if on_their_way else 0)

    def cut(self) -> None:
        """At once, whatever it is doing."""
        self.transport.abort()

    def _state(self) -> Waits:
        """What we wait for just now."""
        if self._ending or self.transport.is_closing():
            return Waits.GONE
        if self._refused:
            return Waits.HEARD
        if self.conn.their_state is h11.SEND_BODY:
            waits_for_us = self.flow.read_paused or self.conn.they_are_waiting_for_100_continue
            return Waits.NOTHING if waits_for_us else Waits.BODY
        if self.conn.their_state is not h11.IDLE:
            return Waits.NOTHING
        if self.conn.trailing_data[0]:
            return Waits.HEAD
        return Waits.NEXT if self.cycle else Waits.BEGIN

    def _look_anew(self, octets: int = 0) -> None:
        """Begins the time anew when we wait for something else, or have got enough of it."""
        waits = self._state()
        if waits is not self._waits:
            self._begin(waits)
        elif waits is Waits.BODY:
            self._progress += octets
            if self._progress >= PROGRESS_OCTETS:
                self._begin(waits)

    def _begin(self, waits: Waits) -> None:
        self._waits = waits
        self._since = self._port.now()
        self._progress = 0

    def _close(self) -> None:
        self._ending = True
        self.transport.close()
        self._look_anew()

    def _refuse(self, status: int, reason: str) -> None:
        self._port.refused(str(status), self._ticket.client, reason)
        if self.conn.our_state is h11.DONE:  # it has its answer: another it would take for that to its next request
            self._close()
            return
        self._refused = True
        if self.cycle and not self.cycle.response_complete:
            begun = self.cycle.response_started
            self.cycle.disconnected = True  # the page learns it, and what it still says goes nowhere
            self.cycle.message_event.set()
            if begun:
                self.cut()
                return
        self.flow.resume_reading()
        headers = self.server_state.default_headers
        self.transport.write(answer(status, headers, without_body=self.conn.method == b"HEAD"))
        self._look_anew()

    # Octets of bodies

    def _take(self, octets: int) -> bool:
        if not self._port.memory.take(octets):
            return False
        self._held += octets
        return True

    def _give_back(self) -> None:
        self._port.memory.give_back(self._held)
        self._held = 0

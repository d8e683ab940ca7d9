"""How long a client of the HTTPS port may make us wait, and what becomes of it then."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from sesrelay.settings import Http

PROGRESS_OCTETS: Final = 16_384
"""So much of a body, or of an answer, begins its time anew: a line of 7 kbit/s will do, an octet now and then not."""
LINGER_SECONDS: Final = 5.0
"""After a refusal, so that a client that is still sending reads it: octets that nobody took would reset it away."""
GOODBYE_SECONDS: Final = 2.0
"""To answer the end of TLS."""


class Waits(Enum):
    """What we wait for from a client."""

    BEGIN = auto()
    """The first octet of its first request."""
    NEXT = auto()
    """That of another one."""
    HEAD = auto()
    BODY = auto()
    TAKE = auto()
    """That it takes of the answer what is written already; beside one of the others."""
    NOTHING = auto()
    """It waits for us."""
    HEARD = auto()
    """It was refused and may read that."""
    GONE = auto()
    """It was told goodbye."""


BEHIND_ANSWERS: Final = frozenset({Waits.NEXT, Waits.HEARD, Waits.GONE})
"""Their time begins when the client has taken what was written before. The others' time runs meanwhile, since nothing
keeps a client that reads slowly from writing."""


class Act(Enum):
    """What is done about it."""

    CLOSE = auto()
    """Without a word: who has asked nothing might take it for the answer to its next request."""
    REFUSE = auto()
    """408."""
    CUT = auto()
    """It hears nothing any more."""


def judge(waits: Waits, seconds: float, bounds: Http) -> Act | None:
    """What is due when we have waited for so many seconds without progress; None: wait on."""
    longest, act = {
        Waits.BEGIN: (bounds.head_seconds, Act.CLOSE),
        Waits.NEXT: (bounds.idle_seconds, Act.CLOSE),
        Waits.HEAD: (bounds.head_seconds, Act.REFUSE),
        Waits.BODY: (bounds.body_seconds, Act.REFUSE),
        Waits.TAKE: (bounds.answer_seconds, Act.CUT),
        Waits.NOTHING: (float("inf"), None),
        Waits.HEARD: (LINGER_SECONDS, Act.CLOSE),
        Waits.GONE: (GOODBYE_SECONDS, Act.CUT),
    }[waits]
    return act if seconds >= longest else None


class Taking:
    """How long a client has taken nothing of an answer that would count."""

    def __init__(self) -> None:
        self._since = 0.0
        self._enough = 0
        """Octets taken in all with which its time begins anew."""

    def seconds(self, now: float, *, untaken: int, taken: int) -> float | None:
        """``untaken`` octets are on their way, it has ``taken`` so many since it came. None: it has all of them."""
        if not untaken:
            return None
        if taken >= self._enough:
            self._since, self._enough = now, taken + min(untaken, PROGRESS_OCTETS)
        return now - self._since


def shortest_seconds(bounds: Http) -> float:
    """The first of these times that an operator has set."""
    return min(
        bounds.tls_handshake_seconds,
        bounds.head_seconds,
        bounds.body_seconds,
        bounds.answer_seconds,
        bounds.idle_seconds,
    )

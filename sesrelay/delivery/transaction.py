"""One message for one or several recipients on its way over one connection, and what each of them was told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from sesrelay.model.reply import Reply, Scope, Stage

TlsPolicy = Literal["opportunistic", "require", "never"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What we bring to a session with a server and ask of it."""

    our_name: str
    """For EHLO: a host name of ours."""
    tls: TlsPolicy = "opportunistic"
    user: str = ""
    """"" : no AUTH."""
    password: str = field(default="", repr=False)


class Transaction(NamedTuple):
    """An envelope and a content (CRLF, dots not doubled). Recipients are known by key, never by position."""

    mail_from: str
    recipients: Mapping[int, str]
    content: bytes
    eight_bit: bool = False


class Answer(NamedTuple):
    """What became of one recipient: a reply, or our words for why there is none."""

    stage: Stage
    scope: Scope
    reply: Reply | None
    trouble: str = ""
    in_doubt: bool = False
    permanent: bool = False
    """Our own final no; ``trouble`` begins with an SMTP code."""
    not_tried: bool = False
    """We stopped for a reason of our own."""


class Outcome(NamedTuple):
    """How a transaction ended, for every recipient."""

    answers: Mapping[int, Answer]
    stale: bool = False
    """The connection had been kept too long: it ended before it said a word, and nobody was tried."""


TIME_LIMITS: Final[Mapping[Stage, float]] = {
    # RFC 5321 §4.5.3.2, seconds
    Stage.CONNECT: 30.0,  # silent hosts are common; the next one should get its turn
    Stage.GREETING: 300.0,
    Stage.EHLO: 300.0,
    Stage.STARTTLS: 120.0,
    Stage.AUTH: 300.0,
    Stage.MAIL: 300.0,
    Stage.RCPT: 300.0,
    Stage.DATA: 120.0,
    Stage.BODY: 180.0,  # for each portion that the other side takes
    Stage.END_OF_DATA: 600.0,
}
"""How long one silence may last, in seconds."""

QUIT_SECONDS: Final = 5.0
"""How long a 221 is waited for; nothing depends on it."""

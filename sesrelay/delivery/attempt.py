"""From a job to a transaction, and from its outcome to a result for each claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sesrelay.delivery.destinations import Job
from sesrelay.delivery.transaction import Answer, Transaction
from sesrelay.model.clock import Micros
from sesrelay.model.message import AttemptResult, Claim, Origin
from sesrelay.model.reply import Scope, Stage

Sign = Callable[[Claim, bytes], bytes]
"""Header octets that are put in front of the content (DKIM signatures)."""
ReturnPath = Callable[[Claim], str]
"""The envelope sender to the world (DEL-10)."""


def unsigned(_claim: Claim, _content: bytes) -> bytes:
    """Nothing is put in front."""
    return b""


@dataclass(frozen=True, slots=True)
class Envelopes:
    """How claims are dressed for the next hop."""

    return_path: ReturnPath
    sign: Sign = unsigned

    def transaction(self, job: Job, content: bytes, *, verp: bool) -> Transaction:
        """The transaction that a job becomes on a route with or without our own return path."""
        claim = job.claims[0]
        signature = self.sign(claim, content)
        return Transaction(
            self._sender(claim, verp=verp),
            {each.number: each.address for each in job.claims},
            signature + content if signature else content,
            claim.eight_bit,
        )

    def _sender(self, claim: Claim, *, verp: bool) -> str:
        if claim.origin is Origin.RELAY:
            return ""  # our own reports must not be reported on (RFC 5321 §4.5.5)
        return self.return_path(claim) if verp else claim.mail_from


def result(
    claim: Claim,
    answer: Answer,
    *,
    remote: str = "",
    local_address: str = "",
    tls: str = "",
    started_at: Micros,
    finished_at: Micros,
) -> AttemptResult:
    """What became of one claim."""
    return AttemptResult(
        claim,
        answer.stage,
        answer.scope,
        answer.reply,
        answer.trouble,
        False,
        answer.not_tried,
        answer.permanent,
        answer.in_doubt,
        remote,
        local_address,
        tls,
        started_at,
        finished_at,
    )


def captured(claim: Claim, now: Micros) -> AttemptResult:
    """Kept here: the route says so, or it is the simulator's."""
    return AttemptResult(claim, Stage.ROUTE, Scope.RECIPIENT, None, "", captured=True, started_at=now, finished_at=now)


def looping(claim: Claim, now: Micros) -> AttemptResult:
    """It has come through so many hands that it can only be going round."""
    trouble = f"554 5.4.6 Too many hops: {claim.hops} Received fields, a mail loop"
    return AttemptResult(
        claim, Stage.ROUTE, Scope.MESSAGE, None, trouble, permanent=True, started_at=now, finished_at=now
    )


def fault_of_ours(claim: Claim, now: Micros, *, in_doubt: bool = False) -> AttemptResult:
    """Something in here broke: temporary, and nobody's fault but ours."""
    stage = Stage.END_OF_DATA if in_doubt else Stage.ROUTE
    trouble = "a fault of our own"
    return AttemptResult(
        claim, stage, Scope.OURSELVES, None, trouble, in_doubt=in_doubt, started_at=now, finished_at=now
    )

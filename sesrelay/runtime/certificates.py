"""What a worker does about certificates: takes new ones up, has self-made ones renewed in time, warns of the end.

Every worker looks at the files every few seconds. Once a day the first worker of the node has those renewed that the
data folder's own CA has signed, as long as ``ca.key`` is there, and warns of what is left. The CA's key is read by
a process of its own (``renewing``), which has no connections and ends at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from sesrelay.certificates.authority import Renewal
from sesrelay.certificates.pairs import Pair, remarks, uncovered
from sesrelay.fronts.smtp.tls import TlsContexts
from sesrelay.model.clock import SECOND, Clock
from sesrelay.runtime.clock import SystemClock
from sesrelay.runtime.processes import run

LOOK_SECONDS: Final = 5.0
DAY_SECONDS: Final = 86_400.0
RENEWING_SECONDS: Final = 60

log = structlog.get_logger()


class CertificateGauge(Protocol):
    """Where the ends of certificates are shown."""

    def certificates(self, ends: Mapping[str, float], faults: int) -> None:
        """Each certificate's end in seconds since 1970, by its file; how many new ones cannot be used."""


class CertificateKeeper:
    """Of one worker."""

    def __init__(self, tls: TlsContexts, renewal: Renewal, clock: Clock, gauge: CertificateGauge) -> None:
        self._tls = tls
        self._renewal = renewal
        self._clock = clock
        self._gauge = gauge

    async def run(self, *, first_of_node: bool) -> None:
        """Until cancelled."""
        next_day = self._clock.monotonic()
        while True:
            await self._take_up()
            if first_of_node and self._clock.monotonic() >= next_day:
                next_day += DAY_SECONDS
                await self._daily()
            await self._clock.sleep(LOOK_SECONDS)

    async def _take_up(self) -> None:
        """When something breaks here (no file descriptor is free, say), the next look tries again."""
        try:
            if self._tls.look():
                await asyncio.to_thread(self._tls.reload)
            self._show()
        except Exception:
            log.exception("tls.certificates_not_looked_at")

    def _show(self) -> None:
        ends = {str(pair.files.certificate): pair.ends / SECOND for pair in self._tls.pairs}
        self._gauge.certificates(ends, len(self._tls.faults))

    async def _daily(self) -> None:
        """No trouble here is the end of the worker's other work."""
        try:
            renewed = await self._renew()
        except Exception:
            log.exception("tls.certificate_not_renewed")
            renewed = set()
        self._warn([pair for pair in self._tls.pairs if str(pair.files.certificate) not in renewed])

    async def _renew(self) -> set[str]:
        """Has done what is due; the files of the certificates that are new."""
        now = self._clock.now()
        folders = {pair.files.certificate.parent for pair in self._tls.pairs if self._renewal.due(pair, now)}
        renewed: set[str] = set()
        for folder in sorted(folder for folder in folders if (folder / "ca.key").exists()):
            answer = await _ask(
                {
                    "folder": str(folder),
                    "files": [[str(each.certificate), str(each.private_key)] for each in self._renewal.files],
                    "service_domain": self._renewal.service_domain,
                    "regions": list(self._renewal.regions),
                    "now": now,
                }
            )
            for file in answer["renewed"]:
                log.info("tls.certificate_renewed", file=file)
            if answer["fault"]:
                log.error("tls.certificate_not_renewed", folder=str(folder), reason=answer["fault"])
            renewed |= set(answer["renewed"])
        return renewed

    def _warn(self, pairs: list[Pair]) -> None:
        now = self._clock.now()
        for pair in pairs:
            for words, urgent in remarks(pair, now):
                tell = log.error if urgent else log.warning
                tell("tls.certificate_ends", file=str(pair.files.certificate), reason=words)
        smtp = [name for name in self._renewal.names if name.startswith("email-smtp.")]
        if len(pairs) == len(self._tls.pairs) and (missing := uncovered(smtp, pairs)):
            log.warning("tls.no_certificate_for", names=missing)


async def _ask(order: Mapping[str, object]) -> dict[str, list[str]]:
    """What the process that renews has done; it ends with the caller. OSError, ValueError, TimeoutError."""
    command = [sys.executable, "-m", "sesrelay.runtime.renewing"]
    with os.fdopen(os.memfd_create("sesrelay-order"), "r+b") as stdin:
        stdin.write(json.dumps(order).encode())
        stdin.seek(0)
        # A process takes real time, whatever hour tests say it is.
        status, output = await run(command, SystemClock(), seconds=RENEWING_SECONDS, stdin=stdin)
    if status is None:
        raise TimeoutError
    answer: dict[str, list[str]] = json.loads(output)
    return answer

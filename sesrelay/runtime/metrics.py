"""What a worker counts. On the hot path a count is one addition to a plain integer; every second the sums are
written where the supervisor finds them (prometheus_client's files for several processes).

Import only when ``PROMETHEUS_MULTIPROC_DIR`` is set: the library looks at it then. Names are a promise to
those who watch (docs/OPERATING.md).
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

log = structlog.get_logger()

DELIVERY_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 1800.0, 14400.0)
BATCH_SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)

_FILES: Final = ("counter", "histogram", "gauge_livesum", "gauge_livemostrecent")
"""The library's: one for each kind of metric."""
_FILE_OCTETS: Final = 1 << 16
"""Its size of a new file, which has room for all that is counted here."""


class WorkerMetrics:
    """The counts of this worker since the last ``flush``."""

    def __init__(self) -> None:
        try:
            _reserve(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        except OSError as error:
            log.warning("no room for metrics: this worker's will not be seen", error=str(error))
            values.ValueClass = values.MutexValue
        registry = CollectorRegistry()
        self._accepted = Counter("sesrelay_messages_accepted", "Messages that got their 250.", registry=registry)
        self._recipients = Counter(
            "sesrelay_recipients", "Recipients, accepted and by what became of them.", ["outcome"], registry=registry
        )
        self._refusals = Counter("sesrelay_refusals", "Logins and messages refused.", ["reason"], registry=registry)
        self._turned_away = Counter(
            "sesrelay_connections_refused", "Clients that were turned away: there were too many.", registry=registry
        )
        self._proxy_headers = Counter(
            *("sesrelay_proxy_headers_refused", "Connections closed because of their PROXY header."), registry=registry
        )
        self._delayed = Counter("sesrelay_logins_delayed", "Logins that had to wait.", registry=registry)
        self._connections = Gauge(
            "sesrelay_smtp_connections", "Open SMTP sessions.", registry=registry, multiprocess_mode="livesum"
        )
        self._http_connections = Gauge(
            *("sesrelay_http_connections", "Open connections to the HTTPS port."),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._http_refusals = Counter(
            *("sesrelay_http_refusals", "Clients of the HTTPS port refused or cut off.", ["reason"]), registry=registry
        )
        self._queue = Gauge(
            *("sesrelay_queue_recipients", "Recipients in the queue.", ["state"]),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._certificates = Gauge(
            *("sesrelay_certificate_expiry_timestamp_seconds", "When the certificate (or its chain) ends.", ["file"]),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._certificate_faults = Gauge(
            "sesrelay_certificate_faults",
            "Changed certificates that cannot be used: the old ones are shown.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._delivery = _Buckets(
            Histogram(
                *("sesrelay_delivery_seconds", "From acceptance to the next hop's answer."),
                registry=registry,
                buckets=DELIVERY_SECONDS,
            ),
            DELIVERY_SECONDS,
        )
        self._batches = _Buckets(
            Histogram(
                "sesrelay_commit_batch_size", "Accepts and settles in a commit.", registry=registry, buckets=BATCH_SIZES
            ),
            BATCH_SIZES,
        )
        self._messages = self._delays = self._crowd = self._unintroduced = 0
        self._outcomes: Counts[str] = Counts()
        self._reasons: Counts[str] = Counts()
        self._http_reasons: Counts[str] = Counts()

    def accepted(self, recipients: int) -> None:
        """A message was committed."""
        self._messages += 1
        self._outcomes["accepted"] += recipients

    def refused(self, reason: str) -> None:
        """A login or a message was refused, by this name."""
        self._reasons[reason] += 1

    def connection_refused(self) -> None:
        """A client was told that there are too many."""
        self._crowd += 1

    def http_refused(self, reason: str) -> None:
        """A client of the HTTPS port was refused or cut off, for this."""
        self._http_reasons[reason] += 1

    def proxy_header_refused(self) -> None:
        """A peer sent no PROXY header, or may not send one."""
        self._unintroduced += 1

    def login_delayed(self) -> None:
        """A login waits, because of those that failed before it."""
        self._delays += 1

    def settled(self, outcome: str, seconds: float) -> None:
        """A recipient reached this state (queued: it will be tried again), so long after acceptance."""
        self._outcomes[outcome] += 1
        if outcome == "delivered":
            self._delivery.add(seconds)

    def captured(self, recipients: int) -> None:
        """Recipients are kept here since their acceptance."""
        self._outcomes["captured"] += recipients

    def committed(self, size: int) -> None:
        """So many accepts and settles went into one commit."""
        self._batches.add(size)

    def queue(self, states: Mapping[str, int]) -> None:
        """The queue as it was counted just now."""
        for state, number in states.items():
            self._queue.labels(state).set(number)

    def certificates(self, ends: Mapping[str, float], faults: int) -> None:
        """Each certificate's end in seconds since 1970, by its file; how many new ones cannot be used."""
        for file, end in ends.items():
            self._certificates.labels(file).set(end)
        self._certificate_faults.set(faults)

    def flush(self, connections: int, http_connections: int) -> None:
        """Writes the sums, and how many sessions of SMTP and connections to the HTTPS port there are."""
        if self._messages:
            self._accepted.inc(self._messages)
            self._messages = 0
        if self._crowd:
            self._turned_away.inc(self._crowd)
            self._crowd = 0
        if self._unintroduced:
            self._proxy_headers.inc(self._unintroduced)
            self._unintroduced = 0
        if self._delays:
            self._delayed.inc(self._delays)
            self._delays = 0
        _pour(self._outcomes, self._recipients)
        _pour(self._reasons, self._refusals)
        _pour(self._http_reasons, self._http_refusals)
        self._connections.set(connections)
        self._http_connections.set(http_connections)
        self._delivery.flush()
        self._batches.flush()


def _reserve(folder: Path) -> None:
    """Has the files' room given out now: a write into a memory map for which there is none kills the process."""
    files = [folder / f"{kind}_{os.getpid()}.db" for kind in _FILES]
    try:
        for file in files:
            with file.open("ab") as new:
                os.posix_fallocate(new.fileno(), 0, _FILE_OCTETS)
    except OSError:
        for file in files:
            if file.exists() and not file.stat().st_size:  # the library cannot read those
                file.unlink()
        raise


def _pour(counts: Counts[str], into: Counter) -> None:
    for label, number in counts.items():
        into.labels(label).inc(number)
    counts.clear()


class _Buckets:
    """A histogram's counts between two flushes: ``observe`` itself would cost a file write for each value."""

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._histogram = histogram
        self._bounds = bounds
        self._numbers = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._numbers[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def flush(self) -> None:
        buckets: Iterable[tuple[int, int]] = [(place, n) for place, n in enumerate(self._numbers) if n]
        for place, number in buckets:
            self._histogram._buckets[place].inc(number)
        if self._sum:
            self._histogram._sum.inc(self._sum)
        self._numbers = [0] * len(self._numbers)
        self._sum = 0.0

"""The supervisor's eye on the metrics of all workers: what they wrote into the folder, added up.

Import only when ``PROMETHEUS_MULTIPROC_DIR`` is set: the library looks at it then.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_registry = CollectorRegistry()
_collector = MultiProcessCollector(_registry)  # type: ignore[no-untyped-call]
"""Kept here, for the registry alone would let it go."""


def collect() -> bytes:
    """The node's metrics in Prometheus's text format. OSError: they cannot be read now."""
    os.scandir(os.environ["PROMETHEUS_MULTIPROC_DIR"]).close()  # to the library a folder that does not open is empty
    return generate_latest(_registry)


def forget(pid: int) -> None:
    """That process is gone: its gauges go with it, its counters stay."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]

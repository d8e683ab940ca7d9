"""Counting in several processes, added up by one that counts nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COUNT = """
import os, sys
from sesrelay.runtime.metrics import WorkerMetrics
metrics = WorkerMetrics()
metrics.flush(0, 0)
for seconds in (0.004, 0.3, 99999.0):
    metrics.accepted(2)
    metrics.settled("delivered", seconds)
    metrics.settled("queued", seconds)
metrics.refused("suspended")
metrics.login_delayed()
metrics.connection_refused()
metrics.connection_refused()
metrics.committed(1)
metrics.committed(3)
metrics.queue({"waiting": 7, "held": 1})
metrics.flush(4, 0)
metrics.refused("suspended")
metrics.flush(4, 0)
print(os.getpid())
"""
COLLECT = """
import sys
from sesrelay.runtime.collected import collect, forget
for pid in sys.argv[1:]:
    forget(int(pid))
print(collect().decode())
"""


def run(folder: Path, script: str, *arguments: str) -> str:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def samples(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_counts_of_all_workers_are_added_up(tmp_path: Path) -> None:
    run(tmp_path, COUNT)
    run(tmp_path, COUNT)
    found = samples(run(tmp_path, COLLECT))
    assert found["sesrelay_messages_accepted_total"] == 6
    assert found['sesrelay_recipients_total{outcome="accepted"}'] == 12
    assert found['sesrelay_recipients_total{outcome="delivered"}'] == 6
    assert found['sesrelay_refusals_total{reason="suspended"}'] == 4
    assert found["sesrelay_logins_delayed_total"] == 2
    assert found["sesrelay_connections_refused_total"] == 4
    assert found["sesrelay_smtp_connections"] == 8
    assert found['sesrelay_queue_recipients{state="waiting"}'] == 7


def test_a_histogram_has_each_value_in_its_bucket(tmp_path: Path) -> None:
    run(tmp_path, COUNT)
    found = samples(run(tmp_path, COLLECT))
    bucket = 'sesrelay_delivery_seconds_bucket{{le="{}"}}'
    below = [found[bucket.format(bound)] for bound in ("0.01", "0.25", "0.5", "14400.0", "+Inf")]
    assert below == [1, 1, 2, 2, 3]
    assert found["sesrelay_delivery_seconds_count"] == 3
    assert found["sesrelay_delivery_seconds_sum"] == 0.004 + 0.3 + 99999.0
    assert found['sesrelay_commit_batch_size_bucket{le="1.0"}'] == 1
    assert found["sesrelay_commit_batch_size_count"] == 2


def test_a_dead_worker_keeps_its_counts_and_loses_its_sessions(tmp_path: Path) -> None:
    pid = run(tmp_path, COUNT)
    found = samples(run(tmp_path, COLLECT, pid))
    assert found["sesrelay_messages_accepted_total"] == 3
    assert "sesrelay_smtp_connections" not in found


def test_room_is_reserved_before_anything_is_counted(tmp_path: Path) -> None:
    run(tmp_path, COUNT)
    sizes = [(file.name.rpartition("_")[0], file.stat().st_size, file.stat().st_blocks) for file in tmp_path.iterdir()]
    assert sorted(kind for kind, _, _ in sizes) == ["counter", "gauge_livemostrecent", "gauge_livesum", "histogram"]
    assert {(size, blocks >= 128) for _, size, blocks in sizes} == {(65536, True)}


def test_a_worker_without_room_for_its_counts_works_all_the_same(tmp_path: Path) -> None:
    run(tmp_path, "import os; os.posix_fallocate = lambda *_: (_ for _ in ()).throw(OSError(28, 'no room'))\n" + COUNT)
    assert "sesrelay_messages_accepted_total" not in samples(run(tmp_path, COLLECT))

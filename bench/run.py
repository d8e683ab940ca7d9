"""Measures sesrelay against Postfix, by turns on the same machine, and prints what was promised beside what was seen.

bench/run.py                              everything, medians of five
bench/run.py --rows accept-50 --runs 3    one row
bench/run.py --only postfix --seconds 3   one server, a quick look
bench/run.py --floor                      beside them what only answers constants
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import Load, Sink, let_disk_settle, resident_octets
from bench.servers import Floor, MissingError, Postfix, Server, Sesrelay

DEFAULT_CACHE = Path("/var/tmp/sesrelay-bench")  # on a disk, and open to the user that Postfix runs as


@dataclass(frozen=True)
class Row:
    """A line of the promise: a load, the least rate and the most server CPU, both against Postfix."""

    name: str
    title: str
    rate: float
    cpu: float
    connections: int = 50
    size: int = 2048
    relay: bool = False
    messages_per_connection: int = 0
    share: float = 1.0
    """Of the usual seconds of sending: big messages fill the disk."""


ROWS = (
    Row("accept-50", "accept, 50 connections, 2 KB", 5, 0.15),
    Row("accept-10", "accept, 10 connections, 2 KB", 4, 0.2, connections=10),
    Row("accept-1", "accept, 1 connection, 2 KB", 1.6, 0.45, connections=1),
    Row("new-connection", "accept, 50 clients, new connection per message", 2.3, 0.33, messages_per_connection=1),
    Row("relay-50", "relay, 50 connections, 2 KB, no DKIM", 8, 0.10, relay=True),
    Row("accept-100k", "accept, 50 connections, 100 KB", 4, 0.2, size=100 * 1024),
    Row("accept-1m", "accept, 50 connections, 1 MB", 2, 0.35, size=1024 * 1024, share=0.5),
)
MEMORY_ROWS = ("idle-session", "start-memory")
IDLE_SESSIONS = 2000
IDLE_SESSION_KIB, START_MEGABYTES = 45, 90


@dataclass(frozen=True)
class Run:
    """One run of one server; times in seconds and milliseconds, CPU of the server's processes."""

    messages: int
    rate: float
    cpu_ms_per_message: float
    p50_ms: float
    p99_ms: float
    delay_p50_ms: float
    delay_p99_ms: float
    harness_share: float
    errors: dict[str, int]
    missing: int


def one_run(row: Row, server: Server, sink: Sink | None, seconds: float) -> Run:
    """Connects, lets the generator send, waits until everything has arrived where the row says."""
    options: dict[str, Any] = {"connections": row.connections, "size": row.size, "seconds": seconds}
    if row.messages_per_connection:
        options["messages_per_connection"] = row.messages_per_connection
    load = Load(server.port, server.user, server.password, **options)
    if sink:
        sink.reset()
    sink_cpu = sink.statistics()["cpu_seconds"] if sink else 0.0
    cpu = server.group.cpu_seconds()
    sent = load.go()
    arrived = sink.wait_for(sent["accepted"]) if sink else None
    time.sleep(0.5)  # for what the server does after its last answer
    cpu = server.group.cpu_seconds() - cpu
    harness = sent["cpu_seconds"] + (arrived["cpu_seconds"] - sink_cpu if arrived else 0)
    messages = arrived["unique"] if arrived else sent["accepted"]
    end_ns = arrived["last_ns"] if arrived else sent["last_ns"]
    return Run(
        messages=messages,
        rate=messages / (end_ns - sent["first_ns"]) * 1e9,
        cpu_ms_per_message=cpu / messages * 1000,
        p50_ms=sent["p50_ms"],
        p99_ms=sent["p99_ms"],
        delay_p50_ms=arrived["delay_p50_ms"] if arrived else 0.0,
        delay_p99_ms=arrived["delay_p99_ms"] if arrived else 0.0,
        harness_share=harness / cpu,
        errors=sent["errors"],
        missing=sent["accepted"] - messages,
    )


def measure_row(row: Row, servers: list[Server], folder: Path, runs: int, seconds: float) -> dict[str, list[Run]]:
    """Runs by turns, after a short one each that does not count."""
    results: dict[str, list[Run]] = {server.name: [] for server in servers}
    sink = Sink() if row.relay else None
    started: list[Server] = []
    try:
        for server in servers:
            server.start(folder / f"{row.name}-{server.name}", next_hop=sink.port if sink else None)
            started.append(server)
            one_run(row, server, sink, min(2.0, seconds))
        for number in range(runs):
            for server in servers:
                let_disk_settle()
                run = one_run(row, server, sink, seconds * row.share)
                results[server.name].append(run)
                say_run(row, server, number, run)
    finally:
        for server in started:
            server.stop()
        if sink:
            sink.close()
    return results


def say_run(row: Row, server: Server, number: int, run: Run) -> None:
    """A line while it works."""
    parts = [
        f"{row.name} {server.name} #{number + 1}: {run.rate:.1f}/s, server CPU {run.cpu_ms_per_message:.3f} ms each",
        f"p50 {run.p50_ms:.2f} ms, p99 {run.p99_ms:.2f} ms, harness {run.harness_share:.0%} of the server's CPU",
    ]
    if row.relay:
        parts.append(f"delivery p50 {run.delay_p50_ms:.1f} ms, p99 {run.delay_p99_ms:.1f} ms")
    if run.missing:
        parts.append(f"MISSING {run.missing}")
    if run.errors:
        parts.append(f"refused {run.errors}")
    print("  " + "; ".join(parts), file=sys.stderr, flush=True)


def measure_idle_session(server: Sesrelay, folder: Path) -> float:
    """KiB that an idle, logged-in TLS session adds to the server's processes."""
    server.start(folder / "idle-session", next_hop=None)
    try:
        Load(server.port, server.user, server.password, connections=10, count=1).hang_up()
        time.sleep(1)
        before = sum(server.group.memory_octets().values())
        load = Load(server.port, server.user, server.password, connections=IDLE_SESSIONS, count=1)
        time.sleep(1)
        after = sum(server.group.memory_octets().values())
        load.hang_up()
    finally:
        server.stop()
    return (after - before) / IDLE_SESSIONS / 1024


def measure_start_memory(server: Sesrelay, folder: Path) -> float:
    """MB resident of the largest process, three seconds after the start."""
    server.start(folder / "start-memory", next_hop=None)
    try:
        time.sleep(3)
        return max(resident_octets(pid) for pid in server.group.pids()) / 1e6
    finally:
        server.stop()


def judge(row: Row, results: dict[str, list[Run]]) -> dict[str, Any]:
    """The medians, and both promises against what was seen."""
    summary: dict[str, Any] = {"title": row.title, "promised_rate": row.rate, "promised_cpu": row.cpu}
    for name, runs in results.items():
        for field in ("rate", "cpu_ms_per_message", "p50_ms", "p99_ms", "harness_share"):
            summary[f"{name}_{field}"] = statistics.median(getattr(run, field) for run in runs)
    if {"postfix", "sesrelay"} <= results.keys():
        summary["rate_ratio"] = summary["sesrelay_rate"] / summary["postfix_rate"]
        summary["cpu_ratio"] = summary["sesrelay_cpu_ms_per_message"] / summary["postfix_cpu_ms_per_message"]
        summary["kept"] = summary["rate_ratio"] >= row.rate and summary["cpu_ratio"] <= row.cpu
    return summary


def table(summaries: list[dict[str, Any]]) -> str:
    """Markdown, as it goes into docs/measurements.md."""
    lines = [
        "| load | Postfix /s | sesrelay /s | ratio (promise) | Postfix CPU ms | sesrelay CPU ms | ratio (promise) | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for s in summaries:
        if "value" in s:
            lines.append(
                f"| {s['title']} | | {s['value']:.1f} {s['unit']} (≤ {s['promised']}) | | | | | {verdict(s['kept'])} |"
            )
            continue
        cells = [
            s["title"],
            number(s, "postfix_rate", 0),
            number(s, "sesrelay_rate", 0),
            f"{number(s, 'rate_ratio', 2)}× (≥ {s['promised_rate']:g})",
            number(s, "postfix_cpu_ms_per_message", 3),
            number(s, "sesrelay_cpu_ms_per_message", 3),
            f"{number(s, 'cpu_ratio', 3)} (≤ {s['promised_cpu']:g})",
            verdict(s.get("kept")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def floor_lines(summaries: list[dict[str, Any]]) -> str:
    """What answering constants takes, where it was measured: below that no server on this loop comes."""
    lines = []
    for s in summaries:
        if "floor_rate" in s:
            cpu = s["floor_cpu_ms_per_message"]
            line = f"{s['title']}: answering constants {s['floor_rate']:.0f}/s, {cpu:.3f} ms CPU"
            if "postfix_rate" in s:
                line += f", {cpu / s['postfix_cpu_ms_per_message']:.3f} of Postfix's"
            lines.append(line)
    return "\n".join(lines)


def number(summary: dict[str, Any], key: str, places: int) -> str:
    """A figure, or a dash where it was not measured."""
    return f"{summary[key]:.{places}f}" if key in summary else "–"


def verdict(kept: bool | None) -> str:
    """For the last column."""
    return "" if kept is None else "pass" if kept else "MISS"


def arguments() -> argparse.Namespace:
    """The command line."""
    names = [*(row.name for row in ROWS), *MEMORY_ROWS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8, help="of sending, in each run")
    parser.add_argument("--floor", action="store_true", help="also what answers constants (accepting rows)")
    parser.add_argument("--only", choices=["postfix", "sesrelay"])
    parser.add_argument(
        "--cache", type=Path, default=DEFAULT_CACHE, help="Postfix and all data; on a disk (%(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    """Measures the rows asked for; status 1 when a promise was not kept."""
    options = arguments()
    subprocess.run([Path(__file__).parent / "build"], check=True)
    folder = data_folder(options.cache)
    servers: list[Server] = []
    sesrelay = Sesrelay(options.cache) if options.only != "postfix" else None
    try:
        if options.only != "sesrelay":
            servers.append(Postfix(options.cache))
        if sesrelay:
            servers.append(sesrelay)
        if options.floor:
            servers.append(Floor(options.cache))
        summaries, raw = measure_all(options, servers, sesrelay, folder)
    except MissingError as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    finally:
        for server in servers:
            server.group.close()
    report = options.cache / f"result-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    report.write_text(json.dumps({"summaries": summaries, "runs": raw}, indent=1))
    print(table(summaries))
    print(floor_lines(summaries))
    print(f"\nevery run: {report}")
    shutil.rmtree(folder)
    return 0 if all(summary.get("kept") is not False for summary in summaries) else 1


def data_folder(cache: Path) -> Path:
    """A new folder for what the servers write; nothing in it goes before the end.

    ext4 does not give out the inodes of removed files for a minute, and searches long for others meanwhile.
    """
    cache.mkdir(parents=True, exist_ok=True)
    for left_over in cache.glob("data-*"):
        print(f"removing {left_over}: the first figures may suffer from it", file=sys.stderr)
        shutil.rmtree(left_over)
    folder = cache / f"data-{os.getpid()}"
    folder.mkdir()
    return folder


def measure_all(
    options: argparse.Namespace, servers: list[Server], sesrelay: Sesrelay | None, folder: Path
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows in the order of the promise; the memory rows are sesrelay's alone."""
    summaries: list[dict[str, Any]] = []
    raw: dict[str, Any] = {}
    for row in ROWS:
        if row.name in options.rows:
            able = [server for server in servers if not (row.relay and isinstance(server, Floor))]
            results = measure_row(row, able, folder, options.runs, options.seconds)
            raw[row.name] = {name: [asdict(run) for run in runs] for name, runs in results.items()}
            summaries.append(judge(row, results))
    if sesrelay and "idle-session" in options.rows:
        summaries.append(bound("idle TLS session", measure_idle_session(sesrelay, folder), "KiB", IDLE_SESSION_KIB))
    if sesrelay and "start-memory" in options.rows:
        summaries.append(bound("process at start", measure_start_memory(sesrelay, folder), "MB", START_MEGABYTES))
    return summaries, raw


def bound(title: str, value: float, unit: str, promised: float) -> dict[str, Any]:
    """A row without a peer."""
    return {"title": title, "value": value, "unit": unit, "promised": promised, "kept": value <= promised}

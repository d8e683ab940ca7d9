"""Measures this sesrelay against another one: an older commit in a folder of its own, or another Python.

python -m bench.against ../before                                        accept, 50 connections, 20 turns of a second
python -m bench.against ../before --row new-connection --turns 40
python -m bench.against . --python /usr/bin/python3                      the other one is run by that interpreter
python -m bench.against ../before --databases postgresql://…/a postgresql://…/b

Both servers are up all the time, and short loads take turns: what the machine does besides meets both, and the ratio
within each turn shows differences of a few per cent that two long runs would not.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Sink
from bench.run import DEFAULT_CACHE, ROWS, Row, Run, data_folder, one_run
from bench.servers import HERE, Sesrelay

WARM_SECONDS = 0.5


@dataclass(frozen=True)
class Side:
    """One of the two."""

    label: str
    server: Sesrelay
    sink: Sink | None


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the folder with the other sesrelay")
    parser.add_argument("--python", default="", help="the interpreter of the other (this one)")
    parser.add_argument("--row", choices=[row.name for row in ROWS], default="accept-50", metavar="ROW")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1, help="of sending, in each turn")
    parser.add_argument("--databases", nargs=2, default=["", ""], metavar="URL", help="empty ones: the other's, ours")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    return parser.parse_args()


def main() -> None:
    """Prints medians of both, and of the ratios within each turn."""
    options = arguments()
    subprocess.run([Path(__file__).parent / "build"], check=True)
    row = next(row for row in ROWS if row.name == options.row)
    folder = data_folder(options.cache)
    trees = {"other": options.other.resolve(), "this": HERE}
    pythons = {"other": options.python, "this": ""}
    sides: list[Side] = []
    try:
        for (label, tree), database in zip(trees.items(), options.databases, strict=True):
            server = Sesrelay(options.cache, label=f"-{label}", tree=tree, python=pythons[label], database=database)
            sides.append(Side(label, server, Sink() if row.relay else None))
            start(sides[-1], folder / label, row)
        other, this = take_turns(sides, row, options.turns, options.seconds)
    finally:
        for side in sides:
            side.server.stop()
            side.server.group.close()
            if side.sink:
                side.sink.close()
    shutil.rmtree(folder)
    say("other", other)
    say("this", this)
    rate = statistics.median(mine.rate / its.rate for mine, its in zip(this, other, strict=True))
    cpu = statistics.median(
        mine.cpu_ms_per_message / its.cpu_ms_per_message for mine, its in zip(this, other, strict=True)
    )
    print(f"this / other, median of {options.turns} turns of {options.row}: rate {rate:.3f}, server CPU {cpu:.3f}")


def start(side: Side, folder: Path, row: Row) -> None:
    """Up, and past what only the first messages cost."""
    folder.mkdir()
    side.server.start(folder, next_hop=side.sink.port if side.sink else None)
    one_run(row, side.server, side.sink, WARM_SECONDS)


def take_turns(sides: list[Side], row: Row, turns: int, seconds: float) -> list[list[Run]]:
    """The runs of each side; who begins a turn changes."""
    runs: dict[str, list[Run]] = {side.label: [] for side in sides}
    for turn in range(turns):
        for side in sides if turn % 2 == 0 else reversed(sides):
            runs[side.label].append(one_run(row, side.server, side.sink, seconds))
    return [runs[side.label] for side in sides]


def say(label: str, runs: list[Run]) -> None:
    """One side in one line."""
    rate = statistics.median(run.rate for run in runs)
    cpu = statistics.median(run.cpu_ms_per_message for run in runs)
    errors = sum(sum(run.errors.values()) for run in runs)
    print(f"{label}: {rate:.0f}/s, server CPU {cpu:.3f} ms each, errors {errors}")


if __name__ == "__main__":
    main()

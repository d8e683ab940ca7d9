"""What the supervisor has to know of a configuration, read and checked by a process of its own.

So the supervisor never loads the libraries that read configuration, and after an upgrade a reload is judged
by the new program. ``python -m sesrelay.runtime.plan FILE`` prints the plan, or every fault, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sesrelay.model.clock import Clock
from sesrelay.runtime.processes import run

CHECK_SECONDS: Final = 60
"""A check that has no result by then is given up."""


class PlanFault(Exception):  # noqa: N818 - its lines are for people
    """The configuration is not fit to start on: every fault as a line; ``passing``: it could not be checked."""

    def __init__(self, lines: list[str], *, passing: bool = False) -> None:
        super().__init__("\n".join(lines))
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Door:
    """A place to listen on. ``name`` is ``smtp-0``, ``smtp-1`` … in the order of the file, ``http``, ``metrics``."""

    name: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked configuration as the supervisor sees it."""

    data_dir: Path
    workers: int
    doors: tuple[Door, ...]
    """Where workers listen."""
    metrics: Door
    drain_seconds: float
    settings: dict[str, Any]
    """All of it, for the workers."""


async def read(config: Path, clock: Clock) -> Plan:
    """Has the file checked and returns its plan. Raises PlanFault, OSError."""
    command = [sys.executable, "-m", "sesrelay.runtime.plan", str(config)]
    status, output = await run(command, clock, seconds=CHECK_SECONDS)
    try:
        answer = json.loads(output)
    except ValueError:
        end = f"took longer than {CHECK_SECONDS} seconds" if status is None else f"ended with {status}"
        raise PlanFault([f"{config}: the check of the configuration {end}"], passing=True) from None
    if "faults" in answer:
        raise PlanFault(answer["faults"])
    return Plan(
        data_dir=Path(answer["data_dir"]),
        workers=answer["workers"],
        doors=tuple(Door(**door) for door in answer["doors"]),
        metrics=Door(**answer["metrics"]),
        drain_seconds=answer["drain_seconds"],
        settings=answer["settings"],
    )


def _answer(config: Path) -> dict[str, Any]:
    from sesrelay.configuration import BadConfiguration, check, load

    try:
        settings = load(config, os.environ)
        check(settings, config)
    except BadConfiguration as error:
        return {"faults": [str(fault) for fault in error.faults]}
    doors = [
        {"name": f"smtp-{number}", "address": listener.address, "port": listener.port}
        for number, listener in enumerate(settings.listeners)
    ]
    doors.append({"name": "http", "address": settings.http.address, "port": settings.http.port})
    return {
        "data_dir": str(settings.data_dir),
        "workers": len(os.sched_getaffinity(0)) if settings.workers == "auto" else settings.workers,
        "doors": doors,
        "metrics": {"name": "metrics", "address": settings.metrics.address, "port": settings.metrics.port},
        "drain_seconds": settings.drain_seconds,
        "settings": settings.model_dump(mode="json"),
    }


if __name__ == "__main__":
    json.dump(_answer(Path(sys.argv[1])), sys.stdout)

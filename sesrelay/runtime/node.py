"""The data folder belongs to one running relay: its lock, its name, and what it tells those outside.

The lock is inherited by the workers, so it is free only when the last of them is gone: a new supervisor can
never take claims from workers of a dead one that are still finishing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - what is made there is private and its owner is looked at


class NodeFault(Exception):  # noqa: N818 - its text is for people
    """Why no relay can run on this folder, in one line."""


class NodeBusy(NodeFault):
    """Another relay runs on this folder, or its last workers are still finishing (``pid`` 0)."""

    def __init__(self, data_dir: Path, pid: int) -> None:
        who = f"process {pid}" if pid else "the workers of one that was killed"
        super().__init__(f"another relay runs on the data folder {data_dir} ({who})")
        self.pid = pid


def run_folder(data_dir: Path) -> Path:
    """Where the running relay keeps what dies with it."""
    return data_dir / "run"


def metrics_folder(data_dir: Path, runtime_directory: str, memory: Path = MEMORY) -> Path:
    """An empty private folder for the counts of this run, in memory where there is such a place; it is made anew.

    Counts are written through memory maps, and those of a full disk are a SIGBUS: systemd's ``runtime_directory``
    (``$RUNTIME_DIRECTORY``, "" without one) comes first, then /dev/shm. OSError.
    """
    own = f"sesrelay-{hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]}"
    given = runtime_directory.partition(":")[0]
    for folder in (*([Path(given) / own] if given else []), memory / own):
        with contextlib.suppress(OSError):
            return _made_anew(folder)
    return _made_anew(run_folder(data_dir) / "metrics")


def _made_anew(folder: Path) -> Path:
    """OSError: also when something of that name is somebody else's, which in a folder for all is no accident."""
    with contextlib.suppress(FileNotFoundError):
        found = folder.lstat()
        if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
            raise PermissionError(f"{folder} is not ours")
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    return folder


def lock(data_dir: Path) -> int:
    """Takes the folder for this process; returns the descriptor that holds it. Raises NodeFault."""
    if not data_dir.is_dir():
        raise NodeFault(f"the data folder {data_dir} does not exist (sesrelay init --data makes one)")
    try:
        run_folder(data_dir).mkdir(mode=0o700, exist_ok=True)
        fd = os.open(run_folder(data_dir) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NodeFault(f"the data folder {data_dir} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _written_pid(fd)
        os.close(fd)
        raise NodeBusy(data_dir, pid if _lives(pid) else 0) from None
    os.truncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _written_pid(fd: int) -> int:
    text = os.pread(fd, 20, 0).strip()
    return int(text) if text.isdigit() else 0


def _lives(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()


def name(data_dir: Path, chance: Callable[[int], bytes]) -> str:
    """This node's name: the host's name and chance, kept with the data.

    A folder that was copied to another host (a second node of a cluster) gets a name of its own there: nodes of one
    name would take each other's claims for those of their dead.
    """
    file = data_dir / "node"
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:24] or "node"
    kept = file.read_text().strip() if file.exists() else ""
    if kept.rpartition("-")[0] == host:
        return kept
    made = f"{host}-{chance(3).hex()}"
    file.write_text(made + "\n")
    return made


def tell_ports(data_dir: Path, ports: dict[str, Any]) -> None:
    """Writes ``run/ports.json``: where each listener really listens (for ports chosen by the system)."""
    file = run_folder(data_dir) / "ports.json"
    new = file.with_suffix(".new")
    new.write_text(json.dumps(ports, indent=1) + "\n")
    new.replace(file)

"""What a run costs: processor time of whole process trees, memory, and a disk that has come to rest."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
BIN = Path(__file__).parent / "bin"


class ProcessGroup:
    """The processes of one server, those that have ended included: a cgroup where we may make one, else /proc."""

    def __init__(self, name: str) -> None:
        self.root_pid = 0
        self.folder = self._make_cgroup(f"sesrelay-bench-{os.getpid()}-{name}")

    @staticmethod
    def _make_cgroup(name: str) -> Path | None:
        version_2 = (CGROUP / "cgroup.controllers").exists()
        folder = (CGROUP if version_2 else CGROUP / "cpuacct") / name
        try:
            folder.mkdir()
        except OSError:
            return None
        return folder

    def command(self, arguments: Sequence[object]) -> list[str]:
        """The command that starts a program as the group's first process."""
        plain = [str(argument) for argument in arguments]
        return (
            ["sh", "-c", 'echo 0 >"$0" && exec "$@"', str(self.folder / "cgroup.procs"), *plain]
            if self.folder
            else plain
        )

    def cpu_seconds(self) -> float:
        """User and system time so far, of ended processes too."""
        if self.folder is None:
            return sum(_process_seconds(pid) for pid in self.pids())
        usage = self.folder / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        fields = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        return int(fields["usage_usec"]) / 1e6

    def pids(self) -> list[int]:
        """The living processes."""
        if self.folder:
            return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()]
        return _descendants(self.root_pid)

    def memory_octets(self) -> dict[int, int]:
        """Proportional set size of each living process."""
        return {pid: _proportional_octets(pid) for pid in self.pids()}

    def close(self) -> None:
        """Removes the empty cgroup."""
        for _ in range(50):
            try:
                if self.folder:
                    self.folder.rmdir()
            except OSError:
                time.sleep(0.1)
            else:
                return


def _process_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0
    return sum(int(field) for field in fields[11:15]) / CLOCK_TICKS  # utime stime cutime cstime


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _proportional_octets(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def resident_octets(pid: int) -> int:
    """Resident set size of a process, shared pages counted in full."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:")), 0)


def let_disk_settle(longest_seconds: float = 60) -> None:
    """Writes everything out and waits until the disks stand still: freed blocks are discarded long after an unlink."""
    os.sync()
    end = time.monotonic() + longest_seconds
    quiet, before = 0, _disk_activity()
    while quiet < 4 and time.monotonic() < end:
        time.sleep(0.25)
        now = _disk_activity()
        quiet = quiet + 1 if now == before else 0
        before = now


def _disk_activity() -> tuple[int, ...]:
    """Octets and operations under way or done, of writes and discards, of all disks together."""
    lines = [line.split() for line in Path("/proc/diskstats").read_text().splitlines()]
    columns = (7, 11, 14)  # writes done, in flight, discards done
    return tuple(sum(int(line[c]) for line in lines if len(line) > c) for c in columns)


def free_port() -> int:
    """A TCP port nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Sink:
    """The next hop, running."""

    def __init__(self, *, silent: bool = False) -> None:
        self.port = free_port()
        arguments = [str(BIN / "sink"), *(["--silent"] if silent else []), f"127.0.0.1:{self.port}"]
        self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        assert self._process.stdout.readline() == "listening\n"

    def _ask(self, command: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port)) as connection, connection.makefile("rwb") as lines:
            lines.readline()
            lines.write(command.encode() + b"\r\nQUIT\r\n")
            lines.flush()
            return lines.readline().decode()[4:]

    def reset(self) -> None:
        """Counts anew."""
        self._ask("XRESET")

    def statistics(self) -> dict[str, Any]:
        """Its counters; delays in milliseconds, times in nanoseconds of CLOCK_MONOTONIC."""
        answer: dict[str, Any] = json.loads(self._ask("XSTAT"))
        return answer

    def wait_for(self, messages: int, longest_seconds: float = 300) -> dict[str, Any]:
        """Its counters when so many different messages have come, or when nothing new came for 20 seconds."""
        end = time.monotonic() + longest_seconds
        seen, seen_at = 0, time.monotonic()
        while True:
            answer = self.statistics()
            if answer["unique"] > seen:
                seen, seen_at = answer["unique"], time.monotonic()
            if seen >= messages or time.monotonic() > min(end, seen_at + 20):
                return answer
            time.sleep(0.1)

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


class Load:
    """The generator: connects at once, sends from `go` on."""

    def __init__(self, port: int, user: str, password: str, **options: object) -> None:
        """Options are the generator's, with underscores; True for those without a value."""
        arguments: list[str] = [str(BIN / "load"), "--gate", "--connect", f"127.0.0.1:{port}"]
        arguments += ["--user", user, "--password", password]
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            arguments += [] if value in (None, False) else [flag] if value is True else [flag, str(value)]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the generator could not connect all its connections")

    def go(self) -> dict[str, Any]:
        """Sends, and gives what it measured."""
        output, _ = self._process.communicate("\n")
        answer: dict[str, Any] = json.loads(output)
        return answer

    def hang_up(self) -> None:
        """Ends without having sent anything."""
        self._process.communicate("")

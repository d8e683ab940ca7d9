"""A whole relay as its users have it: set up by ``sesrelay init``, run by ``sesrelay serve``, asked by its commands.

Each has a folder and ports of its own. Nothing is imported from the package: this is the outside.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml

from tests.standins.systemd import activated

SERVICE_DOMAIN = "relay.example.net"
REGION = "us-east-1"
ENDPOINT = f"email-smtp.{REGION}.{SERVICE_DOMAIN}"
DOMAIN = "sender.example"
"""A verified domain of the account: any address in it may send."""

READY_SECONDS = 60
STOP_SECONDS = 30


_kept: list[socket.socket] = []
"""On every port that this process was given."""


def free_port() -> int:
    """A TCP port that nobody has and nobody else is given, not even by another process of tests, as long as this one
    lives; whoever wants it for reuse, as servers do, can listen there. Below the ephemeral ones, so that no outgoing
    connection takes it.
    """
    while True:
        port, sock = random.randrange(10_000, 32_000), socket.socket()
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            sock.close()
            continue
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):  # only now: it is not to be shared by another like it
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        _kept.append(sock)
        return port


class CommandFailed(AssertionError):  # noqa: N818 - the command's, not ours
    """``sesrelay …`` ended with another status than 0."""


def _documents(text: str) -> Iterator[Any]:
    """The JSON documents that stand in ``text`` one after the other."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:]


class RelayStandIn:
    """``with RelayStandIn(folder, next_hop=port) as relay:`` an account in production; all mail goes to that port."""

    def __init__(
        self,
        folder: Path,
        *,
        next_hop: int,
        database: str = "sqlite",
        workers: int = 2,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        systemd: bool = False,
    ) -> None:
        """``settings``: top-level keys over those that are set here; ``environment``: of ``serve``, over ours;
        ``systemd``: the SMTP ports are opened here and passed to each ``serve``."""
        self.folder = folder
        self.starttls_port = free_port()
        self.tls_port = free_port()
        self.log = folder / "serve.log"
        self._arguments = [sys.executable, "-m", "sesrelay"]
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        ports = (self.starttls_port, self.tls_port) if systemd else ()
        self._sockets = [socket.create_server(("127.0.0.1", port), backlog=4096) for port in ports]
        data = folder / "data"
        made = self.command("init", "--data", str(data), "--service-domain", SERVICE_DOMAIN, "--database", database)
        self.ca = Path(made["ca_certificate"])
        self.user_name: str = made["credentials"]["smtp_user_name"]
        self.password: str = made["credentials"]["smtp_password"]
        self.config = Path(made["config"])
        self._configure(self.config, next_hop, workers, settings or {})
        self._arguments += ["--config", made["config"]]
        self.commands(
            [
                ["account", "production", "on"],
                ["limits", "set", "--quota", "-1", "--rate", "1000000"],
                ["identity", "add", DOMAIN, "--verified"],
            ]
        )

    def _configure(self, path: Path, next_hop: int, workers: int, settings: Mapping[str, Any]) -> None:
        """What ``init`` wrote, with ports of our own, and one next hop for all mail."""
        configuration: dict[str, Any] = yaml.safe_load(path.read_text())
        configuration |= {
            "workers": workers,
            "listeners": [
                {"address": "127.0.0.1", "port": self.starttls_port, "mode": "starttls", "region": REGION},
                {"address": "127.0.0.1", "port": self.tls_port, "mode": "tls", "region": REGION},
            ],
            "delivery": {"routes": [{"domain": "*", "via": f"smtp://127.0.0.1:{next_hop}"}]},
            **{name: {"address": "127.0.0.1", "port": free_port()} for name in ("http", "metrics", "feedback")},
            **settings,
        }
        path.write_text(yaml.safe_dump(configuration))

    def command(self, *arguments: str) -> Any:
        """What ``sesrelay … --json`` prints. CommandFailed with what it says on stderr."""
        ended = self.run(*arguments, "--json")
        if ended.returncode != 0:
            raise CommandFailed(f"sesrelay {' '.join(arguments)}: status {ended.returncode}: {ended.stderr.strip()}")
        return json.loads(ended.stdout)

    def commands(self, each: Iterable[Sequence[str]]) -> list[Any]:
        """As ``command`` for many, in one process: starting it is most of what a command costs."""
        program = (
            "import json, sys; from sesrelay.fronts.cli.main import run\n"
            "for line in sys.stdin:\n"
            "    assert run(json.loads(line)) == 0, line"
        )
        options = self._arguments[3:]
        lines = "".join(json.dumps([*options, *arguments, "--json"]) + "\n" for arguments in each)
        ended = subprocess.run(
            [sys.executable, "-c", program], input=lines, capture_output=True, text=True, check=False
        )
        if ended.returncode != 0:
            raise CommandFailed(ended.stderr)
        return list(_documents(ended.stdout))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``sesrelay …``, however it ends."""
        return subprocess.run([*self._arguments, *arguments], capture_output=True, text=True, check=False)

    def start(self) -> Self:
        """``sesrelay serve``; returns when it says that it is ready."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                activated(self._sockets, [*self._arguments[1:], "serve"])
                if self._sockets
                else [*self._arguments, "serve"],
                pass_fds=[sock.fileno() for sock in self._sockets],
                stdin=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                env=self._environment,
            )
        deadline = time.monotonic() + READY_SECONDS
        while b"ready" not in self._log_since(begin).splitlines():
            assert self._process.poll() is None, f"serve ended: {self._log_since(begin).decode()}"
            assert time.monotonic() < deadline, f"serve is not ready: {self._log_since(begin).decode()}"
            time.sleep(0.05)
        return self

    def reload(self) -> None:
        """SIGHUP; returns when the new workers have taken over."""
        assert self._process is not None
        begin = self.log.stat().st_size
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + READY_SECONDS
        while b'"event": "reloaded"' not in (said := self._log_since(begin)):
            assert b"reload refused" not in said, said.decode()
            assert time.monotonic() < deadline, f"serve has not reloaded: {said.decode()}"
            time.sleep(0.05)

    def reconfigure(self, **settings: Any) -> None:
        """Changes top-level settings in the file; ``reload`` makes them count."""
        self.config.write_text(yaml.safe_dump(yaml.safe_load(self.config.read_text()) | settings))

    def _log_since(self, begin: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(begin)
            return log.read()

    @property
    def running(self) -> bool:
        """Whether ``serve`` (its supervisor) lives."""
        return self._process is not None and self._process.poll() is None

    def workers(self) -> list[psutil.Process]:
        """The processes below the supervisor."""
        assert self._process is not None
        return psutil.Process(self._process.pid).children(recursive=True)

    def kill_everything(self) -> None:
        """The power fails, as far as processes can tell: SIGKILL for the supervisor and all workers at once."""
        assert self._process is not None
        supervisor = psutil.Process(self._process.pid)
        supervisor.suspend()  # or it would replace a worker while we are at it
        family = [supervisor, *supervisor.children(recursive=True)]
        for process in family:
            process.kill()
        psutil.wait_procs(family[1:], timeout=10)
        self._process.wait(timeout=10)

    def kill_supervisor(self) -> None:
        """SIGKILL for it alone; its workers find out by themselves."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)

    def stop(self) -> int:
        """SIGTERM: it drains. Its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=STOP_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the relay's log ends:\n{self._log_since(0)[-4000:].decode(errors='replace')}")
        if self.running:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill_everything()
                raise
        for sock in self._sockets:
            sock.close()

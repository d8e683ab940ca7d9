"""A relay in real processes for tests: ``init`` once for all of them, then a copy of its folder for each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from sesrelay.runtime import node

SENDER = "first@sesrelay.localhost"
SIMULATOR = "success@simulator.amazonses.com"
PATIENCE = 60.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """What ``condition`` gives once it is true."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)
    return found


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "sesrelay", *arguments], capture_output=True, text=True, check=False)


class Template:
    """A data folder as ``init`` makes it, with ports chosen by the system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        done = program("init", "--data", str(folder), "--json")
        assert done.returncode == 0, done.stderr
        credentials = json.loads(done.stdout)["credentials"]
        self.user_name, self.password = credentials["smtp_user_name"], credentials["smtp_password"]
        config = folder / "sesrelay.yaml"
        settings = yaml.safe_load(config.read_text())
        settings |= {
            "workers": 2,
            "listeners": [
                {"address": "127.0.0.1", "port": 0, "mode": "starttls"},
                {"address": "127.0.0.1", "port": 0, "mode": "tls"},
            ],
            "drain_seconds": 10,
            **{name: {"address": "127.0.0.1", "port": 0} for name in ("http", "metrics", "feedback")},
        }
        config.write_text(yaml.safe_dump(settings))
        for command in (["account", "production", "on"], ["limits", "set", "--quota", "-1", "--rate", "100000"]):
            done = program("--config", str(config), *command)
            assert done.returncode == 0, done.stderr


class House:
    """A copy of the template, and ``serve`` on it."""

    def __init__(self, template: Template, folder: Path) -> None:
        self.data = folder / "data"
        shutil.copytree(template.folder, self.data)
        self.config = self.data / "sesrelay.yaml"
        self.user_name, self.password = template.user_name, template.password
        self.errors = folder / "stderr"
        self.process: subprocess.Popen[bytes] | None = None
        self._sessions: list[smtplib.SMTP] = []

    def settle(self, **settings: Any) -> None:
        """Changes top-level settings in the file."""
        self.config.write_text(yaml.safe_dump(yaml.safe_load(self.config.read_text()) | settings))

    def begin(self, environment: Mapping[str, str] | None = None, **more: Any) -> subprocess.Popen[bytes]:
        """``serve``, without waiting for anything."""
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sesrelay", "--config", str(self.config), "serve"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                **more,
            )
        return self.process

    def start(self, environment: Mapping[str, str] | None = None, **more: Any) -> None:
        """``serve``, until it is ready."""
        process = self.begin(environment, **more)
        until(lambda: "ready" in self.said() or process.poll() is not None, "ready")
        assert process.poll() is None, self.errors.read_text()

    def refused(self) -> list[str]:
        """``serve`` that cannot start: what it said."""
        assert self.begin().wait(PATIENCE) == 2, self.errors.read_text()
        assert self.family() == []
        return self.said()

    def said(self) -> list[str]:
        """The lines on stderr so far, but one that is being written."""
        whole, end, _ = self.errors.read_bytes().rpartition(b"\n")
        return (whole + end).decode().splitlines()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of that event."""
        found = [json.loads(line) for line in self.said() if line.startswith("{")]
        return [line for line in found if line["event"] == name]

    def family(self) -> list[psutil.Process]:
        """All living processes on this folder."""
        mine = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = process.info["cmdline"] or []
            if process.info["status"] == psutil.STATUS_ZOMBIE or "sesrelay.runtime" not in " ".join(line):
                continue
            try:
                if str(self.config) in line or any(str(self.data) in file.path for file in process.open_files()):
                    mine.append(process)
            except psutil.Error:
                continue
        return mine

    def workers(self) -> list[psutil.Process]:
        """The supervisor's children, but those that end while we look."""
        assert self.process
        return [child for child in psutil.Process(self.process.pid).children() if _is_worker(child)]

    def kill(self, *processes: psutil.Process) -> None:
        """SIGKILL; those that have just ended by themselves are no trouble."""
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def reload(self) -> None:
        """SIGHUP, until the new workers have taken over and the old ones are gone: these may have clients yet whom they
        tell to come again when they are slow, as on a busy machine.
        """
        assert self.process
        before, times = {worker.pid for worker in self.workers()}, len(self.events("reloaded"))
        self.process.send_signal(signal.SIGHUP)
        until(lambda: len(self.events("reloaded")) > times, "reloaded")
        until(lambda: before.isdisjoint({worker.pid for worker in self.workers()}), "the old workers are gone")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        """Whatever is left when the test is over."""
        for session in self._sessions:
            session.close()
        if self.process and self.process.poll() is None:
            supervisor = psutil.Process(self.process.pid)
            supervisor.suspend()  # or it would replace a worker while we are at it
            family = supervisor.children(recursive=True)
            self.kill(supervisor, *family)
            self.process.wait(PATIENCE)
            until(lambda: not any(map(_lives, family)), "nobody is left")
        shutil.rmtree(node.metrics_folder(self.data, ""))  # who is killed leaves it in memory

    def port(self, name: str) -> int:
        return int(json.loads((self.data / "run" / "ports.json").read_text())[name][1])

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.data / "certs" / "ca.pem"))

    def session(self, host: str = "127.0.0.1") -> smtplib.SMTP:
        """Logged in, over STARTTLS."""
        smtp = smtplib.SMTP(host, self.port("smtp-0"), timeout=PATIENCE)
        self._sessions.append(smtp)
        smtp.starttls(context=self.trust())
        smtp.login(self.user_name, self.password)
        return smtp

    def send(self, recipient: str = SIMULATOR, text: str = "Hello.", smtp: smtplib.SMTP | None = None) -> None:
        """One mail."""
        with smtp or self.session() as session:
            session.sendmail(SENDER, recipient, f"From: {SENDER}\r\nTo: {recipient}\r\n\r\n{text}\r\n")

    def get(self, path: str) -> tuple[int, str]:
        """From the node's own port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port('metrics')}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """A number of /metrics; 0 when it is not there."""
        for line in self.get("/metrics")[1].splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        return 0.0

    def command(self, *arguments: str) -> Any:
        """``sesrelay … --json``."""
        done = program("--config", str(self.config), *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def states(self) -> dict[str, str]:
        """Recipient's address to state."""
        return {
            recipient["address"]: recipient["state"]
            for message in self.command("message", "list")
            for recipient in message["recipients"]
        }


def _lives(process: psutil.Process) -> bool:
    """Not even if nobody has asked yet how it ended."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_worker(process: psutil.Process) -> bool:
    try:
        return _lives(process) and "sesrelay.runtime.worker" in process.cmdline()
    except psutil.NoSuchProcess:
        return False

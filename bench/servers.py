"""The two servers side by side: Postfix as Debian ships it, and sesrelay set up by its own commands."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import yaml

from bench.measure import ProcessGroup, free_port

HERE = Path(__file__).parent.parent
HOST = "mail.bench.example"
QUEUES = tuple(
    "incoming active deferred defer bounce hold corrupt flush trace saved private public maildrop".split()  # noqa: SIM905
)
LIBRARIES = ("libdb5.3", "libicu72", "libnsl2", "libsasl2-2", "libsasl2-modules", "libsasl2-modules-db")


class Server(Protocol):
    """What the runner needs of a server; accepting only, or relaying to a sink."""

    name: str
    port: int
    user: str
    password: str
    group: ProcessGroup

    def start(self, folder: Path, *, next_hop: int | None) -> None: ...
    def stop(self) -> None: ...


class MissingError(Exception):
    """Something that has to be installed first; the text says what."""


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed RSA-2048 certificate; both servers present the same one."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not certificate.exists():
        folder.mkdir(parents=True, exist_ok=True)
        request = f"openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN={HOST}".split()
        subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def wait_for_port(port: int, process: subprocess.Popen[Any], longest_seconds: float = 30) -> None:
    """Until somebody listens; an error when the process ends before."""
    import socket

    end = time.monotonic() + longest_seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server does not listen")


class Postfix:
    """Postfix out of Debian's package, unpacked (as an installed package it would replace the machine's MTA)."""

    name = "postfix"
    user, password = "bench@mail.bench.example", "a-password-of-the-benchmark"

    def __init__(self, cache: Path) -> None:
        self.programs = cache / "debian"
        self.folder = Path()
        self.certificate, self.key = make_certificate(cache / "certificate")
        self.group = ProcessGroup(self.name)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._unpack()

    def _unpack(self) -> None:
        if os.geteuid() != 0:
            raise MissingError("Postfix runs only as root")
        if (self.programs / "usr/sbin/saslpasswd2").exists():
            return
        if not shutil.which("apt-get"):
            raise MissingError("Postfix is unpacked from Debian's packages: apt-get is not here")
        self.programs.mkdir(parents=True, exist_ok=True)
        installed = subprocess.run(["dpkg-query", "-W", *LIBRARIES], capture_output=True, check=False).returncode == 0
        if not installed:
            subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *LIBRARIES], check=True)
        subprocess.run(["apt-get", "download", "postfix", "sasl2-bin"], cwd=self.programs, check=True)
        for package in self.programs.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, self.programs], check=True)

    @property
    def version(self) -> str:
        """As its package is named."""
        return next(self.programs.glob("postfix_*.deb")).name.split("_")[1]

    def start(self, folder: Path, *, next_hop: int | None) -> None:
        """With a new queue in a new folder; relays to the port, or keeps everything on hold (next_hop None)."""
        self.folder = folder
        self._lay_out()
        self._write_configuration(next_hop)
        master = self.programs / "usr/lib/postfix/sbin/master"
        self._process = subprocess.Popen(
            self.group.command([master, "-c", self.folder / "etc"]),
            env=self._environment(),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        self.group.root_pid = self._process.pid
        wait_for_port(self.port, self._process)

    def stop(self) -> None:
        """Ends it; what is queued stays until the folder is removed."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
            for pid in self.group.pids():
                if pid != self._process.pid and Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGTERM)
            self._process = None

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "MAIL_CONFIG": str(self.folder / "etc"),
            "LD_LIBRARY_PATH": str(self.programs / "usr/lib/postfix"),
        }

    def _lay_out(self) -> None:
        """The queue's folders; users that every Debian has, so that none must be made."""
        owner, group = pwd.getpwnam("mail").pw_uid, pwd.getpwnam("news").pw_gid
        for name in ("etc", "etc/sasl", "data", "queue", "queue/pid"):
            (self.folder / name).mkdir(mode=0o755, parents=True)
        for name in QUEUES:
            (self.folder / "queue" / name).mkdir(mode=0o700)
            os.chown(self.folder / "queue" / name, owner, -1)
        os.chown(self.folder / "data", owner, -1)
        (self.folder / "queue/public").chmod(0o710)
        (self.folder / "queue/maildrop").chmod(0o730)
        os.chown(self.folder / "queue/public", owner, group)
        os.chown(self.folder / "queue/maildrop", owner, group)
        database = self.folder / "etc/sasl/sasldb2"
        subprocess.run(
            [self.programs / "usr/sbin/saslpasswd2", "-p", "-c", "-f", database, "-u", HOST, "bench"],
            input=self.password.encode(),
            check=True,
        )
        os.chown(database, owner, -1)
        (self.folder / "etc/sasl/smtpd.conf").write_text(
            f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {database}\n"
        )

    def _write_configuration(self, next_hop: int | None) -> None:
        """Defaults, but for what the comparison needs. No syslog: nothing listens on /dev/log, and no maillog_file."""
        etc = self.folder / "etc"
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": self.folder / "queue",
            "data_directory": self.folder / "data",
            "daemon_directory": self.programs / "usr/lib/postfix/sbin",
            "command_directory": self.programs / "usr/sbin",
            "meta_directory": etc,
            "mail_owner": "mail",
            "setgid_group": "news",
            "import_environment": "MAIL_CONFIG LD_LIBRARY_PATH TZ LANG=C",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": HOST,
            "mydestination": "",
            "alias_maps": "",
            "mynetworks": "",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
            "smtpd_tls_cert_file": self.certificate,
            "smtpd_tls_key_file": self.key,
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_path": "smtpd",
            "smtp_dns_support_level": "disabled",
            "smtpd_client_connection_count_limit": "0",
            "default_process_limit": "120",
        }
        if next_hop is None:
            settings["smtpd_sender_restrictions"] = "static:HOLD"
        else:
            settings["relayhost"] = f"[127.0.0.1]:{next_hop}"
        (etc / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        (etc / "master.cf").write_text(MASTER.format(port=self.port))


MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_tls_security_level=encrypt
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


class Sesrelay:
    """sesrelay, with two workers on its embedded database."""

    name = "sesrelay"

    def __init__(
        self, cache: Path, workers: int = 2, *, label: str = "", tree: Path = HERE, python: str = "", database: str = ""
    ) -> None:
        """``tree``: the folder whose sesrelay is run, by that ``python``; ``label`` tells several of them apart."""
        self.folder = Path()
        self.certificate, self.key = make_certificate(cache / "certificate")
        self.group = ProcessGroup(self.name + label)
        self._python = python or sys.executable
        self._environment = os.environ | {"PYTHONPATH": str(tree)}
        self._database = ["--database", database] if database else []
        self.workers = workers
        self.port = free_port()
        self.user = self.password = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self, folder: Path, *, next_hop: int | None) -> None:
        """With a new data folder; relays to the port, or captures everything (next_hop None)."""
        self.folder = folder
        first = self._command(
            "init", "--data", str(self.folder), "--service-domain", "relay.example.net", *self._database
        )
        self.user = first["credentials"]["smtp_user_name"]
        self.password = first["credentials"]["smtp_password"]
        self._write_configuration(Path(first["config"]), next_hop)
        self._command("account", "production", "on")
        self._command("limits", "set", "--quota", "1000000000", "--rate", "1000000")
        self._command("identity", "add", "bench.example", "--verified")
        self.launch()

    def launch(self) -> None:
        """`serve`, until it says that it is ready."""
        log = (self.folder / "serve.log").open("w")
        self._process = subprocess.Popen(
            self.group.command([*self._program(), "serve"]),
            stderr=log,
            start_new_session=True,
            text=True,
            env=self._environment,
        )
        self.group.root_pid = self._process.pid
        wait_for_port(self.port, self._process)

    def stop(self) -> None:
        """SIGTERM: it drains."""
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _program(self) -> list[str]:
        return [self._python, "-m", "sesrelay", "--config", str(self.folder / "sesrelay.yaml")]

    def _command(self, *arguments: str) -> dict[str, Any]:
        program = self._program() if arguments[0] != "init" else [self._python, "-m", "sesrelay"]
        done = subprocess.run(
            [*program, *arguments, "--json"], capture_output=True, text=True, check=False, env=self._environment
        )
        if done.returncode:
            raise RuntimeError(f"sesrelay {' '.join(arguments)}: {done.stderr.strip()}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _write_configuration(self, path: Path, next_hop: int | None) -> None:
        settings = yaml.safe_load(path.read_text())
        settings["workers"] = self.workers
        settings["listeners"] = [{"address": "127.0.0.1", "port": self.port, "mode": "tls"}]
        settings["tls"] = {"certificate": str(self.certificate), "private_key": str(self.key)}
        for section in ("http", "metrics", "feedback"):
            settings.setdefault(section, {})["port"] = free_port()
        settings.setdefault("smtp", {})["node_connections_per_address"] = 5000
        via = "capture" if next_hop is None else f"smtp://127.0.0.1:{next_hop}"
        settings["delivery"] = {"routes": [{"domain": "*", "via": via}]}
        path.write_text(yaml.safe_dump(settings))


class Floor:
    """Two processes that answer constants (bench/floor.py)."""

    name = "floor"
    user, password = "nobody", "looked at by nobody"

    def __init__(self, cache: Path, processes: int = 2) -> None:
        self.certificate, self.key = make_certificate(cache / "certificate")
        self.group = ProcessGroup(self.name)
        self.port = free_port()
        self._count = processes
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, folder: Path, *, next_hop: int | None) -> None:  # noqa: ARG002 - it keeps nothing
        """Accepts only."""
        command = self.group.command([sys.executable, "-m", "bench.floor", self.port, self.certificate, self.key])
        self._processes = [subprocess.Popen(command) for _ in range(self._count)]
        self.group.root_pid = self._processes[0].pid
        for process in self._processes:
            wait_for_port(self.port, process)

    def stop(self) -> None:
        """Ends it."""
        for process in self._processes:
            process.kill()
            process.wait()

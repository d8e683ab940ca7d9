"""As a service of systemd: its sockets, its notes."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.request
from pathlib import Path

from tests.runtime.house import PATIENCE, SENDER, SIMULATOR, House, until
from tests.standins.systemd import activated


def test_systemds_sockets_are_served_by_all_workers_and_outlive_us(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as smtp, socket.create_server(("127.0.0.1", 0)) as http:
        port = smtp.getsockname()[1]
        house.settle(
            listeners=[{"address": "127.0.0.1", "port": port, "mode": "starttls"}],
            http={"address": "127.0.0.1", "port": http.getsockname()[1]},
        )
        fds = [smtp.fileno(), http.fileno()]
        with house.errors.open("wb") as errors:
            house.process = subprocess.Popen(
                activated([smtp, http], ["-m", "sesrelay", "--config", str(house.config), "serve"]),
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stderr=errors,
            )
        until(lambda: "ready" in house.said() or house.process.poll() is not None, "ready")
        assert house.process.poll() is None, house.said()
        sessions = [house.session() for _ in range(6)]
        until(lambda: house.metric("sesrelay_smtp_connections") == 6, "six sessions")
        held = [
            len([c for c in worker.net_connections() if c.laddr.port == port and c.raddr]) for worker in house.workers()
        ]
        assert sorted(held) == [3, 3]
        for session in sessions:
            session.sendmail(SENDER, SIMULATOR, f"From: {SENDER}\r\n\r\nHello.\r\n")
        with urllib.request.urlopen(
            f"https://localhost:{http.getsockname()[1]}/healthz", context=house.trust()
        ) as answer:
            assert answer.read() == b"ok\n"
        assert house.stop() == 0
        waiting = socket.create_connection(("127.0.0.1", port), PATIENCE)  # systemd still listens
        waiting.close()


def test_the_metrics_port_on_systemds_socket_answers_for_itself(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as metrics, house.errors.open("wb") as errors:
        house.settle(metrics={"address": "127.0.0.1", "port": metrics.getsockname()[1]})
        house.process = subprocess.Popen(
            activated([metrics], ["-m", "sesrelay", "--config", str(house.config), "serve"]),
            pass_fds=[metrics.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=errors,
        )
        until(lambda: "ready" in house.said() or house.process.poll() is not None, "ready")
        for _ in range(20):
            assert house.get("/healthz") == (200, "ok\n")
        assert house.stop() == 0


def test_systemd_hears_of_readiness_reload_and_stop(house: House, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        house.start({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"})
        assert manager.recv(200) == b"READY=1"
        assert manager.recv(200) == b"WATCHDOG=1"
        assert house.process
        before = {worker.pid for worker in house.workers()}
        house.process.send_signal(1)
        told = [manager.recv(200)]
        while told[-1] != b"READY=1":
            told.append(manager.recv(200))
        assert any(note.startswith(b"RELOADING=1\nMONOTONIC_USEC=") for note in told)
        for worker in house.workers():
            if worker.pid not in before:  # those are about to end
                assert "NOTIFY_SOCKET" not in worker.environ()
        assert house.stop() == 0
        while told[-1] != b"STOPPING=1":
            told.append(manager.recv(200))


def test_counts_go_where_systemd_has_memory_for_them_and_end_with_the_relay(house: House, tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    house.start({"RUNTIME_DIRECTORY": str(tmp_path / "runtime")})
    (folder,) = (tmp_path / "runtime").iterdir()
    assert len(list(folder.glob("counter_*.db"))) == len(house.workers())
    assert not (house.data / "run" / "metrics").exists()
    assert house.stop() == 0
    assert list((tmp_path / "runtime").iterdir()) == []


def test_a_socket_that_no_listener_wants_is_named_in_the_log(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, house.errors.open("wb") as errors:
        house.process = subprocess.Popen(
            activated([other], ["-m", "sesrelay", "--config", str(house.config), "serve"]),
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=errors,
        )
        until(lambda: "ready" in house.said(), "ready")
        place = f"127.0.0.1:{other.getsockname()[1]}"
        until(lambda: any(place in line for line in house.said()), "named")


def test_the_unit_files_are_what_systemd_understands() -> None:
    folder = Path(__file__).parents[2] / "systemd"
    units = sorted(folder.glob("*.service")) + sorted(folder.glob("*.socket"))
    assert units
    for unit in units:
        keys = [line.partition("=")[0] for line in unit.read_text().splitlines() if line[:1].isalpha()]
        once = {"Type", "ExecStart", "User", "WatchdogSec", "TimeoutStopSec", "Restart", "Service"}
        assert not [key for key in once if keys.count(key) > 1]
    assert os.access(folder / "sesrelay.service", os.R_OK)

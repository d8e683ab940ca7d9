"""Workers that die, supervisors that die, and configurations that change under a running relay."""

from __future__ import annotations

import os
import resource
import signal
import smtplib
import socket

import psutil
import yaml

from tests.runtime.house import SENDER, SIMULATOR, House, until
from tests.standins.next_hop import Mischief, NextHop


def pids(processes: list[psutil.Process]) -> set[int]:
    return {process.pid for process in processes}


def test_a_killed_worker_is_replaced_and_its_listener_never_refuses(house: House) -> None:
    house.start()
    before = pids(house.workers())
    house.kill(*house.workers())
    sessions = [socket.create_connection(("127.0.0.1", house.port("smtp-0")), 30) for _ in range(20)]
    greetings = [session.recv(4) for session in sessions]
    for session in sessions:
        session.close()
    assert greetings == [b"220 "] * 20
    assert len(house.workers()) == 2
    assert before.isdisjoint(pids(house.workers()))
    ended = house.events("worker ended; starting another")
    assert sorted(line["worker"] for line in ended) == [0, 1]
    assert {line["how"] for line in ended} == {"killed by SIGKILL"}
    until(lambda: house.get("/readyz")[0] == 200, "ready again")


def test_the_node_is_not_ready_while_a_worker_is_missing(house: House) -> None:
    house.start()
    for _ in range(3):  # one that dies again and again is started again with growing waits
        house.kill(*house.workers()[:1])
        until(lambda: house.get("/readyz")[0] == 503, "not ready")
        until(lambda: house.get("/readyz")[0] == 200, "ready again")


def test_mail_in_a_dead_workers_hands_is_delivered_by_others(house: House) -> None:
    with NextHop(Mischief(slow=1.0, slowness=60)) as hop:
        house.settle(delivery={"routes": [{"domain": "*", "via": f"smtp://127.0.0.1:{hop.port}"}]})
        house.start()
        house.send("a@example.com")
        until(lambda: psutil_connections(house, hop.port), "the delivery is under way")
        hop.mischief = Mischief()
        house.kill(*house.workers())
        hop.wait_for(lambda copies: any(copy.acknowledged for copy in copies), 60)
        until(lambda: house.states() == {"a@example.com": "delivered"}, "delivered")


def psutil_connections(house: House, port: int) -> bool:
    return any(
        connection.raddr and connection.raddr.port == port and connection.status == psutil.CONN_ESTABLISHED
        for worker in house.workers()
        for connection in worker.net_connections()
    )


def test_workers_of_a_killed_supervisor_finish_and_go(house: House) -> None:
    house.start()
    family = house.workers()
    assert house.process
    house.process.kill()
    house.process.wait()
    gone, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert len(gone) == 2
    house.start()
    house.send()


def test_a_relay_of_which_everything_was_killed_starts_again_at_once(house: House) -> None:
    house.start()
    house.send()
    assert house.process
    house.kill(psutil.Process(house.process.pid), *house.workers())
    house.process.wait()
    house.start()
    assert house.states() == {SIMULATOR: "captured"}


def test_ctrl_c_in_a_terminal_is_a_stop_like_any_other(house: House) -> None:
    house.start(start_new_session=True)
    assert house.process
    os.killpg(house.process.pid, signal.SIGINT)
    assert house.process.wait(30) == 0
    assert house.events("stopped")
    assert not house.events("worker ended; starting another")


def reload(house: House) -> None:
    assert house.process
    house.process.send_signal(signal.SIGHUP)


def in_the_midst_of_a_message(house: House) -> smtplib.SMTP:
    """A session that no drain ends before its time."""
    busy = house.session()
    busy.mail(SENDER)
    busy.rcpt(SIMULATOR)
    busy.putcmd("DATA")
    assert busy.getreply()[0] == 354
    return busy


def test_a_reload_brings_new_workers_and_loses_no_session(house: House) -> None:
    house.start()
    before = pids(house.workers())
    busy = in_the_midst_of_a_message(house)
    house.settle(workers=3)
    reload(house)
    until(lambda: len(pids(house.workers()) - before) == 3, "three new workers")
    busy.send(f"From: {SENDER}\r\n\r\nHello.\r\n.\r\n".encode())
    assert busy.getreply()[0] == 250
    until(lambda: before.isdisjoint(pids(house.workers())), "the old ones are gone")
    for _ in range(10):
        with smtplib.SMTP("127.0.0.1", house.port("smtp-0")) as smtp:
            assert smtp.noop()[0] == 250
    assert house.events("reloaded")[0]["workers"] == 3
    assert house.get("/readyz")[0] == 200


def test_a_reload_opens_new_listeners_and_closes_old_ones(house: House) -> None:
    house.start()
    old = house.port("smtp-1")
    listeners = yaml.safe_load(house.config.read_text())["listeners"]
    house.settle(listeners=[*listeners[:1], {"address": "127.0.0.2", "port": 0, "mode": "starttls"}])
    reload(house)
    until(lambda: house.port("smtp-1") != old or house.events("reloaded"), "reloaded")
    until(lambda: house.events("reloaded"), "reloaded")
    with smtplib.SMTP("127.0.0.2", house.port("smtp-1")) as smtp:
        assert smtp.noop()[0] == 250


def test_a_reload_of_a_bad_configuration_changes_nothing_and_says_why(house: House) -> None:
    house.start()
    before = pids(house.workers())
    house.settle(workers=0)
    reload(house)
    (refused,) = until(lambda: house.events("reload refused; the old configuration stays"), "refused")
    assert "workers" in refused["fault"]
    assert pids(house.workers()) == before
    house.send()


def test_a_reload_for_which_there_are_no_descriptors_changes_nothing_and_says_so(house: House) -> None:
    house.start()
    assert house.process
    before, supervisor = pids(house.workers()), house.process.pid
    open_now = psutil.Process(supervisor).num_fds()
    hard = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (open_now, hard))
    reload(house)
    (refused,) = until(lambda: house.events("reload refused; the old configuration stays"), "refused")
    assert refused["fault"] == "this machine has no room for it: Too many open files"
    assert pids(house.workers()) == before
    house.send()
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (hard, hard))
    house.reload()
    house.send()
    assert house.stop() == 0


def test_a_stop_does_not_wait_for_the_check_of_a_reload(house: House) -> None:
    house.start()
    assert house.process
    supervisor = psutil.Process(house.process.pid)
    house.config.unlink()
    os.mkfifo(house.config)  # whoever reads it waits
    reload(house)
    until(lambda: any("sesrelay.runtime.plan" in child.cmdline() for child in supervisor.children()), "the check")
    house.process.terminate()
    assert house.process.wait(30) == 0
    assert house.events("stopped")
    assert not house.events("reload refused; the old configuration stays")


def test_a_stop_does_not_wait_for_the_check_of_a_start_and_a_reload_does_not_end_it(house: House) -> None:
    house.config.unlink()
    os.mkfifo(house.config)
    process = house.begin()
    (check,) = until(lambda: [one for one in house.family() if "sesrelay.runtime.plan" in one.cmdline()], "the check")
    process.send_signal(signal.SIGHUP)
    process.terminate()
    assert process.wait(30) == 0
    assert not check.is_running()
    assert house.said() == []


def test_a_reload_that_cannot_open_its_port_changes_nothing(house: House) -> None:
    house.start()
    before = pids(house.workers())
    with socket.create_server(("127.0.0.1", 0)) as other:
        house.settle(listeners=[{"address": "127.0.0.1", "port": other.getsockname()[1], "mode": "tls"}])
        reload(house)
        (refused,) = until(lambda: house.events("reload refused; the old configuration stays"), "refused")
    assert "cannot listen on 127.0.0.1 port" in refused["fault"]
    assert pids(house.workers()) == before
    house.send()


def test_a_reload_whose_workers_cannot_start_changes_nothing(house: House) -> None:
    house.start()
    before = pids(house.workers())
    (house.data / "keyring").rename(house.data / "elsewhere")
    reload(house)
    (refused,) = until(lambda: house.events("reload refused; the old configuration stays"), "refused")
    assert "keyring" in refused["fault"]
    assert pids(house.workers()) == before
    house.send()


def test_a_second_stop_ends_workers_that_a_reload_let_finish_too(house: House) -> None:
    house.settle(drain_seconds=300)
    house.start()
    assert house.process
    draining = house.workers()
    busy = in_the_midst_of_a_message(house)
    reload(house)
    until(lambda: house.events("reloaded"), "reloaded")
    assert any(worker.is_running() for worker in draining)
    everybody = house.workers()
    house.process.terminate()
    until(lambda: house.events("stopping"), "the stop is under way")
    house.process.terminate()
    assert house.process.wait(30) == 0
    assert [worker for worker in everybody if worker.is_running()] == []
    busy.close()

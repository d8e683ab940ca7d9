"""Abuse of a whole relay with several workers: everybody gets a defined reply, and others are served as ever."""

from __future__ import annotations

import base64
import contextlib
import resource
import smtplib
import socket
import statistics
import time
from collections import Counter

import pytest

from bench.abuse import ALLOWED_RATIO, Abuse, Probe, Target, disturb, idle_session_octets
from tests.runtime.house import SENDER, House, until

ATTACKER, OWNER = "127.0.66.1", "127.0.1.1"
GREETING = b"220 "
INVALID = b"535 Authentication Credentials Invalid\r\n"
LET_IN = b"235 Authentication successful.\r\n"
IMPATIENCE = 0.7
"""Seconds after which a reply that is held back for minutes is taken to be held back."""


class Client:
    """A session over TLS from an address of choice."""

    def __init__(self, house: House, address: str = "127.0.0.1", *, seconds: float = 60) -> None:
        raw = socket.create_connection(("127.0.0.1", house.port("smtp-1")), seconds, (address, 0))
        context = house.trust()
        context.check_hostname = False
        self.socket = context.wrap_socket(raw)
        self._lines = self.socket.makefile("rb")

    def line(self) -> bytes:
        return self._lines.readline()

    def greeting(self) -> bytes:
        """The first line."""
        return self.line()

    def log_in(self, user: str, password: str) -> bytes:
        """The answer to AUTH; b"" when none came."""
        token = base64.b64encode(f"\0{user}\0{password}".encode())
        self.socket.sendall(b"EHLO me\r\nAUTH PLAIN " + token + b"\r\n")
        try:
            return next((line for line in self._lines if line[:4] in (b"235 ", b"535 ", b"454 ", b"421 ")), b"")
        except TimeoutError:
            return b""

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


def log_in(house: House, address: str, password: str = "", *, seconds: float = 60) -> bytes:
    client = Client(house, address, seconds=60)
    try:
        assert client.greeting().startswith(GREETING)
        client.socket.settimeout(seconds)
        return client.log_in(house.user_name, password or house.password)
    finally:
        client.close()


def target(house: House) -> Target:
    return Target(house.port("smtp-1"), house.user_name, house.password, SENDER)


def octets(house: House) -> int:
    """What the workers have for themselves."""
    return sum(int(worker.memory_full_info().uss) for worker in house.workers())


def test_failed_logins_count_over_workers_and_their_deaths_and_lock_no_owner_out(house: House) -> None:
    house.settle(
        smtp={
            "node_failed_logins_per_address": 4,
            "node_failed_logins_per_key": 100,
            "failed_login_first_seconds": 600,
            "failed_login_longest_seconds": 600,
            "failed_login_longest_seconds_per_key": 600,
        }
    )
    house.start()
    assert [log_in(house, ATTACKER, "wrong") for _ in range(4)] == [INVALID] * 4

    def attackers_wait() -> bool:
        """Whichever worker it is that they come to, and whether the password is right or wrong."""
        return [log_in(house, ATTACKER, each, seconds=IMPATIENCE) for each in ["", "wrong"] * 3] == [b""] * 6

    assert attackers_wait()
    assert [log_in(house, OWNER) for _ in range(6)] == [LET_IN] * 6
    until(lambda: house.metric("sesrelay_logins_delayed_total") >= 6, "the delayed are counted")
    house.kill(*house.workers())
    until(lambda: len(house.events("worker ended; starting another")) == 2, "both workers died")
    until(lambda: house.get("/readyz")[0] == 200, "new workers")
    assert attackers_wait()
    house.reload()
    assert attackers_wait()
    assert log_in(house, OWNER) == LET_IN


def how_busy() -> float:
    """How many times as long as on a machine of its own a program takes here that only computes. So much less abuse is
    as much to the relay; and with it the relay, which computes then, waits for its turn among others, as it does not
    when it is hardly awake.
    """
    wall, computing = time.monotonic(), time.process_time()
    while (spent := time.process_time() - computing) < 0.1:
        pass
    return max(1.0, (time.monotonic() - wall) / spent)


def served(house: House, address: str, *, of: int) -> list[Client]:
    """Those who are greeted; the others are closed before TLS."""
    clients = []
    for _ in range(of):
        with contextlib.suppress(OSError):
            clients.append(Client(house, address))
            assert clients[-1].greeting().startswith(GREETING)
    return clients


def test_connections_that_say_nothing_count_over_all_workers_too(house: House) -> None:
    house.settle(smtp={"node_connections_per_address": 6})
    house.start()
    place = ("127.0.0.1", house.port("smtp-1"))
    silent = [socket.create_connection(place, 60, (ATTACKER, 0)) for _ in range(6)]
    until(lambda: house.metric("sesrelay_smtp_connections") == 6, "they count")
    assert served(house, ATTACKER, of=3) == []
    others = served(house, OWNER, of=3)
    assert len(others) == 3
    for each in (*silent, *others):
        each.close()
    until(lambda: house.metric("sesrelay_smtp_connections") == 0, "their places are free again")
    assert log_in(house, ATTACKER) == LET_IN


def test_connections_of_an_address_are_bounded_over_all_workers(house: House) -> None:
    house.settle(smtp={"node_connections_per_address": 6, "node_connections": 9})
    house.start()
    clients = served(house, ATTACKER, of=16)
    assert len(clients) == 6
    others = served(house, OWNER, of=5)
    assert len(others) == 3
    for client in clients:
        client.close()
    until(lambda: house.metric("sesrelay_connections_refused_total") == 12, "who was turned away is counted")
    until(lambda: house.metric("sesrelay_smtp_connections") == 3, "the others have left")
    assert log_in(house, ATTACKER) == LET_IN
    for client in others:
        client.close()


def test_when_descriptors_run_out_clients_are_told_so_and_nothing_spins(house: House) -> None:
    house.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 160)))
    found = house.events("few file descriptors: this bounds sessions")
    assert {(line["descriptors"], line["sessions_here"]) for line in found} == {(160, 84)}
    clients = []
    for number in range(260):
        raw = socket.create_connection(("127.0.0.1", house.port("smtp-0")), 60, (f"127.0.{1 + number % 9}.1", 0))
        clients.append(raw)
    said = Counter(client.recv(4) for client in clients)
    assert said[GREETING] + said[b"421 "] == 260
    assert 84 < said[GREETING] <= 168
    before = sum(sum(worker.cpu_times()[:2]) for worker in house.workers())
    time.sleep(1)
    assert sum(sum(worker.cpu_times()[:2]) for worker in house.workers()) - before < 0.5
    for client in clients:
        client.close()
    until(lambda: house.metric("sesrelay_smtp_connections") == 0, "they have left")
    house.send()
    assert not house.events("worker ended; starting another")


def test_listeners_take_none_of_the_descriptors_that_sessions_are_promised(house: House) -> None:
    many = [{"address": "127.0.0.1", "port": 0, "mode": "starttls"}] * 100
    house.settle(workers=1, listeners=many)
    house.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (220, 220)))
    (found,) = house.events("few file descriptors: this bounds sessions")
    clients = [socket.create_connection(("127.0.0.1", house.port("smtp-0")), 60) for _ in range(150)]
    said = Counter(client.recv(4) for client in clients)
    assert said == {GREETING: found["sessions_here"], b"421 ": 150 - found["sessions_here"]}
    for client in clients:
        client.close()
    house.send(smtp=until(lambda: let_in(house), "those who left are counted out"))


def let_in(house: House) -> smtplib.SMTP | None:
    try:
        return house.session()
    except smtplib.SMTPConnectError:
        return None


def test_a_line_of_a_hundred_megabytes_costs_no_memory(house: House) -> None:
    house.start()
    send_without_end(house, 100 << 20)


@pytest.mark.soak
def test_a_line_of_a_gigabyte_costs_no_memory(house: House) -> None:
    house.start()
    send_without_end(house, 1 << 30)


def send_without_end(house: House, many: int) -> None:
    """As a command, coming again when cut off; then as a message."""
    log_in(house, OWNER)  # whatever a first session loads is loaded
    before = octets(house)
    sent = 0
    while sent < many // 2:
        client = Client(house)
        with contextlib.suppress(OSError):
            for _ in range(64):
                client.socket.sendall(b"x" * 65_536)
                sent += 65_536
        sent += 65_536
        client.close()
    with house.session() as smtp:
        smtp.mail(SENDER)
        smtp.rcpt("somebody@next-hop.example")
        smtp.putcmd("data")
        smtp.getreply()
        assert smtp.sock
        for _ in range(many // 2 // 65_536):
            smtp.sock.sendall(b"x" * 65_536)
        smtp.send(b"\r\n.\r\n")
        assert smtp.getreply() == (552, b"5.3.4 Message is too long.")
    assert octets(house) - before < 24 << 20


def test_a_hundred_thousand_recipients_end_the_session_and_cost_no_memory(house: House) -> None:
    house.start()
    with house.session() as smtp:
        smtp.mail(SENDER)
        before = octets(house)
        assert smtp.sock
        smtp.sock.settimeout(60)
        many = b"".join(b"RCPT TO:<r%d@example.com>\r\n" % number for number in range(100_000))
        with contextlib.suppress(OSError):
            smtp.sock.sendall(many)
        said = b""
        with contextlib.suppress(OSError):
            while chunk := smtp.sock.recv(65_536):
                said += chunk
        assert said.count(b"250 Ok") <= 1000
        assert octets(house) - before < 8 << 20
    house.send()


@pytest.mark.parametrize(
    "kind", ["never-read", "drip", "endless-line", "hostile-from", "guess", "silent", "handshake-flood"]
)
def test_others_are_served_and_memory_stays_flat_while_it_lasts(house: House, kind: str) -> None:
    house.settle(smtp={"node_connections_per_address": 1000})
    house.start()
    probe = Probe(target(house))
    try:
        probe.measure(0.5)
        before = octets(house)
        ratios = []
        for _ in range(3):  # a busy machine has its moments: one good round out of three will do
            undisturbed = statistics.median(probe.measure(1))
            busy = how_busy()
            with Abuse(target(house), kind, pace=busy) as abuse:
                abuse.wait_for_all()
                disturbed = statistics.median(probe.measure(1))
                assert octets(house) - before < 48 << 20
            ratios.append(disturbed / undisturbed / busy)
            if ratios[-1] < 3:
                break
        assert min(ratios) < 3
    finally:
        probe.close()
    assert not house.events("worker ended; starting another")


@pytest.mark.soak
def test_silent_connections_leave_established_sessions_within_one_and_a_half_of_their_p99(house: House) -> None:
    house.start()
    ratios = []
    for _ in range(5):
        found = disturb(target(house), "silent", 20, lambda: octets(house))
        assert found.grown_octets < 16 << 20
        ratios.append(found.ratio)
        if ratios[-1] <= ALLOWED_RATIO:
            break
    assert min(ratios) <= ALLOWED_RATIO


def test_five_hundred_idle_sessions_take_less_than_45_kib_each(house: House) -> None:
    house.start()
    with Abuse(target(house), "idle", 100) as first:
        first.wait_for_idle(100)
        each = idle_session_octets(target(house), 500, lambda: octets(house))
    assert each < 45 * 1024

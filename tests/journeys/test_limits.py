"""Quota and rate of an account hold exactly, however many processes take its mail at once (LIM-2 to LIM-5)."""

from __future__ import annotations

import smtplib
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.standins.next_hop import NextHop
from tests.standins.relay import DOMAIN, RelayStandIn
from tests.standins.senders import connect

NO_MORE_TODAY = "454 Throttling failure: Daily message quota exceeded."
TOO_FAST = "454 Throttling failure: Maximum sending rate exceeded."
SIMULATOR = "success@simulator.amazonses.com"
CONTENT = f"From: App <app@{DOMAIN}>\r\nSubject: x\r\n\r\nx\r\n"


class Shift:
    """The relay's clock: the time of day, and what the test has added to it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds = 0.0
        self.move(0)

    def move(self, seconds: float) -> None:
        """All processes are so much later at once."""
        self.seconds += seconds
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(self.seconds))
        fresh.rename(self._file)  # nobody reads half of it

    def now(self) -> float:
        return time.time() + self.seconds


class Try(NamedTuple):
    began: float
    ended: float
    reply: str


class Crowd:
    """``with Crowd(relay, 20) as crowd:`` so many sessions, logged in, each in a thread."""

    def __init__(self, relay: RelayStandIn, sessions: int, shift: Shift | None = None) -> None:
        self._relay = relay
        self._sessions = sessions
        self._now = shift.now if shift else time.time
        self._own = threading.local()
        self._opened: list[smtplib.SMTP] = []

    def __enter__(self) -> Crowd:
        self._pool = ThreadPoolExecutor(self._sessions, initializer=self._open)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for session in self._opened:
            session.close()

    def _open(self) -> None:
        self._own.session = connect(self._relay)
        self._opened.append(self._own.session)

    def send(self, messages: int, recipient: str = "to@next-hop.example") -> list[Try]:
        """So many messages, by all sessions at once."""
        return list(self._pool.map(self._send, [recipient] * messages))

    def _send(self, recipient: str) -> Try:
        session: smtplib.SMTP = self._own.session
        began = self._now()
        session.mail(f"app@{DOMAIN}")
        session.rcpt(recipient)
        code, text = session.data(CONTENT)
        reply = "250" if code == 250 else f"{code} {text.decode()}"
        return Try(began, self._now(), reply)


def replies(tries: list[Try]) -> Counter[str]:
    return Counter(each.reply for each in tries)


@pytest.mark.timeout(300)
def test_of_a_thousand_tries_at_once_in_four_workers_the_quota_lets_exactly_200_through(
    database_url: str, tmp_path: Path
) -> None:
    with NextHop() as hop, RelayStandIn(tmp_path, next_hop=hop.port, database=database_url, workers=4) as relay:
        relay.command("limits", "set", "--quota", "200")
        with Crowd(relay, 24) as crowd:
            assert replies(crowd.send(1000)) == {"250": 200, NO_MORE_TODAY: 800}
            assert replies(crowd.send(30, SIMULATOR)) == {"250": 30}  # LIM-4
            assert replies(crowd.send(30)) == {NO_MORE_TODAY: 30}
            shown, _ = relay.commands([["limits", "show"], ["verify-data"]])
            assert shown["limits"]["sent_last_24_hours"] == 200
        hop.wait_for(lambda copies: len(copies) >= 200, 60)
        assert len(hop.copies) == 200


@pytest.mark.timeout(300)
@pytest.mark.parametrize("recipient", ["to@next-hop.example", SIMULATOR], ids=["anybody", "simulator"])
def test_in_no_window_of_time_more_passes_than_the_rate_and_one_seconds_burst(
    database_url: str, tmp_path: Path, recipient: str
) -> None:
    shift = Shift(tmp_path / "clock")
    environment = {"SESRELAY_CLOCK_OFFSET_FILE": str(tmp_path / "clock")}
    with (
        NextHop() as hop,
        RelayStandIn(tmp_path, next_hop=hop.port, database=database_url, workers=4, environment=environment) as relay,
    ):
        relay.command("limits", "set", "--quota", "0" if recipient == SIMULATOR else "-1", "--rate", "5")
        tries: list[Try] = []
        with Crowd(relay, 12, shift) as crowd:
            begin = shift.now()
            for step in range(11):
                if step:
                    shift.move(1)
                tries += crowd.send(24, recipient)
        assert set(replies(tries)) == {"250", TOO_FAST}
        accepted = [each for each in tries if each.reply == "250"]
        span = max(each.ended for each in tries) - begin
        assert 5 * 10 + 5 <= len(accepted) <= 5 * span + 5
        for first in accepted:
            for last in accepted:
                inside = [each for each in accepted if first.began <= each.began and each.ended <= last.ended]
                assert len(inside) <= 5 * max(0.0, last.ended - first.began) + 5


@pytest.mark.timeout(300)
def test_paced_mail_is_all_taken_and_sent_at_the_rate(database_url: str, tmp_path: Path) -> None:
    shift = Shift(tmp_path / "clock")
    environment = {"SESRELAY_CLOCK_OFFSET_FILE": str(tmp_path / "clock")}
    with (
        NextHop() as hop,
        RelayStandIn(tmp_path, next_hop=hop.port, database=database_url, workers=2, environment=environment) as relay,
    ):
        relay.commands([["limits", "set", "--quota", "100", "--rate", "5"], ["account", "pace", "on"]])
        with Crowd(relay, 8, shift) as crowd:
            begin = shift.now()
            assert replies(crowd.send(100)) == {"250": 100}  # twenty seconds' worth
            assert replies(crowd.send(8)) == {NO_MORE_TODAY: 8}
            while (arrived := len(hop.copies)) < 100:
                earned = 5 * (shift.now() - begin) + 5
                assert arrived <= earned
                least = min(100, int(earned))
                hop.wait_for(lambda copies, least=least: len(copies) >= least, 30)
                shift.move(5)
            relay.commands([["limits", "set", "--quota", "-1", "--rate", "0.001"]])
            assert TOO_FAST in replies(crowd.send(8))  # nobody waits for longer than an hour
        relay.command("verify-data")


def test_the_answer_to_a_request_reaches_its_owner(tmp_path: Path) -> None:
    owner = "owner@next-hop.example"
    wish = ("--website", "https://www.example.com", "--message-type", "Transactional", "--use-case", "Receipts.")
    with NextHop() as hop, RelayStandIn(tmp_path, next_hop=hop.port, workers=2) as relay:
        relay.commands([["account", "email", owner], ["limits", "set", "--quota", "300"]])
        asked = relay.command("limits", "request", *wish, "--quota", "20000")
        relay.command("limits", "grant", str(asked["request_id"]))
        copies = hop.wait_for(lambda copies: sum(copy.recipients == (owner,) for copy in copies) >= 3, 60)
        told = b"".join(copy.content for copy in copies if copy.recipients == (owner,))
        assert b"Subject: Your sending limits were changed (us-east-1)\r\n" in told
        assert b"Subject: Your request for higher sending limits was received (us-east-1)\r\n" in told
        assert b"Subject: Your request for higher sending limits was granted (us-east-1)\r\n" in told
        assert b"24 hours:    20,000\r\n" in told
        relay.command("verify-data")

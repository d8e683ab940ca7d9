"""What a worker does about certificates, with the time moved by hand: renewal in time, warnings once a day."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
import structlog
import trustme

from sesrelay.certificates.authority import Authority, Renewal, renew
from sesrelay.certificates.pairs import PairFiles
from sesrelay.fronts.smtp.tls import TlsContexts
from sesrelay.model.clock import DAY, SECOND
from sesrelay.runtime import certificates
from sesrelay.runtime.certificates import CertificateKeeper
from tests.clock import FakeClock

DOMAIN, REGIONS = "relay.test", ("us-east-1",)
ENDPOINTS = {"us-east-1": "email-smtp.us-east-1.relay.test"}


class Gauge:
    ends: Mapping[str, float]
    faults = -1

    def certificates(self, ends: Mapping[str, float], faults: int) -> None:
        self.ends, self.faults = ends, faults


class Node:
    """A keeper on certificates as ``init`` makes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.files = PairFiles(folder / "server.pem", folder / "server.key")
        now = self.clock.now()
        Authority.of(folder, now).server(DOMAIN, REGIONS, now).write(self.files.certificate, self.files.private_key)
        self.gauge = Gauge()
        self.regions = REGIONS
        self.make()

    def make(self) -> None:
        self.tls = TlsContexts(self.files.certificate, self.files.private_key, ENDPOINTS, now=self.clock.now)
        renewal = Renewal((self.files,), DOMAIN, self.regions)
        self.keeper = CertificateKeeper(self.tls, renewal, self.clock, self.gauge)

    async def days_before_the_end(self, days: float) -> None:
        """Lets time go to there, without anybody looking."""
        self.clock.move((self.tls.pairs[0].ends - self.clock.now()) / SECOND - days * DAY / SECOND)

    async def look_for(
        self, seconds: float, *, step: float = 5, first_of_node: bool = True, then: Callable[[], None] | None = None
    ) -> list[tuple[str, ...]]:
        """Runs the keeper, with ``then`` as long again after that; what it logged: event, level, reason."""
        with structlog.testing.capture_logs() as logs:
            running = asyncio.create_task(self.keeper.run(first_of_node=first_of_node))
            await self.until_it_sleeps()
            await self._go_on(seconds, step)
            if then:
                then()
                await self._go_on(seconds, step)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return [(entry["event"], entry["log_level"], entry.get("reason", "")) for entry in logs]

    async def _go_on(self, seconds: float, step: float) -> None:
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.clock.move(step)
            await self.until_it_sleeps()

    async def until_it_sleeps(self) -> None:
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
            while not self.clock.sleepers:
                await asyncio.sleep(0.001)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_a_self_made_certificate_is_renewed_before_it_ends_and_shown_within_seconds(node: Node) -> None:
    before = node.tls.pairs[0].ends
    assert await node.look_for(10) == []
    await node.days_before_the_end(59)
    assert [event for event, _, _ in await node.look_for(20)] == [
        *("tls.certificate_renewed", "tls.certificate_loaded")
    ]
    assert node.tls.pairs[0].ends - before > 700 * DAY
    assert node.gauge.ends == {str(node.files.certificate): node.tls.pairs[0].ends / SECOND}
    assert node.gauge.faults == 0


async def test_a_region_that_was_added_gets_its_names_at_the_start(node: Node) -> None:
    node.regions = ("us-east-1", "eu-west-1")
    node.make()
    await node.look_for(20)
    assert node.tls.pairs[0].covers("email-smtp.eu-west-1.relay.test")


async def test_only_the_first_worker_of_a_node_renews_and_warns(node: Node) -> None:
    await node.days_before_the_end(3)
    assert await node.look_for(20, first_of_node=False) == []


@pytest.mark.parametrize(
    ("days", "level", "reason"),
    [
        (29.5, "warning", "expires in 29 days"),
        (6.5, "error", "expires in 6 days"),
        (0.5, "error", "expires within a day"),
        (-1, "error", "has expired: clients refuse it"),
    ],
)
async def test_where_the_cas_key_is_kept_elsewhere_the_end_is_warned_of(
    node: Node, days: float, level: str, reason: str
) -> None:
    (node.folder / "ca.key").rename(node.folder / "elsewhere")
    await node.days_before_the_end(days)
    assert await node.look_for(20) == [("tls.certificate_ends", level, reason)]


async def test_it_is_warned_of_once_a_day(node: Node) -> None:
    (node.folder / "ca.key").unlink()
    await node.days_before_the_end(20.5)
    assert [reason for _, _, reason in await node.look_for(2 * 86_400 + 60, step=1800)] == [
        *("expires in 20 days", "expires in 19 days", "expires in 18 days")
    ]


async def test_a_renewal_that_fails_is_an_error_with_its_reason_and_the_end_is_warned_of(node: Node) -> None:
    (node.folder / "ca.key").write_text("no key")
    await node.days_before_the_end(20.5)
    (failed, warned) = await node.look_for(20)
    assert failed[:2] == ("tls.certificate_not_renewed", "error")
    assert "ca.pem and ca.key are no CA that init made" in failed[2]
    assert warned == ("tls.certificate_ends", "warning", "expires in 20 days")


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Whatever process is started does not end. The file appears when one has its order."""
    program, file = tmp_path / "program", tmp_path / "file"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, signal, sys\n"
        f"sys.stdin.read()\npathlib.Path({str(file)!r}).touch()\nsignal.pause()\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    return file


async def test_a_renewal_ends_with_its_worker(node: Node, endless: Path) -> None:
    await node.days_before_the_end(59)
    before = set(psutil.Process().children())
    running = asyncio.create_task(node.keeper.run(first_of_node=True))
    async with asyncio.timeout(60):
        while not endless.exists():
            await asyncio.sleep(0.001)
    (renewing,) = set(psutil.Process().children()) - before
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    alive = psutil.pid_exists(renewing.pid)
    if alive:
        renewing.kill()
    assert not alive


@pytest.mark.usefixtures("endless")
async def test_a_renewal_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(psutil.Process().children())
    monkeypatch.setattr(certificates, "RENEWING_SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        await certificates._ask({})
    assert set(psutil.Process().children()) <= before


async def test_a_bad_pair_is_counted_and_complained_of_once(node: Node) -> None:
    trustme.CA().issue_cert("other").private_key_pem.write_to_path(str(node.files.private_key))
    logged = await node.look_for(60)
    assert [(event, level) for event, level, _ in logged] == [("tls.certificate_not_loaded", "error")]
    assert node.gauge.faults == 1


@pytest.mark.parametrize("what", ["memfd_create", "certificates"])
async def test_trouble_at_one_look_is_over_at_the_next(node: Node, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    before = node.tls.pairs[0].leaf.serial_number
    now = node.clock.now()
    renew(Renewal((node.files,), DOMAIN, REGIONS), node.folder, now)
    with monkeypatch.context() as patch:
        patch.setattr(os if what == "memfd_create" else node.gauge, what, broken)
        events = [event for event, _, _ in await node.look_for(10, then=patch.undo)]
    assert "tls.certificates_not_looked_at" in events
    assert events[-1] == "tls.certificate_loaded" or what == "certificates"
    assert node.tls.pairs[0].leaf.serial_number != before
    assert node.gauge.faults == 0

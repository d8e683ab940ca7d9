"""The disk fills up under a running relay: clients are told to come back, and when there is room again all goes on."""

from __future__ import annotations

import os
import smtplib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.journeys.books import FAST_RETRIES, assert_all_is_well, settle_down
from tests.lacking import lacking
from tests.standins.next_hop import NextHop
from tests.standins.relay import DOMAIN, RelayStandIn
from tests.standins.senders import Promises, connect, message

SIZES = [1_500, 60_000, 400_000]
ROOM = "24m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    if os.geteuid() != 0:
        lacking("mounting a small disk wants root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=700", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        lacking(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No room is left inside."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    yield
    ballast.unlink()


def send(client: smtplib.SMTP, promises: Promises, size: int) -> tuple[int, str]:
    """One message; the reply to its final dot. What was promised is noted."""
    mark, recipients, content = message(size)
    client.mail(f"app@{DOMAIN}")
    for recipient in recipients:
        client.rcpt(recipient)
    code, text = client.data(content)
    if code == 250:
        promises.accepted[mark] = (text.decode().removeprefix("Ok "), recipients)
    return code, text.decode()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_full_disk_is_told_to_clients_and_forgotten_when_there_is_room(
    database_url: str, small_disk: Path, tmp_path: Path
) -> None:
    promises = Promises()
    with NextHop() as hop:
        delivery = {"routes": [{"domain": "*", "via": f"smtp://127.0.0.1:{hop.port}"}], "retry": FAST_RETRIES}
        with RelayStandIn(tmp_path, next_hop=hop.port, settings={"delivery": delivery}) as relay:
            with connect(relay) as client:
                assert [send(client, promises, size)[0] for size in SIZES] == [250] * 3
                with filled(small_disk):
                    replies = {send(client, promises, size) for _ in range(40) for size in SIZES}
                    with connect(relay) as newcomer:
                        replies.add(send(newcomer, promises, SIZES[1]))
                refused = {reply for reply in replies if reply[0] != 250}
                assert refused == {(452, "4.3.1 Insufficient system storage")}
                deadline = time.monotonic() + 20
                while send(client, promises, SIZES[0])[0] != 250:
                    assert time.monotonic() < deadline, "there is room, and nothing is taken"
                    time.sleep(0.1)
                assert [send(client, promises, size)[0] for size in SIZES] == [250] * 3
            settle_down(relay, hop, seconds=60)
        assert_all_is_well(relay, hop, promises)

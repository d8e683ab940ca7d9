"""What stays in memory of the bodies: what was written last, whole files at a time."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sesrelay.model.message import BodyLocation
from sesrelay.store.bodies import Bodies
from sesrelay.store.recent import KEPT_OCTETS, RecentFiles
from sesrelay.store.segments import Disk
from tests.store.test_bodies import message, spool

MEGABYTE = 1 << 20


def named(forgotten: list[str]) -> Callable[[int], None]:
    return lambda descriptor: forgotten.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)


@pytest.fixture
def forgotten() -> list[str]:
    return []


@pytest.fixture
def recent(tmp_path: Path, forgotten: list[str]) -> RecentFiles:
    for name in "abcd":
        (tmp_path / name).write_bytes(b"octets")
    return RecentFiles(tmp_path, Disk(forget=named(forgotten)), kept_octets=10)


def test_a_file_stays_until_so_much_has_been_written_since(recent: RecentFiles, forgotten: list[str]) -> None:
    recent.add("a", 6)
    recent.add("b", 6)
    assert forgotten == []
    recent.add("c", 4)
    assert forgotten == ["a"]
    recent.add("d", 30)
    assert forgotten == ["a", "b", "c"]


def test_the_newest_stays_whatever_its_size(recent: RecentFiles, forgotten: list[str]) -> None:
    recent.add("a", 1000)
    assert forgotten == []


def test_a_file_that_has_gone_needs_nothing(recent: RecentFiles, forgotten: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").unlink()
    recent.add("a", 10)
    recent.add("b", 10)
    recent.add("c", 10)
    assert forgotten == ["b"]


def test_a_system_that_does_not_take_the_advice_is_not_in_our_way(tmp_path: Path) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(errno.EINVAL, "no such advice")

    files = RecentFiles(tmp_path, Disk(forget=refuse), kept_octets=1)
    for name in "ab":
        (tmp_path / name).write_bytes(b"octets")
        files.add(name, 6)


def test_full_segments_and_big_messages_leave_memory_in_turn_and_can_still_be_read(
    tmp_path: Path, forgotten: list[str]
) -> None:
    disk = Disk(forget=named(forgotten))
    with closing(Bodies(tmp_path, "one", disk, roll_over_octets=MEGABYTE)) as bodies:
        (small,) = bodies.append([message(b"s" * MEGABYTE)])
        places = [small]
        while len(forgotten) < 2:
            (big,) = bodies.adopt([spool(bodies, b"b" * MEGABYTE)])
            assert isinstance(big, BodyLocation)
            places.append(big)
            assert len(places) < 2 * KEPT_OCTETS / MEGABYTE
            if len(places) == 2:
                bodies.append([message(b"the next segment")])
        assert forgotten == [places[1].segment, small.segment]
        assert bodies.read(small) == b"s" * MEGABYTE
        assert bodies.read(places[1]).endswith(b"b" * MEGABYTE)

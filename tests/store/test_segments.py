"""Segments: what they promise when all is well, when the disk fails and when the process dies."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.message import BodyLocation
from sesrelay.store.segments import BodyDamaged, BodyMissing, Disk, Segment, read, write_all


class Journal:
    """A disk that writes down what is asked of it, and fails when told to."""

    def __init__(self) -> None:
        self.acts: list[str] = []
        self.failing: dict[str, OSError] = {}
        self.at_most = 1 << 30

    def disk(self) -> Disk:
        return Disk(self.write, lambda fd: self._act("sync", fd), lambda fd: self._act("sync_folder", fd))

    def write(self, descriptor: int, buffers: Sequence[bytes | memoryview]) -> int:
        self._note("write")
        some = b"".join(buffers)[: self.at_most]
        return os.write(descriptor, some)

    def _act(self, name: str, descriptor: int) -> None:
        self._note(name)
        os.fsync(descriptor)

    def _note(self, name: str) -> None:
        self.acts.append(name)
        if name in self.failing:
            raise self.failing[name]


@given(batches=st.lists(st.lists(st.binary(max_size=300), max_size=5), max_size=5))
def test_everything_that_was_appended_reads_back(
    batches: list[list[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bodies")
    segment = Segment(folder, "a.000001.segment")
    locations = [location for batch in batches for location in segment.append(batch)]
    assert [read(folder, location) for location in locations] == [content for batch in batches for content in batch]
    assert segment.size == (folder / segment.name).stat().st_size
    segment.close()


@given(buffers=st.lists(st.binary(max_size=20), max_size=1500), at_most=st.integers(1, 50))
def test_a_system_that_takes_little_at_a_time_gets_it_all_in_the_end(buffers: list[bytes], at_most: int) -> None:
    taken = bytearray()

    def write(_descriptor: int, some: Sequence[bytes | memoryview]) -> int:
        assert len(some) <= 1024, "IOV_MAX"
        piece = b"".join(some)[:at_most]
        taken.extend(piece)
        return len(piece)

    write_all(0, buffers, Disk(write=write))
    assert bytes(taken) == b"".join(buffers)


def test_a_new_segment_is_named_durably_before_it_holds_anything(tmp_path: Path) -> None:
    journal = Journal()
    segment = Segment(tmp_path, "a.000001.segment", journal.disk())
    segment.append([b"one", b"two"])
    assert journal.acts == ["sync_folder", "write", "sync"]


def test_a_segment_whose_folder_cannot_be_synced_is_not_begun(tmp_path: Path) -> None:
    journal = Journal()
    journal.failing["sync_folder"] = OSError(errno.EIO, "injected")
    with pytest.raises(OSError, match="injected"):
        Segment(tmp_path, "a.000001.segment", journal.disk())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("act", ["write", "sync"])
def test_after_a_failure_the_segment_ends_at_its_last_good_octet_and_its_lock_is_free(tmp_path: Path, act: str) -> None:
    journal = Journal()
    segment = Segment(tmp_path, "a.000001.segment", journal.disk())
    (good,) = segment.append([b"good"])
    journal.failing[act] = OSError(errno.ENOSPC, "injected")
    with pytest.raises(OSError, match="injected"):
        segment.append([b"lost"])
    assert (tmp_path / segment.name).read_bytes() == b"good"
    assert read(tmp_path, good) == b"good"
    with (tmp_path / segment.name).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_segment_is_locked_while_it_is_written_and_only_then(tmp_path: Path) -> None:
    segment = Segment(tmp_path, "a.000001.segment")
    with (tmp_path / segment.name).open("rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        segment.close()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_two_segments_never_share_a_file(tmp_path: Path) -> None:
    segment = Segment(tmp_path, "a.000001.segment")
    segment.append([b"kept"])
    with pytest.raises(FileExistsError):
        Segment(tmp_path, "a.000001.segment")
    assert (tmp_path / "a.000001.segment").read_bytes() == b"kept"


@given(cut=st.integers(0, 29))
def test_a_segment_cut_short_by_a_crash_still_gives_what_lies_before_the_cut(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bodies")
    segment = Segment(folder, "a.000001.segment")
    locations = segment.append([b"0123456789"] * 3)
    segment.close()
    os.truncate(folder / segment.name, cut)
    for number, location in enumerate(locations):
        if cut >= 10 * (number + 1):
            assert read(folder, location) == b"0123456789"
        else:
            with pytest.raises(BodyDamaged, match=r"a\.000001\.segment is damaged at \d+, 10 octets"):
                read(folder, location)


def test_one_changed_bit_is_noticed(tmp_path: Path) -> None:
    segment = Segment(tmp_path, "a.000001.segment")
    (location,) = segment.append([b"abc"])
    (tmp_path / segment.name).write_bytes(b"abb")
    with pytest.raises(BodyDamaged):
        read(tmp_path, location)


def test_a_segment_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(BodyMissing, match=r"^a\.000001\.segment is gone$"):
        read(tmp_path, BodyLocation("a.000001.segment", 0, 3, zlib.crc32(b"abc")))


@pytest.mark.parametrize("point", ["before-body-sync", "after-body-sync"])
def test_a_process_killed_around_the_sync_leaves_earlier_messages_whole(tmp_path: Path, point: str) -> None:
    program = (
        "import sys; from pathlib import Path; from sesrelay.store.segments import Segment\n"
        "segment = Segment(Path(sys.argv[1]), 'a.000001.segment')\n"
        "segment.append([b'good']); segment.append([b'late'])"
    )
    environment = {**os.environ, "SESRELAY_KILL_AT": f"{point}:2"}
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment, check=False)
    assert ended.returncode == -9
    assert read(tmp_path, BodyLocation("a.000001.segment", 0, 4, zlib.crc32(b"good"))) == b"good"

"""Bodies: durable before their rows, found by every process, swept only when nobody can need them."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sesrelay.model.message import BodyLocation, MessageId, NewMessage, Origin, SpooledBody
from sesrelay.store.bodies import Bodies
from sesrelay.store.segments import BodyMissing, Disk


def message(content: bytes | SpooledBody) -> NewMessage:
    return NewMessage(
        message_id=MessageId(bytes(24)),
        account_id="123456789012",
        region="us-east-1",
        origin=Origin.CLIENT,
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        mail_from="a@example.com",
        header_from="a@example.com",
        subject="",
        accepted_at=0,
        content=content,
        header_length=0,
        eight_bit=False,
        hops=0,
        body_hash=b"",
        tags="",
        recipients=(),
    )


def spool(bodies: Bodies, body: bytes, final_header: bytes = b"\r\n") -> SpooledBody:
    writer = bodies.spool(b"A: b\r\n\r\n")
    writer.write(body)
    return replace(writer.finish(), header=final_header)


def adopt(bodies: Bodies, body: bytes) -> BodyLocation:
    (place,) = bodies.adopt([spool(bodies, body)])
    assert isinstance(place, BodyLocation)
    return place


@pytest.fixture
def bodies(tmp_path: Path) -> Iterator[Bodies]:
    with closing(Bodies(tmp_path, "one")) as made:
        yield made


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def nothing_needed(_names: Sequence[str]) -> set[str]:
    return set()


def test_another_process_reads_what_one_wrote(bodies: Bodies, tmp_path: Path) -> None:
    locations = bodies.append([message(b"first"), message(b""), message(b"third")])
    program = (
        "import sys; from pathlib import Path; from sesrelay.store.bodies import Bodies\n"
        "from sesrelay.model.message import BodyLocation\n"
        "locations = eval(sys.argv[2])\n"
        "print([Bodies(Path(sys.argv[1]), 'two').read(location) for location in locations])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), repr(locations)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[b'first', b'', b'third']"


def test_batches_share_a_segment_until_it_is_full(tmp_path: Path) -> None:
    with closing(Bodies(tmp_path, "one", roll_over_octets=10)) as bodies:
        segments = [bodies.append([message(b"12345")])[0].segment for _ in range(5)]
    assert segments == ["one.000001.segment"] * 2 + ["one.000002.segment"] * 2 + ["one.000003.segment"]


def test_an_empty_batch_touches_nothing(bodies: Bodies, tmp_path: Path) -> None:
    assert bodies.append([]) == []
    assert names(tmp_path / "bodies") == set()


def test_after_a_full_disk_the_next_batch_goes_to_a_new_segment(tmp_path: Path) -> None:
    trouble: list[OSError] = []

    def write(descriptor: int, buffers: Sequence[bytes | memoryview]) -> int:
        if trouble:
            raise trouble.pop()
        return os.writev(descriptor, buffers)

    with closing(Bodies(tmp_path, "one", Disk(write=write))) as bodies:
        (before,) = bodies.append([message(b"before")])
        trouble.append(OSError(errno.ENOSPC, "injected"))
        with pytest.raises(OSError, match="injected"):
            bodies.append([message(b"lost")])
        (after,) = bodies.append([message(b"after")])
        assert (before.segment, after.segment) == ("one.000001.segment", "one.000002.segment")
        assert (bodies.read(before), bodies.read(after)) == (b"before", b"after")


def test_a_spooled_message_is_adopted_with_its_final_header(bodies: Bodies, tmp_path: Path) -> None:
    header, body = b"Received: x\r\nA: b\r\n\r\n", os.urandom(300_000)
    (location,) = bodies.adopt([spool(bodies, body, header)])
    assert isinstance(location, BodyLocation)
    assert bodies.read(location) == header + body
    assert names(tmp_path / "spool") == {"one.lock"}


def test_many_are_adopted_at_once_and_the_folder_is_synced_once(tmp_path: Path) -> None:
    syncs: list[str] = []

    def noted(name: str, function: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            syncs.append(name)
            function(descriptor)

        return sync

    disk = Disk(sync=noted("file", os.fdatasync), sync_folder=noted("folder", os.fsync))
    with closing(Bodies(tmp_path, "one", disk)) as bodies:
        assert syncs == ["folder"], "the one in which the folders were made"
        syncs.clear()
        all_of_them = [b"%d" % number for number in range(20)]
        places = bodies.adopt([spool(bodies, body) for body in all_of_them])
        assert [bodies.read(place) for place in places] == [b"\r\n" + body for body in all_of_them]
    assert syncs == ["file"] * 20 + ["folder"]
    assert Bodies(tmp_path, "two").adopt([]) == []


def test_one_message_that_cannot_be_adopted_is_not_the_others_fault(bodies: Bodies) -> None:
    spooled = [spool(bodies, b"%d" % number) for number in range(5)]
    Path(spooled[2].path).unlink()
    places = bodies.adopt(spooled)
    assert isinstance(places[2], FileNotFoundError)
    assert [bodies.read(p) for p in places if isinstance(p, BodyLocation)] == [b"\r\n0", b"\r\n1", b"\r\n3", b"\r\n4"]


def test_a_spooled_message_does_not_go_through_append(bodies: Bodies) -> None:
    with pytest.raises(TypeError, match="adopt"):
        bodies.append([message(spool(bodies, b"x"))])


@pytest.mark.parametrize("act", ["write", "sync", "sync_folder"])
def test_a_disk_that_fails_while_adopting_is_told_and_the_rest_goes_on(tmp_path: Path, act: str) -> None:
    trouble: list[OSError] = []

    def failing(name: str, function: Callable[..., int | None]) -> Callable[..., int | None]:
        def act_or_fail(*arguments: object) -> int | None:
            if name == act and trouble:
                raise trouble.pop()
            return function(*arguments)

        return act_or_fail

    disk = Disk(
        failing("write", os.writev),  # type: ignore[arg-type]
        failing("sync", os.fdatasync),  # type: ignore[arg-type]
        failing("sync_folder", os.fsync),  # type: ignore[arg-type]
    )
    with closing(Bodies(tmp_path, "one", disk)) as bodies:
        spooled = spool(bodies, b"lost")
        trouble.append(OSError(errno.EIO, "injected"))
        (place,) = bodies.adopt([spooled])
        assert isinstance(place, OSError)
        assert bodies.read(adopt(bodies, b"kept")) == b"\r\nkept"


def test_a_living_siblings_files_survive_a_sweep_even_without_rows(bodies: Bodies, tmp_path: Path) -> None:
    bodies.append([message(b"not committed yet")])
    adopt(bodies, b"neither")
    spool(bodies, b"still coming in")
    before = names(tmp_path / "bodies") | names(tmp_path / "spool")
    with closing(Bodies(tmp_path, "two")) as sibling:
        assert sibling.sweep(nothing_needed) == []
    assert names(tmp_path / "bodies") | names(tmp_path / "spool") == before


def test_a_siblings_full_segment_survives_a_sweep_before_its_rows_are_committed(tmp_path: Path) -> None:
    with closing(Bodies(tmp_path, "one", roll_over_octets=1)) as bodies, closing(Bodies(tmp_path, "two")) as sibling:
        locations = [bodies.append([message(b"x")])[0] for _ in range(2)]
        assert sibling.sweep(nothing_needed) == []
        assert [bodies.read(location) for location in locations] == [b"x", b"x"]


def test_a_dead_process_leaves_only_what_rows_need(tmp_path: Path) -> None:
    dead = Bodies(tmp_path, "dead", roll_over_octets=1)
    needed, orphan = (dead.append([message(b"x")])[0] for _ in range(2))
    big = adopt(dead, b"big")
    spool(dead, b"never accepted")
    dead.close()  # what the kernel does for a process that was killed
    asked: list[str] = []

    def still_needed(some: Sequence[str]) -> set[str]:
        asked.extend(some)
        return {needed.segment}

    with closing(Bodies(tmp_path, "heir")) as heir:
        swept = heir.sweep(still_needed)
        assert heir.read(needed) == b"x"
    assert sorted(asked) == sorted([needed.segment, orphan.segment, big.segment])
    assert sorted(swept) == sorted([orphan.segment, big.segment, "dead.000002.spool"])
    assert names(tmp_path / "bodies") == {needed.segment, "dead.lock"}
    assert names(tmp_path / "spool") == set(), "its lock went with its last file"


def test_a_killed_process_counts_as_dead(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from sesrelay.store.bodies import Bodies\n"
        "bodies = Bodies(Path(sys.argv[1]), 'dead'); bodies.spool(b'').write(b'x')\n"
        "bodies._append([b'x']); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == -9
    with closing(Bodies(tmp_path, "heir")) as heir:
        assert heir.sweep(nothing_needed) == ["dead.000001.segment", "dead.000001.spool"]


def test_thousands_of_files_are_asked_for_some_at_a_time(tmp_path: Path) -> None:
    with closing(Bodies(tmp_path, "heir")) as heir:
        for number in range(1, 1101):
            (tmp_path / "bodies" / f"dead.{number:06}.message").touch()
        sizes: list[int] = []

        def still_needed(some: Sequence[str]) -> set[str]:
            sizes.append(len(some))
            return set(some)

        assert heir.sweep(still_needed) == []
        assert sizes == [500, 500, 100]


def test_messages_move_to_the_segment_that_is_being_written(tmp_path: Path) -> None:
    old = Bodies(tmp_path, "old")
    keep, gone = old.append([message(b"held for weeks"), message(b"delivered")])
    old.close()
    with closing(Bodies(tmp_path, "new")) as new:
        (moved,) = new.move([keep])
        assert new.remove([keep.segment]) == [keep.segment]
        assert new.read(moved) == b"held for weeks"
        with pytest.raises(BodyMissing):
            new.read(gone)


def test_the_segment_that_is_being_written_is_never_removed(bodies: Bodies, tmp_path: Path) -> None:
    (location,) = bodies.append([message(b"x")])
    with closing(Bodies(tmp_path, "two")) as sibling:
        assert sibling.remove([location.segment]) == []
    assert bodies.remove([location.segment]) == []
    assert bodies.read(location) == b"x"


def test_a_segment_that_got_rows_after_all_is_not_removed(tmp_path: Path) -> None:
    with closing(Bodies(tmp_path, "one", roll_over_octets=1)) as bodies, closing(Bodies(tmp_path, "two")) as sibling:
        first, late = (bodies.append([message(b"x")])[0] for _ in range(2))
        bodies.append([message(b"x")])
        gone = sibling.remove([first.segment, late.segment], lambda names: {late.segment} & set(names))
        assert gone == [first.segment]
        assert bodies.read(late) == b"x"


def test_rows_are_asked_for_while_the_segment_is_locked(tmp_path: Path) -> None:
    with closing(Bodies(tmp_path, "dead")) as dead:
        (location,) = dead.append([message(b"x")])

    def still_needed(names: Sequence[str]) -> set[str]:
        with (tmp_path / "bodies" / location.segment).open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return set()

    with closing(Bodies(tmp_path, "heir")) as heir:
        assert heir.remove([location.segment], still_needed) == [location.segment]


def test_an_incarnation_that_comes_back_overwrites_nothing(tmp_path: Path) -> None:
    locations: list[BodyLocation] = []
    for _ in range(2):
        with closing(Bodies(tmp_path, "same")) as bodies:
            locations += bodies.append([message(b"small")])
            locations.append(adopt(bodies, b"big"))
    assert len({location.segment for location in locations}) == 4
    with closing(Bodies(tmp_path, "reader")) as reader:
        assert [reader.read(location) for location in locations] == [b"small", b"\r\nbig"] * 2


def test_two_processes_do_not_go_by_one_name(bodies: Bodies, tmp_path: Path) -> None:
    bodies.append([message(b"x")])
    with closing(Bodies(tmp_path, "one")) as second, pytest.raises(BlockingIOError, match="same incarnation"):
        second.append([message(b"y")])

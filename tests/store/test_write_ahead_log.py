"""The write-ahead log is copied back after the answers have gone out, and does not grow for ever."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sesrelay.model.refusal import Refused
from sesrelay.store import Store, StoreOptions, sqlite
from sesrelay.store.database import Database
from tests.store.samples import an_order, open_account

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@only_sqlite
async def test_the_log_is_begun_anew_when_it_is_long(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 50)
    monkeypatch.setattr(sqlite, "_CHECKED_EVERY_STATEMENTS", 10)
    await store.write(open_account)
    content = b"Subject: x\r\n\r\n" + b"x" * 12_000
    for _ in range(100):
        await store.accept(an_order(content=content))
    assert (tmp_path / "sesrelay.db-wal").stat().st_size < 150 * 4096
    assert (tmp_path / "sesrelay.db").stat().st_size > 100 * 12_000
    assert await store.verify() == []


@only_sqlite
async def test_writing_holds_the_pen_of_the_data_folder(store: Store, tmp_path: Path) -> None:
    await store.write(open_account)
    await store.read(lambda tx: None)  # opening a connection needs the pen, too; reading does not
    pen = sqlite.WriteLock(tmp_path)
    with pen.held():
        accepting = asyncio.create_task(store.accept(an_order()))
        await store.read(lambda tx: None)
        assert not accepting.done()
    await accepting
    pen.close()


def test_who_waits_for_the_pen_has_it_before_the_one_who_has_just_let_it_go(tmp_path: Path) -> None:
    mine, theirs = sqlite.WriteLock(tmp_path), sqlite.WriteLock(tmp_path)
    pen = f":{(tmp_path / sqlite.LOCK_NAME).stat().st_ino} "
    had: list[str] = []

    def wait_and_write() -> None:
        with theirs.held():
            had.append("who waited")

    for _ in range(100):
        mine.acquire()
        waiter = threading.Thread(target=wait_and_write)
        waiter.start()
        while not any("->" in line and pen in line for line in Path("/proc/locks").read_text().splitlines()):
            pass
        mine.release()
        with mine.held():
            had.append("who let go")
        waiter.join()
    assert had == ["who waited", "who let go"] * 100
    mine.close()
    theirs.close()


@only_sqlite
async def test_whoever_comes_while_another_process_writes_goes_with_the_batch_that_waits(
    store: Store, tmp_path: Path
) -> None:
    await store.write(open_account)
    await store.accept(an_order())
    sizes: list[int] = []
    store.watch_batches(sizes.append)
    pen = sqlite.WriteLock(tmp_path)
    with pen.held():
        accepting = [asyncio.create_task(store.accept(an_order()))]
        while not store._engine._accepts:  # until the writer has it in hand and waits for the pen
            await asyncio.sleep(0.001)
        accepting += [asyncio.create_task(store.accept(an_order())) for _ in range(4)]
        await asyncio.sleep(0)
    await asyncio.gather(*accepting)
    assert sizes == [5]
    pen.close()


@only_sqlite
async def test_the_pen_is_given_back_when_nothing_could_be_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write(open_account)
    await store.accept(an_order())

    def full(_contents: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(store._bodies, "append", full)
    with pytest.raises(Refused):
        await store.accept(an_order(content=b"Subject: x\r\n\r\n" + b"x" * 20_000))
    pen = sqlite.WriteLock(tmp_path)
    await asyncio.wait_for(asyncio.to_thread(pen.acquire), 10)
    pen.release()
    pen.close()


@only_sqlite
async def test_nobody_else_may_read_the_database(store: Store, tmp_path: Path) -> None:
    await store.write(open_account)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("sesrelay.db*")}
    assert modes == dict.fromkeys(("sesrelay.db", "sesrelay.db-shm", "sesrelay.db-wal"), 0o600)


@only_sqlite
async def test_a_new_connection_leaves_the_locks_of_the_others_on_the_file(
    store: Store, migrated: Callable[..., StoreOptions], tmp_path: Path
) -> None:
    """Whoever closes a descriptor of a file loses all its locks (fcntl(2)), and with them the write-ahead log."""
    await store.write(open_account)
    database = Database(migrated())
    database.connect_reading().close()
    database.connect().close()
    database.close()
    number = (tmp_path / "sesrelay.db").stat().st_ino
    held = [line for line in Path("/proc/locks").read_text().splitlines() if f":{number} " in line]
    assert any("POSIX" in line and f" {os.getpid()} " in line for line in held), held


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_a_lock_that_root_makes_belongs_to_the_owner_of_the_other_one(tmp_path: Path) -> None:
    (tmp_path / sqlite.LOCK_NAME).touch()
    os.chown(tmp_path / sqlite.LOCK_NAME, 1234, 2345)
    sqlite.WriteLock(tmp_path).close()
    made = (tmp_path / sqlite.NEXT_NAME).stat()
    assert (made.st_uid, made.st_gid) == (1234, 2345)

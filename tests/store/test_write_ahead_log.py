"""The write-ahead log is copied back after the answers have gone out, and does not grow for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sesrelay.store import Store, sqlite
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

"""A process that dies at any of the store's kill points has lost nothing that it promised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from sesrelay.model.message import MessageId
from sesrelay.store import Store
from sesrelay.store.schema import messages, recipients
from tests.store import victim
from tests.store.samples import an_order, open_account

ROOT = Path(__file__).parents[2]

PLACES = [
    ("sqlite", "before-body-sync", 20_000),
    ("sqlite", "after-body-sync", 20_000),
    *[(database, place, 100) for database in ("sqlite", "postgresql") for place in ("before-commit", "after-commit")],
    ("sqlite", "before-commit", 20_000),
]


def run_victim(options, place: str, count: int, octets: int) -> tuple[set[str], set[str]]:
    """Ids that the victim heard were accepted, and settled."""
    arguments = [options.database, str(options.data_dir), options.incarnation, str(octets)]
    environment = {**os.environ, "SESRELAY_KILL_AT": f"{place}:{count}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, victim.__file__, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    words = [line.split() for line in done.stdout.splitlines()]
    return {w[1] for w in words if w[0] == "accepted"}, {w[1] for w in words if w[0] == "settled"}


@pytest.mark.parametrize(("database_url", "place", "octets"), PLACES, indirect=["database_url"])
@pytest.mark.parametrize("count", [1, 4])
async def test_nothing_that_was_promised_is_lost(store: Store, migrated, place: str, octets: int, count: int) -> None:
    await store.write(open_account)
    accepted, settled = run_victim(migrated("victim"), place, count, octets)
    await store.release(["victim"])
    rows = await store.read(lambda tx: tx.execute(select(messages)))
    ids = {str(MessageId(row.message_id)) for row in rows}
    assert accepted <= ids
    finished = await store.read(lambda tx: tx.execute(select(recipients).where(recipients.c.state == 2)))
    assert settled <= {str(MessageId(row.message_id)) for row in finished}
    assert await store.verify() == []
    waiting = await store.claim_due(500)
    assert len(waiting) == len(ids) - len(finished)
    await store.sweep_bodies()
    assert await store.verify() == []
    assert (await store.accept(an_order())).claims

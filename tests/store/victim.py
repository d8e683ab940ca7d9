"""A process that accepts and settles until a kill point takes it; says what it was promised, as it hears it.

Usage: victim.py DATABASE DATA_DIR INCARNATION OCTETS. Prints ``ready``, ``accepted ID`` and ``settled ID``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sesrelay.store import Store, StoreOptions
from tests.clock import FakeClock
from tests.store.samples import an_order, settled


async def main(database: str, data_dir: str, incarnation: str, octets: str) -> None:
    store = Store.open(StoreOptions(database, Path(data_dir), "node", incarnation, None), FakeClock())
    await store.start()
    content = b"Subject: x\r\n\r\n" + b"x" * int(octets)

    async def one() -> None:
        accepted = await store.accept(an_order(content=content))
        print("accepted", accepted.message_id, flush=True)
        applied = await store.settle([settled(accepted.claims[0])])
        print("settled", *[message_id for message_id, _ in applied], flush=True)

    for _ in range(20):
        await asyncio.gather(*[one() for _ in range(5)])
    raise SystemExit("nobody killed me")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

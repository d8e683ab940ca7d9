"""Programs of ours that are run to their end beside the event loop, and never left behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import IO, Final

from sesrelay.model.clock import Clock

_LOOK_SECONDS: Final = 0.01


async def run(
    command: Sequence[str], clock: Clock, *, seconds: float, stdin: IO[bytes] | None = None
) -> tuple[int | None, bytes]:
    """Its exit status, None when it was too slow, and what it wrote. Who is too slow is killed, and so is it when the
    caller is cancelled. OSError.

    Once the process runs nothing is needed any more that may have run out. (asyncio's own subprocesses need a thread
    or a descriptor then, and are left behind without, or when nobody waits for them any more.)
    """
    with os.fdopen(os.memfd_create("sesrelay-output"), "r+b") as output:
        end = clock.monotonic() + seconds
        process = subprocess.Popen(  # noqa: ASYNC220 - returns when the process is there
            command, stdin=stdin, stdout=output
        )
        try:
            while process.poll() is None:
                if clock.monotonic() > end:
                    return None, b""
                await clock.sleep(_LOOK_SECONDS)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        return process.returncode, output.read()

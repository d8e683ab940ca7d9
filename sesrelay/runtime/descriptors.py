"""File descriptors: as many as the system lets us have, and never all of them for sessions.

A process without descriptors can neither refuse a client politely nor open its database, and asyncio's own accept loop
spins on it. So a worker takes sessions only up to a share of its limit; who comes beyond gets the 421 of every full
relay, and what delivers and stores mail keeps the rest. The HTTPS port has a small share of its own: whatever its
clients do, mail comes in.
"""

from __future__ import annotations

import errno
import re
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

ENOUGH: Final = 1 << 20
"""Some systems allow a thousand million, for which programs that close them all would need minutes."""
KEPT: Final = 64
"""Of a small limit, for database, deliveries and log."""
NO_ROOM: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT}
"""What the system says when something has run out: it may be there again later."""
_FILE: Final = Path("/proc/self/limits")
_SOFT: Final = re.compile(r"^Max open files +(\d+)", re.MULTILINE)


def raise_limit() -> None:
    """This process's and its children's, to what it may be; where that is forbidden it stays."""
    with suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
        if soft < wanted and soft != resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int:
    """How many this process may have open. From a file, since a service's sandbox may forbid to ask the kernel."""
    try:
        found = _SOFT.search(_FILE.read_text())
    except OSError:
        found = None
    return int(found[1]) if found else ENOUGH


def for_worker(listeners: int) -> int:
    """How many a worker has to be allowed: with less it could start, and then serve nobody."""
    return KEPT + listeners


def beside(listeners: int) -> int:
    """How many this process may have open beside so many listening sockets: its room."""
    return max(0, limit() - listeners)


def for_sessions(room: int) -> int:
    """How many of them a worker's SMTP sessions may take: three quarters, of few all but the kept ones, and not what
    the HTTPS port has.
    """
    return max(1, min(room * 3 // 4, room - KEPT) - for_https(room))


def for_https(room: int) -> int:
    """How many a worker's HTTPS port may take, all in all."""
    return max(2, room // 16)


def for_https_crowd(room: int) -> int:
    """How many of these are for telling clients that they are too many."""
    return min(16, for_https(room) // 2)

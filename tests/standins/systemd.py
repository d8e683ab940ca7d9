"""What systemd does for a service with sockets: it passes them on as descriptors from 3 on, and keeps them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

ACTIVATE = """
import os, sys
count, environment = int(sys.argv[1]), dict(os.environ)
for place in range(count):  # first out of the way of each other, then to 3, 4 …
    os.dup2(int(sys.argv[2 + place]), 50 + place)
for place in range(count):
    os.dup2(50 + place, 3 + place)
environment |= {"LISTEN_FDS": str(count), "LISTEN_PID": str(os.getpid())}
os.execve(sys.executable, [sys.executable, *sys.argv[2 + count:]], environment)
"""


def activated(sockets: Sequence[socket.socket], arguments: Sequence[str]) -> list[str]:
    """The command line of ``python ARGUMENTS`` with these sockets; their descriptors keep their numbers till then."""
    fds = [str(sock.fileno()) for sock in sockets]
    return [sys.executable, "-c", ACTIVATE, str(len(fds)), *fds, *arguments]

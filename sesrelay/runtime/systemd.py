"""What systemd and we tell each other: sockets it opened for us, and how we are.

sd_listen_fds(3) and sd_notify(3), as far as a service needs them; without systemd nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping
from typing import Final

_FIRST_FD: Final = 3


def passed_sockets(environ: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """Listening stream sockets of socket activation, and takes the variables off so that no child believes them."""
    count, owner = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or owner != str(pid):
        return []
    found = [socket.socket(fileno=fd) for fd in range(_FIRST_FD, _FIRST_FD + int(count))]
    for sock in found:
        os.set_inheritable(sock.fileno(), False)
        sock.setblocking(False)
    return [sock for sock in found if sock.family in (socket.AF_INET, socket.AF_INET6)]


class Notifier:
    """Tells systemd how the service is."""

    def __init__(self, environ: MutableMapping[str, str], pid: int) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        microseconds, owner = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", str(pid))
        self.watchdog_seconds = int(microseconds) / 1e6 if microseconds.isdigit() and owner == str(pid) else 0.0
        """A sign of life is wanted within this span; 0: none is."""

    def ready(self) -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1")

    def reloading(self, monotonic_seconds: float) -> None:
        """A reload has begun (Type=notify-reload wants the moment with it)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={round(monotonic_seconds * 1e6)}")

    def stopping(self) -> None:
        """The drain has begun."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The watchdog may wait for the next one."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={text}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # systemd restarts, or there is no descriptor left: the next message will find it, and no reload fails for it.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.sendto(message.encode(), address)

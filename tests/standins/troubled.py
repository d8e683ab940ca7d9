"""A listening socket at which accept(2) says what it is told to, before it does its work."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from typing import Any

OF_THE_CONNECTION = (
    *(errno.EPROTO, errno.ECONNABORTED, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN),
    *(errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH),
)
"""What a connection may have met while it waited (accept(2))."""
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class TroubledSocket(socket.socket):
    """On a port of 127.0.0.1 that the system chooses."""

    def __init__(self, *errors: int) -> None:
        super().__init__()
        self.errors = list(errors)
        self.bind(("127.0.0.1", 0))

    def _accept(self) -> Any:
        """``accept`` is made of this one."""
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return super()._accept()  # type: ignore[misc]


def named(numbers: Iterable[int]) -> list[str]:
    """For the names of tests."""
    return [errno.errorcode[number] for number in numbers]

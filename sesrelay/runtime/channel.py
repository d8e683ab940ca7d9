"""The line between the supervisor and one worker: whole messages, some with descriptors, and the news of a death.

A SOCK_SEQPACKET pair keeps the bounds of messages. When one end's process is gone, however it went, the other
end hears it as the end of the line. Descriptors for which the hearing process has no room are closed by the kernel: the
message is heard without them.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

_LARGEST: Final = 1 << 18
_MOST_DESCRIPTORS: Final = 16
_MOST_WAITING: Final = 10_000
_NOT_NOW: Final = {errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS}
"""No memory for a message, or too many descriptors on their way: said of the system, not of the other end."""
_AGAIN_SECONDS: Final = 0.05

Message = dict[str, Any]
"""What is said, by the key ``say``; the rest belongs to it. JSON, since it never leaves the machine's memory."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new line."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _LARGEST)
    return ends


class Channel:
    """One end, on the running event loop."""

    def __init__(
        self, end: socket.socket, hear: Callable[[Message, list[int]], None], ended: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = end
        self._hear = hear
        self._ended = ended
        self._waiting: deque[tuple[bytes, Sequence[int], Callable[[], None]]] = deque()
        self._open = True
        end.setblocking(False)
        self._loop.add_reader(end.fileno(), self._readable)

    def say(self, what: str, fds: Sequence[int] = (), sent: Callable[[], None] = lambda: None, **rest: Any) -> bool:
        """Sends a message; ``sent`` is called when the descriptors are no longer needed here.

        False when the line is down or its other end is far behind.
        """
        if not self._open or len(self._waiting) >= _MOST_WAITING:
            return False
        self._waiting.append((json.dumps({"say": what, **rest}).encode(), fds, sent))
        if len(self._waiting) == 1:
            self._writable()
        return True

    def close(self) -> None:
        """No more; the other end hears it. What was not sent yet is lost."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._end.fileno())
            self._loop.remove_writer(self._end.fileno())
            self._end.close()
            while self._waiting:
                self._waiting.popleft()[2]()

    def _writable(self) -> None:
        while self._waiting:
            data, fds, sent = self._waiting[0]
            try:
                socket.send_fds(self._end, [data], fds)
            except BlockingIOError:
                self._loop.add_writer(self._end.fileno(), self._writable)
                return
            except OSError as error:
                if error.errno in _NOT_NOW:
                    self._loop.remove_writer(self._end.fileno())
                    self._loop.call_later(_AGAIN_SECONDS, self._writable)
                    return
                # Else the other end is gone: reading says so.
            sent()
            self._waiting.popleft()
        if self._open:
            self._loop.remove_writer(self._end.fileno())

    def _readable(self) -> None:
        while self._open:
            try:
                data, fds, flags, _ = socket.recv_fds(self._end, _LARGEST, _MOST_DESCRIPTORS)
            except BlockingIOError:
                return
            except OSError:
                data, fds, flags = b"", [], 0
            if not data:
                self.close()
                self._ended()
                return
            if flags & socket.MSG_CTRUNC:  # some are missing, and nobody knows which
                while fds:
                    os.close(fds.pop())
            self._hear(json.loads(data), fds)

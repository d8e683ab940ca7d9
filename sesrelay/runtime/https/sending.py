"""What the kernel knows of octets on their way to a client. (the loop hides it for TLS)"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Final

_SIOCOUTQ: Final = 0x5411  # tcp(7)
_INFO_OCTETS: Final = 128
_ACKED_AT: Final = 120  # tcpi_bytes_acked in struct tcp_info of linux/tcp.h, since Linux 4.1


def untaken(connection: socket.socket) -> int:
    """Octets that were sent and that the client's side has not confirmed. More may wait for room only while it is
    above 0. A connection that the loop has closed has none.
    """
    if connection.fileno() < 0:
        return 0
    found: int = struct.unpack("i", fcntl.ioctl(connection.fileno(), _SIOCOUTQ, bytes(4)))[0]
    return found


def taken(connection: socket.socket) -> int:
    """Octets that it has confirmed since the connection was made; 0 when the loop has closed it."""
    if connection.fileno() < 0:
        return 0
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_OCTETS)
    found: int = struct.unpack_from("Q", info, _ACKED_AT)[0]
    return found

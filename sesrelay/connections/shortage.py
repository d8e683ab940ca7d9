"""Which errors of accept(2) are a shortage of ours, and for how long it is waited. The supervisor loads this too."""

from __future__ import annotations

import errno
from typing import Final

REST_SECONDS: Final = 1.0
"""Until a socket is tried again."""

OF_THE_CONNECTION: Final = frozenset(
    {
        # accept(2): network errors that were pending on it, to be treated as if nobody had waited
        *(errno.ENETDOWN, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN),
        *(errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH),
        *(errno.ECONNABORTED, errno.EPERM),  # it has left; a firewall forbids it
        *(errno.ENOSR, errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT, errno.ETIMEDOUT),
        *(errno.EAGAIN, errno.EINTR),
    }
)
"""What accept(2) says that is no trouble of ours. The rest is (descriptors, memory), and would come again at once."""

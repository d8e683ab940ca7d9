"""How many sessions of a front the whole node holds, in all and for each client address: counted over all workers.

The counts lie in memory that the supervisor makes and its workers inherit. Each worker counts in a table of
its own and adds up everybody's under a lock, so a limit is exact; a dead worker's share is given back by
wiping its table. An address counts in one of ``PLACES`` places chosen by a keyed hash: two addresses meet in
a place with a chance of 1 in ``PLACES``, and then share one bound. IPv6 clients count by their /64, which is
what one customer gets.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from functools import lru_cache
from typing import Final

from sesrelay.model.client import customer

PLACES: Final = 1 << 15
_TABLE: Final = PLACES + 1  # the first number of a table is the worker's total
_INTEGER: Final = 4
_KNOWN_ADDRESSES: Final = 4096
"""Clients come back: their places are remembered."""


class NodeCaps:
    """The counts of one set of workers. ``worker`` is the place of this process among them."""

    def __init__(
        self,
        fd: int,
        workers: int,
        worker: int,
        key: bytes,
        *,
        connections: int,
        connections_per_address: int,
        connections_here: int,
    ) -> None:
        """``connections_here``: as many as this worker has file descriptors for."""
        self.fd = fd
        self._worker = worker
        self._bases = [number * _TABLE for number in range(workers)]
        self._key = key
        self._most = connections
        self._most_here = connections_here
        self._most_per_address = connections_per_address
        self._place = lru_cache(_KNOWN_ADDRESSES)(self._find_place)
        self._memory = mmap.mmap(fd, workers * _TABLE * _INTEGER)
        self._counts = memoryview(self._memory).cast("I")

    @staticmethod
    def memory(workers: int) -> int:
        """A file descriptor of memory for so many workers, all counts 0; untouched pages cost nothing. OSError."""
        fd = os.memfd_create("sesrelay-caps")
        try:
            os.ftruncate(fd, workers * _TABLE * _INTEGER)
        except OSError:
            os.close(fd)
            raise
        return fd

    def close(self) -> None:
        """Counts no more. The map has a descriptor of its own, which goes with it; ``fd`` stays its maker's."""
        self._counts.release()
        self._memory.close()

    def admit(self, address: str) -> bool:
        """Counts a new session of this client, or says no. Who was admitted must ``leave`` once."""
        place = self._place(address)
        self._lock()
        try:
            if self.connections_here() >= self._most_here or self._sum(0) >= self._most:
                return False
            if self._sum(place) >= self._most_per_address:
                return False
            self._add(place, 1)
        finally:
            self._unlock()
        return True

    def leave(self, address: str) -> None:
        """The session of an admitted client has ended."""
        place = self._place(address)
        self._lock()
        try:
            self._add(place, -1)
        finally:
            self._unlock()

    def give_back(self, worker: int) -> None:
        """That worker is dead, and its sessions with it."""
        base = self._bases[worker]
        self._lock()
        try:
            self._counts[base : base + _TABLE] = memoryview(bytes(_TABLE * _INTEGER)).cast("I")
        finally:
            self._unlock()

    def connections(self) -> int:
        """Sessions of the node now."""
        return self._sum(0)

    def connections_here(self) -> int:
        """Sessions of this worker now."""
        return self._counts[self._bases[self._worker]]

    def _sum(self, place: int) -> int:
        counts = self._counts
        return sum([counts[base + place] for base in self._bases])

    def _add(self, place: int, number: int) -> None:
        base = self._bases[self._worker]
        self._counts[base] += number
        self._counts[base + place] += number

    def _find_place(self, address: str) -> int:
        digest = hashlib.blake2b(customer(address), digest_size=8, key=self._key).digest()
        return 1 + int.from_bytes(digest, "big") % PLACES

    def _lock(self) -> None:
        # A record lock belongs to the process, not to the inherited descriptor, and dies with it.
        fcntl.lockf(self.fd, fcntl.LOCK_EX)

    def _unlock(self) -> None:
        fcntl.lockf(self.fd, fcntl.LOCK_UN)

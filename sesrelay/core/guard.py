"""Who failed to log in waits before the next password is looked at (SMTP-9), and never learns anything by it.

The wait is settled before anything is known of key and password, and both kinds of outcome come after it: an unknown
key, a wrong password and the right one wait alike (SMTP-4), and who guesses in parallel gains nothing by seeing who is
answered first. A wait is never a refusal.

Failures are counted three ways, and the longest wait of the three counts:

- of a client's address, whichever keys it tried: who guesses waits up to the longest time;
- of a key from a network (IPv4 /24, IPv6 /48), against a guesser who walks through a network's addresses; a login that
  succeeds takes these back;
- of a key, wherever they came from: with a mild longest wait, since the attacked key has a rightful owner.

A network that a key has logged in from within a day is known for it: there neither failures elsewhere nor other keys'
failures at the same address (behind one NAT) cost the owner anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from sesrelay.model.client import customer, network
from sesrelay.rules.patience import Patience, wait_seconds

_FRESH: Final = 0.9
"""A login of the last hours need not be written down again."""
_KNOWN: Final = 0.5
"""Logins are counted as at most one and fade with a half-life of a day: known for a day."""


class Tally(Protocol):
    """Numbers by name that fade, the same for every worker of the node; names may share a number by chance."""

    def number(self, name: bytes) -> float:
        """What has not faded yet."""

    def add(self, name: bytes) -> None:
        """One more."""

    def take_back(self, name: bytes) -> None:
        """All that this name has."""


@dataclass(frozen=True, slots=True)
class GuardBounds:
    """How much is borne."""

    address: Patience
    key_in_network: Patience
    key: Patience


class LoginGuard:
    """Asked before each look at a password, told afterwards."""

    def __init__(self, failures: Tally, logins: Tally, bounds: GuardBounds) -> None:
        """``logins``: counts to one."""
        self._failures = failures
        self._logins = logins
        self._bounds = bounds

    def wait_seconds(self, address: str, access_key_id: str) -> float:
        """What this client has to wait before this key's password is looked at."""
        pair = _pair(address, access_key_id)
        wait = wait_seconds(self._failures.number(pair), self._bounds.key_in_network)
        if self._logins.number(pair) >= _KNOWN:
            return wait
        of_address = wait_seconds(self._failures.number(_of_address(address)), self._bounds.address)
        of_key = wait_seconds(self._failures.number(_of_key(access_key_id)), self._bounds.key)
        return max(wait, of_address, of_key)

    def failed(self, address: str, access_key_id: str) -> None:
        """It was a definite no."""
        for name in (_of_address(address), _pair(address, access_key_id), _of_key(access_key_id)):
            self._failures.add(name)

    def succeeded(self, address: str, access_key_id: str) -> None:
        """The client is who it says. What its address did with other keys stays."""
        pair = _pair(address, access_key_id)
        if self._logins.number(pair) < _FRESH:
            self._logins.add(pair)
        self._failures.take_back(pair)


def _of_address(address: str) -> bytes:
    return b"a" + customer(address)


def _of_key(access_key_id: str) -> bytes:
    return b"k" + access_key_id.encode("utf-8", "replace")


def _pair(address: str, access_key_id: str) -> bytes:
    where = network(address)
    return b"p%d:%b%b" % (len(where), where, access_key_id.encode("utf-8", "replace"))

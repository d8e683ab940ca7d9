"""Verification as workers and pages see it: domains that are due and what became of them, links and what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

from sesrelay.core import identities
from sesrelay.model.identity import AddressLink, DnsAnswer, Identity, LinkState
from sesrelay.rules import links
from sesrelay.store.keyring import Keyring
from sesrelay.store.transaction import Transaction

T = TypeVar("T")
LINK_PURPOSE: Final = "verify-link"
_EPOCH: Final = 0


class VerifyStore(Protocol):
    """What verifying needs of the store."""

    async def read(self, function: Callable[[Transaction], T]) -> T: ...

    async def write(self, function: Callable[[Transaction], T]) -> T: ...


class LinkFate(NamedTuple):
    """What became of a link, and what it says; None: it is forged."""

    state: LinkState
    link: AddressLink | None


FORGED: Final = LinkFate(LinkState.FORGED, None)


class Verifying:
    """All may raise StoreError."""

    def __init__(self, store: VerifyStore, keyring: Keyring | None) -> None:
        """``keyring`` None: no link was made by us."""
        self._store = store
        self._keys = keyring.derived(LINK_PURPOSE, _EPOCH) if keyring else ()

    async def due(self, limit: int) -> list[Identity]:
        """Domains to be asked about now; nobody else is given them for five minutes."""
        return await self._store.write(partial(identities.take_due, limit=limit))

    async def answered(self, asked: Identity, answer: DnsAnswer, spread: float, mistakes: Sequence[str]) -> bool:
        """What the DNS said of one that was due; ``identities.answered``."""
        return await self._store.write(
            partial(identities.answered, asked=asked, answer=answer, spread=spread, mistakes=mistakes)
        )

    def link_text(self, link: AddressLink) -> str:
        """The last part of a link's URL."""
        return links.write(link, self._keys[0])

    async def look(self, text: str) -> LinkFate:
        """What a link is good for; changes nothing, since programs follow links, too."""
        link = links.read(text, self._keys)
        if link is None:
            return FORGED
        return LinkFate(await self._store.read(partial(identities.look_at_link, link=link)), link)

    async def confirm(self, text: str) -> LinkFate:
        """Its reader says yes."""
        link = links.read(text, self._keys)
        if link is None:
            return FORGED
        return LinkFate(await self._store.write(partial(identities.confirm, link=link)), link)

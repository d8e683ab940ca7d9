"""What every front and worker gets: the verbs of the relay, wired to this process's store and delivery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sesrelay.core.accept import Acceptance, AcceptStore, HandOver, Naming
from sesrelay.core.login import LoginDesk, LoginStore
from sesrelay.core.notices import IdentityNotices
from sesrelay.core.publish import Publishing, PublishStore
from sesrelay.core.settle import SettleStore, Settling
from sesrelay.core.telling import Telling
from sesrelay.core.verifying import Verifying, VerifyStore
from sesrelay.model.account import AccountFacts, Login
from sesrelay.model.clock import Clock
from sesrelay.model.message import AttemptResult, MessageId, Settlement, Submission
from sesrelay.rules.retries import DEFAULT, Schedule
from sesrelay.store.keyring import Keyring


class RelayStore(AcceptStore, LoginStore, SettleStore, PublishStore, VerifyStore, Protocol):
    """What the verbs need of the store."""

    async def facts(
        self, account_id: str, region: str, *, fresh: bool = False, version: int | None = None
    ) -> AccountFacts: ...


class Relay:
    """``accept``, ``login``, ``settle``: each is described where it is built."""

    def __init__(
        self,
        store: RelayStore,
        clock: Clock,
        chance: Callable[[int], bytes],
        naming: Naming,
        hand_over: HandOver,
        *,
        keyring: Keyring | None,
        schedule: Schedule = DEFAULT,
        burst_seconds: float = 1.0,
        settled: Callable[[Settlement], None] = lambda _: None,
        captured: Callable[[int], None] = lambda _: None,
    ) -> None:
        """``chance(n)``: n octets that nobody can foresee.

        ``settled`` hears of every outcome that was written, ``captured`` of recipients that are kept as they come.
        """
        self._acceptance = Acceptance(
            store, clock, chance, naming, hand_over, burst_seconds=burst_seconds, captured=captured
        )
        self._desk = LoginDesk(store, keyring, chance)
        self._settling = Settling(store, clock, chance, schedule, settled)
        self.verifying = Verifying(store, keyring)
        """Domains to be asked about, and links in mails."""
        self.notices = Publishing(store, clock, self.accept)
        """Bounces that senders must be told of; ``events.publisher`` asks for them."""
        self.identity_notices = IdentityNotices(store, clock, self.accept, self.verifying)
        """What owners of addresses and accounts must be told; ``events.identities`` asks for it."""
        self.owners = Telling(store, clock, self.accept)
        """What owners of accounts must be told of; ``events.owners`` asks for it."""

    async def accept(self, submission: Submission) -> MessageId:
        """Takes responsibility for a message; ``accept.Acceptance.accept``. Raises Refused."""
        return await self._acceptance.accept(submission)

    async def login(self, access_key_id: str, password: bytes, region: str, client_address: str = "") -> Login:
        """Who a client is; ``login.LoginDesk.login``. Raises Refused."""
        return await self._desk.login(access_key_id, password, region, client_address)

    async def settle(self, results: Sequence[AttemptResult]) -> None:
        """Takes note of what became of mail; ``settle.Settling.settle``."""
        await self._settling.settle(results)

    async def expire_held(self) -> int:
        """Gives up mail that was held for too long; ``settle.Settling.expire_held``."""
        return await self._settling.expire_held()

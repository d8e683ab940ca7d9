"""Asking the DNS about domains that are to be verified, or still are: each at its time, by one worker (ID-7, ID-8).

A domain is taken out of the store for five minutes and its answer written where nothing else happened to it meanwhile;
so it is asked once however many workers there are, and again soon when the one that asked has died.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import structlog

from sesrelay.model.clock import Clock
from sesrelay.model.identity import DnsAnswer, Identity
from sesrelay.resolver import DnsTroubleError, NoSuchNameError
from sesrelay.rules import identity_life, records

log = structlog.get_logger()
AT_ONCE: Final = 20


class Dns(Protocol):
    """What of ``resolver.Resolver`` is used here."""

    async def published_txt(self, name: str) -> tuple[str, ...]: ...


class Verifying(Protocol):
    """What of ``core.verifying.Verifying`` is used here."""

    async def due(self, limit: int) -> list[Identity]: ...

    async def answered(self, asked: Identity, answer: DnsAnswer, spread: float, mistakes: Sequence[str]) -> bool: ...


class DomainWatch:
    """``round`` is all of it."""

    def __init__(self, verifying: Verifying, dns: Dns, clock: Clock, spread: Callable[[], float]) -> None:
        self._verifying = verifying
        self._dns = dns
        self._clock = clock
        self._spread = spread

    async def round(self) -> int:
        """Asks about every domain that is due now; how many. One whose servers are silent keeps its own place only."""
        total, under_way = 0, set[asyncio.Task[None]]()
        try:
            while True:
                due = await self._verifying.due(AT_ONCE - len(under_way))
                total += len(due)
                under_way |= {asyncio.create_task(self._look_after(one)) for one in due}
                if not under_way:
                    return total
                _, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in under_way:
                task.cancel()

    async def _look_after(self, identity: Identity) -> None:
        """One that fails does not stop the others: it is due again in five minutes."""
        try:
            answer, trouble = await ask(self._dns, identity.name, identity.token)
            wrong = await self._mistakes(identity, answer)
            counted = await self._verifying.answered(identity, answer, self._spread(), wrong)
        except Exception:
            log.exception("domain not looked after", domain=identity.name, account=identity.account_id)
        else:
            log.info(
                "domain asked about", domain=identity.name, account=identity.account_id, region=identity.region,
                answer=answer.value, trouble=trouble, counted=counted,
            )  # fmt: skip

    async def _mistakes(self, identity: Identity, answer: DnsAnswer) -> list[str]:
        """Only where a mail is going to tell of them."""
        if answer is not DnsAnswer.ABSENT or not identity_life.is_told_of_absence(identity.life, self._clock.now()):
            return []
        return await find_mistakes(self._dns, identity.name, identity.token)


class Finding(NamedTuple):
    """What the DNS says about a domain's record."""

    answer: DnsAnswer
    trouble: str
    """Why nothing is known; "" when something is."""


async def ask(dns: Dns, domain: str, token: str) -> Finding:
    """Whether a domain's record is there, at one of the two names. One that cannot be asked about hides no other."""
    looks = await asyncio.gather(*(_look(dns, name) for name in records.accepted_names(domain)))
    if any(records.holds(token, look.values) for look in looks):
        return Finding(DnsAnswer.FOUND, "")
    trouble = next((look.trouble for look in looks if look.trouble), "")
    return Finding(DnsAnswer.TROUBLE if trouble else DnsAnswer.ABSENT, trouble)


async def find_mistakes(dns: Dns, domain: str, token: str) -> list[str]:
    """What people commonly do wrong, as far as it can be seen; each a sentence."""
    names = records.places_of_mistakes(domain)
    looks = await asyncio.gather(*(_look(dns, name) for name in names))
    return records.mistakes(domain, token, {name: look.values for name, look in zip(names, looks, strict=True)})


class _Look(NamedTuple):
    """Of one name."""

    values: tuple[str, ...] = ()
    trouble: str = ""


async def _look(dns: Dns, name: str) -> _Look:
    try:
        return _Look(await dns.published_txt(name))
    except NoSuchNameError:
        return _Look()
    except DnsTroubleError as trouble:
        return _Look(trouble=str(trouble) or "no answer")

"""The relay built out of its parts: the one module that knows everybody.

Everything that the parts may not know (settings, the system's clock and chance, which worker this is) becomes a
plain value or a function here. What is built neither listens nor delivers until ``runtime.worker`` starts it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.routing import Route

from sesrelay.certificates.configured import certificate_files
from sesrelay.connections.caps import NodeConnections
from sesrelay.core.accept import Naming
from sesrelay.core.guard import GuardBounds, LoginGuard, Tally
from sesrelay.core.relay import Relay
from sesrelay.delivery.attempt import Envelopes
from sesrelay.delivery.dialing import Dialer
from sesrelay.delivery.dialing import TlsContexts as OutgoingTls
from sesrelay.delivery.hosts import HostFinder
from sesrelay.delivery.lease import Lease
from sesrelay.delivery.slots import WorkerShareOfSlots
from sesrelay.delivery.watchdog import Watchdog
from sesrelay.delivery.worker import DeliveryLimits, DeliveryWorker
from sesrelay.events.identities import IdentityTeller
from sesrelay.events.identity_mail import Letterhead
from sesrelay.events.owners import OwnerTeller
from sesrelay.events.publisher import Publisher
from sesrelay.fronts.smtp.data import WorkerOctets
from sesrelay.fronts.smtp.door import Surroundings
from sesrelay.fronts.smtp.tls import TlsContexts
from sesrelay.fronts.verify.pages import routes as verify_pages
from sesrelay.model.clock import HOUR, MINUTE, SECOND, Clock
from sesrelay.model.message import AttemptResult, Claim, Settlement
from sesrelay.resolver import Resolver
from sesrelay.rules import verp
from sesrelay.rules.patience import Patience
from sesrelay.rules.retries import Schedule
from sesrelay.rules.routing import Routes, read_route
from sesrelay.rules.sandbox import simulator_domains
from sesrelay.settings import Settings, Smtp, endpoints, public_url
from sesrelay.store import Store, StoreOptions
from sesrelay.store.keyring import Keyring
from sesrelay.store.keyring import load as load_keyring
from sesrelay.verification.domains import DomainWatch

_RETURN_PATH_EPOCH: Final = 0


class Counts(Protocol):
    """What the relay's watchers want counted."""

    def accepted(self, recipients: int) -> None:
        """A message was committed."""

    def refused(self, reason: str) -> None:
        """A login or a message was refused, by this name."""

    def proxy_header_refused(self) -> None:
        """A peer sent no PROXY header, or may not send one."""

    def connection_refused(self) -> None:
        """A client was told that there are too many."""

    def login_delayed(self) -> None:
        """A login waits, because of those that failed before it."""

    def settled(self, outcome: str, seconds: float) -> None:
        """A recipient reached this state, so long after acceptance."""

    def captured(self, recipients: int) -> None:
        """Recipients are kept here since their acceptance."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which worker of which node this is."""

    node: str
    incarnation: str
    workers: int
    """Of the node."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A worker's relay, ready to be started."""

    store: Store
    relay: Relay
    lease: Lease
    delivery: DeliveryWorker
    publisher: Publisher
    front: Surroundings
    domains: DomainWatch
    pages: list[Route]
    """Of the HTTPS port."""


def open_store(settings: Settings, place: Place, keyring: Keyring, clock: Clock) -> Store:
    """The store of this worker. Raises StoreError, OSError."""
    regions = tuple(settings.regions)
    options = StoreOptions(settings.database, settings.data_dir, place.node, place.incarnation, keyring, regions)
    return Store.open(options, clock)


def build(
    settings: Settings,
    place: Place,
    *,
    clock: Clock,
    chance: Callable[[int], bytes],
    spread: Callable[[], float],
    caps: NodeConnections,
    failed_logins: Tally,
    logins: Tally,
    counts: Counts,
) -> Parts:
    """Everything of a worker. Raises StoreError (also for the keyring), OSError, and BadPair (certificate)."""
    keyring = load_keyring(settings.keyring)
    names = endpoints(settings)
    (_, first), *others = certificate_files(settings)
    tls = TlsContexts(first.certificate, first.private_key, names, [files for _, files in others], clock.now)
    store = open_store(settings, place, keyring, clock)
    lease = Lease(clock)
    resolver = Resolver(settings.dns.nameservers, clock)

    async def settle(results: Sequence[AttemptResult]) -> None:
        await relay.settle(results)  # delivery and relay know each other

    delivery = DeliveryWorker(
        queue=store,
        settle=settle,
        routes=_routes(settings).find,
        dialer=_dialer(settings, clock, spread, resolver),
        slots=WorkerShareOfSlots(settings.delivery.node_connections_per_destination, place.workers),
        envelopes=Envelopes(_return_path(settings, keyring)),
        lease=lease,
        clock=clock,
        chance=spread,
        limits=_limits(settings),
    )
    relay = Relay(
        store,
        clock,
        chance,
        _naming(settings, names),
        delivery,
        keyring=keyring,
        schedule=_schedule(settings),
        settled=_counter(counts, clock),
        captured=counts.captured,
    )
    front = Surroundings(
        relay=relay,
        tls=tls,
        caps=caps,
        clock=clock,
        chance=chance,
        counters=counts,
        spool=store.spool,
        memory=WorkerOctets(settings.smtp.worker_body_octets),
        endpoints=names,
        guard=LoginGuard(failed_logins, logins, _guard_bounds(settings.smtp)),
    )
    letterhead = Letterhead(settings.product_name, settings.service_domain, public_url(settings))
    identity_mails = IdentityTeller(relay.identity_notices, letterhead)
    owner_mails = OwnerTeller(relay.owners, settings.service_domain)
    publisher = Publisher(relay.notices, clock, settings.service_domain, names, (identity_mails, owner_mails))
    domains = DomainWatch(relay.verifying, resolver, clock, spread)
    pages = verify_pages(relay.verifying, settings.product_name)
    return Parts(store, relay, lease, delivery, publisher, front, domains, pages)


def _naming(settings: Settings, names: dict[str, str]) -> Naming:
    return Naming(
        settings.service_domain, settings.regions, names, received_shows_client=settings.smtp.received_shows_client
    )


def _guard_bounds(smtp: Smtp) -> GuardBounds:
    first, longest = smtp.failed_login_first_seconds, smtp.failed_login_longest_seconds
    return GuardBounds(
        address=Patience(smtp.node_failed_logins_per_address, first, longest),
        key_in_network=Patience(smtp.node_failed_logins_per_key_and_network, first, longest),
        key=Patience(smtp.node_failed_logins_per_key, first, smtp.failed_login_longest_seconds_per_key),
    )


def _counter(counts: Counts, clock: Clock) -> Callable[[Settlement], None]:
    def count(settlement: Settlement) -> None:
        seconds = (clock.now() - settlement.claim.accepted_at) / SECOND
        counts.settled(settlement.verdict.state.value, seconds)

    return count


def _schedule(settings: Settings) -> Schedule:
    retry = settings.delivery.retry
    return Schedule(
        round(retry.first_minutes * MINUTE), round(retry.longest_minutes * MINUTE), round(retry.max_age_hours * HOUR)
    )


def _routes(settings: Settings) -> Routes:
    rules = [read_route(route.domain, route.via, route.tls, verp=route.verp) for route in settings.delivery.routes]
    return Routes(rules, simulator_domains(settings.service_domain))


def _limits(settings: Settings) -> DeliveryLimits:
    delivery = settings.delivery
    return DeliveryLimits(delivery.connection_messages, delivery.hops, round(delivery.retry.max_age_hours * HOUR))


def _dialer(settings: Settings, clock: Clock, spread: Callable[[], float], resolver: Resolver) -> Dialer:
    """The way out. Mail that the DNS would send to our own listeners on the mail port is a loop."""
    listeners = [listener for listener in settings.listeners if listener.port == settings.delivery.port]
    finder = HostFinder(
        resolver,
        settings.delivery.port,
        own_names=frozenset(name.lower() for name in (*endpoints(settings).values(), settings.service_domain)),
        own_addresses=frozenset(listener.address for listener in listeners),
        chance=spread,
    )
    return Dialer(
        finder,
        clock,
        Watchdog(clock),
        OutgoingTls(),
        settings.service_domain,
        settings.delivery.connection_idle_seconds,
    )


def _return_path(settings: Settings, keyring: Keyring) -> Callable[[Claim], str]:
    """Where bounces of a copy come back to (DEL-10): below the feedback domain, of its region unless one is set."""
    key = keyring.derive("verp", _RETURN_PATH_EPOCH)
    given = settings.feedback.domain
    domains = {region: given or f"bounces.{region}.{settings.service_domain}" for region in settings.regions}
    return lambda claim: verp.address(claim.message_id, claim.number, domains[claim.region], key)

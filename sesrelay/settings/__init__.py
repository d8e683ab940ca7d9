"""Every setting once: name, type, default, unit, meaning and check.

``configuration`` fills these from the file and the environment; ``fronts.cli.example`` prints them as
config/sesrelay.yaml and as the tables of docs/OPERATING.md. What a value may look like is in ``forms``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from sesrelay.settings.forms import (
    DatabaseName,
    Domain,
    FreeFailures,
    IpAddress,
    Nameserver,
    Network,
    Port,
    ProductName,
    PublicUrl,
    Region,
    RouteDomain,
    ServiceDomain,
    Via,
    some,
    unique_regions,
)


class Section(BaseModel):
    """What all sections share: unknown keys are faults, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Listener(Section):
    """An SMTP listener."""

    address: IpAddress = Field("127.0.0.1", description="Address to listen on; IPv4 or IPv6.")
    port: Port = Field(2587, description="TCP port; 0 lets the system choose.")
    mode: Literal["starttls", "tls"] = Field("starttls", description="STARTTLS, or TLS from the first octet.")
    region: str | None = Field(None, description="Region of its sessions; without one, TLS SNI decides.")
    proxy_protocol: bool = Field(False, description="A load balancer in front sends the PROXY header.")


class Endpoint(Section):
    """An address and a port."""

    address: IpAddress = Field("127.0.0.1", description="Address to listen on; IPv4 or IPv6.")
    port: Port = Field(description="TCP port; 0 lets the system choose.")


class Http(Endpoint):
    """The HTTPS port: Query API, SNS API, console, links in mails."""

    port: Port = Field(8443, description="TCP port; 0 lets the system choose.")
    public_url: PublicUrl | None = Field(
        None,
        description="Where the world reaches this port, for links in mails; "
        "null: https://<service_domain>, or address and port where they are of this machine only.",
    )
    node_connections: PositiveInt = Field(
        2000, description="Connections of the whole node; more get 503 (health checks their answer), or are closed."
    )
    node_connections_per_address: PositiveInt = Field(
        200, description="Connections from one client address; more get the same."
    )
    tls_handshake_seconds: PositiveFloat = Field(
        10, description="Seconds from the connection to the end of its TLS handshake; then closed."
    )
    head_seconds: PositiveFloat = Field(
        20, description="Seconds for the head of a request; then 408, or closed when nothing of it came."
    )
    head_octets: PositiveInt = Field(16_384, description="Octets of a request's head; then 431.")
    body_seconds: PositiveFloat = Field(
        20,
        description="Seconds in which the next 16384 octets of a body must come, or its end; then 408. "
        "They do not run while the client waits for 100 Continue.",
    )
    body_octets: PositiveInt = Field(16_777_216, description="Octets of a request's body; then 413.")
    worker_body_octets: PositiveInt = Field(
        67_108_864, description="Octets of bodies under way in one worker; beyond it 503."
    )
    answer_seconds: PositiveFloat = Field(
        30,
        description="Seconds in which a client must take the next 16384 octets of an answer, or its rest; "
        "then cut off.",
    )
    idle_seconds: PositiveFloat = Field(
        30, description="Seconds that a connection is kept for another request; then closed."
    )


class Metrics(Endpoint):
    """Plain HTTP for this machine: /metrics, /healthz, /readyz."""

    port: Port = Field(9465, description="TCP port; 0 lets the system choose.")


class Feedback(Endpoint):
    """The return path: bounces and complaints come in here."""

    port: Port = Field(2525, description="TCP port (25 in production); 0 lets the system choose.")
    domain: Domain | None = Field(
        None, description="Domain of return paths; null: bounces.<region>.<service_domain> (DEL-10)."
    )


class Certificate(Section):
    """A further certificate: for the names that it carries, or with another kind of key (P-256 beside RSA)."""

    certificate: Path = Field(description="PEM chain, server first.")
    private_key: Path = Field(description="PEM private key, without a password.")


class Tls(Section):
    """The server's certificates. The files are read again when they change."""

    certificate: Path = Field(Path("certs/server.pem"), description="PEM chain, server first.")
    private_key: Path = Field(Path("certs/server.key"), description="PEM private key, without a password.")
    certificates: tuple[Certificate, ...] = Field(
        (), description="More of them; TLS SNI and the client's abilities choose."
    )


class Smtp(Section):
    """Bounds of the front door (SMTP-9); a limit says whom it counts."""

    idle_seconds: PositiveFloat = Field(
        300, description="Seconds after which a session that sends nothing is closed (451 4.4.2)."
    )
    session_seconds: PositiveFloat = Field(3600, description="Seconds of a session's life; then 421.")
    session_messages: PositiveInt = Field(10_000, description="Messages in one session; then 421.")
    session_recipients: PositiveInt = Field(1000, description="RCPT commands for one message; then 421.")
    session_failed_logins: PositiveInt = Field(5, description="Failed AUTH in one session; then 421.")
    session_bad_commands: PositiveInt = Field(20, description="Unknown or wrong commands in one session; then 421.")
    node_connections: PositiveInt = Field(20_000, description="Sessions of the whole node; more get 421.")
    node_connections_per_address: PositiveInt = Field(
        1000, description="Sessions from one client address; more get 421."
    )
    login_seconds: PositiveFloat = Field(600, description="Seconds that a session has to log in; then 421.")
    node_failed_logins_per_address: FreeFailures = Field(
        10, description="Failed AUTH from one client address after which each further login there waits."
    )
    node_failed_logins_per_key_and_network: FreeFailures = Field(
        5, description="The same for one access key from one network (IPv4 /24, IPv6 /48)."
    )
    node_failed_logins_per_key: FreeFailures = Field(20, description="The same for one access key from everywhere.")
    failed_login_first_seconds: PositiveFloat = Field(
        1, description="Seconds of the first such wait; each further failure doubles it."
    )
    failed_login_longest_seconds: PositiveFloat = Field(20, description="Seconds up to which the wait grows.")
    failed_login_longest_seconds_per_key: PositiveFloat = Field(
        2,
        description="Seconds up to which it grows for failures of the key from everywhere: its owner waits them, too.",
    )
    failed_login_half_life_seconds: PositiveFloat = Field(600, description="Seconds after which half of them count.")
    message_octets: PositiveInt = Field(10_485_760, description="Octets of the largest message (SMTP-8).")
    worker_body_octets: PositiveInt = Field(
        67_108_864, description="Octets of messages under way in one worker; beyond it 452."
    )
    tls_handshake_seconds: PositiveFloat = Field(30, description="Seconds for a TLS handshake.")
    proxy_networks: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Networks whose load balancers may send the PROXY header; others are closed.",
    )
    received_shows_client: bool = Field(False, description="Write the client's address into Received (MSG-6).")


class Route(Section):
    """Where mail for a domain goes; the first match wins."""

    domain: RouteDomain = Field("*", description="A domain, *.domain for its subdomains and itself, or * for all.")
    via: Via = Field(
        "capture", description="mx, capture, or smtp://[user:password@]host[:port] / smtps://… (a smart host)."
    )
    verp: bool = Field(True, description="Send with the relay's own return path, one recipient a transaction (DEL-10).")
    tls: Literal["opportunistic", "require", "never"] = Field("opportunistic", description="TLS to this next hop.")


class Retry(Section):
    """When a failed attempt is tried again (DEL-5)."""

    max_age_hours: PositiveFloat = Field(14, description="Hours after which mail expires.")
    first_minutes: PositiveFloat = Field(5, description="Minutes after the first failure; it doubles each time.")
    longest_minutes: PositiveFloat = Field(60, description="Minutes up to which the wait grows.")


class Delivery(Section):
    """The delivery engine."""

    routes: Annotated[tuple[Route, ...], AfterValidator(some)] = Field(
        (Route(),), description="Where mail goes; first match wins."
    )
    retry: Retry = Field(default_factory=Retry)
    node_connections_per_destination: PositiveInt = Field(50, description="Connections of the node to one next hop.")
    connection_messages: PositiveInt = Field(1000, description="Messages over one connection.")
    connection_idle_seconds: PositiveFloat = Field(30, description="Seconds for which an unused connection is kept.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(25, description="TCP port of MX hosts.")
    hops: PositiveInt = Field(50, description="Received fields beyond which mail is taken for a loop and bounced.")


class Limits(Section):
    """What a new account may do; an operator sets each account's own by `limits set`."""

    identities: PositiveInt = Field(1000, description="Identities of one account, over all regions (ID-9).")
    growth: bool = Field(False, description="Step up with high use and few bounces, down with many (LIM-6).")


class Api(Section):
    """The Query API."""

    actions_per_second: float = Field(
        1, ge=0, description="Actions a second for an account and region (LIM-8); 0: unlimited."
    )


class Events(Section):
    """Outgoing HTTP."""

    allow_networks: tuple[Network, ...] = Field(
        (), description="Internal networks that outgoing HTTP may reach, as 127.0.0.0/8; plain http only there."
    )


class Dns(Section):
    """Name resolution."""

    nameservers: tuple[Nameserver, ...] = Field(
        (), description="Servers to ask: address or address:port; none: the system's."
    )


class Retention(Section):
    """How long finished things are kept."""

    bodies_days: PositiveFloat = Field(3, description="Days for bodies of finished mail.")
    captured_days: PositiveFloat = Field(14, description="Days for captured mail.")
    history_days: PositiveFloat = Field(30, description="Days for the story of each message.")


class Settings(Section):
    """The whole configuration."""

    service_domain: ServiceDomain = Field(description="The operator's domain, where the guide says amazonaws.com.")
    data_dir: Path = Field(description="Folder of database, bodies and spool.")
    keyring: Path = Field(
        Path("keyring"), description="File with the master keys (0600); keep it apart from backups of the data."
    )
    database: DatabaseName = Field(
        "sqlite", description="sqlite (in data_dir), or postgresql://user:password@host/name."
    )
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = Field(
        "auto", description="Worker processes, 1 to 256; auto: one for each core."
    )
    drain_seconds: PositiveFloat = Field(
        25, description="Seconds that mail under way has to finish at a stop or reload, before workers are ended."
    )
    regions: Annotated[tuple[Region, ...], AfterValidator(some), AfterValidator(unique_regions)] = Field(
        ("us-east-1",),
        description="Regions served here. The order counts in message ids: add new ones at the end.",
    )
    product_name: ProductName = Field(
        "sesrelay", description="What the relay calls itself in its mails and pages, where the guide says Amazon SES."
    )
    listeners: Annotated[tuple[Listener, ...], AfterValidator(some)] = Field(
        (Listener(), Listener(port=2465, mode="tls")), description="Where SMTP clients come in."
    )
    tls: Tls = Field(default_factory=Tls)
    smtp: Smtp = Field(default_factory=Smtp)
    http: Http = Field(default_factory=Http)
    metrics: Metrics = Field(default_factory=Metrics)
    feedback: Feedback = Field(default_factory=Feedback)
    limits: Limits = Field(default_factory=Limits)
    api: Api = Field(default_factory=Api)
    events: Events = Field(default_factory=Events)
    dns: Dns = Field(default_factory=Dns)
    retention: Retention = Field(default_factory=Retention)
    delivery: Delivery = Field(default_factory=Delivery)


def endpoints(settings: Settings) -> dict[str, str]:
    """Region to the name of its SMTP endpoint, in the order of the configuration."""
    return {region: f"email-smtp.{region}.{settings.service_domain}" for region in settings.regions}


KeyPath = tuple[str | int, ...]
"""The way to a key: ``("listeners", 0, "port")``."""


def public_url(settings: Settings) -> str:
    """Where the world reaches the HTTPS port, without a slash at its end."""
    http = settings.http
    if http.public_url is not None:
        return http.public_url
    own = ipaddress.ip_address(http.address)
    host = (f"[{own}]" if own.version == 6 else str(own)) if own.is_loopback else settings.service_domain
    return f"https://{host}" if http.port == 443 else f"https://{host}:{http.port}"


def contradictions(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Settings that are well formed but cannot hold together: which key, and why."""
    for index, listener in enumerate(settings.listeners):
        if listener.region is not None and listener.region not in settings.regions:
            yield ("listeners", index, "region"), f"{listener.region} is not one of regions"
    yield from _shared_ports(settings)
    for index, route in enumerate(settings.delivery.routes[:-1]):
        if route.domain == "*":
            yield ("delivery", "routes", index + 1), "is never reached: the route before it takes every domain"
            break
    retry = settings.delivery.retry
    if retry.first_minutes > retry.longest_minutes:
        yield ("delivery", "retry", "first_minutes"), "must not be longer than longest_minutes"
    smtp = settings.smtp
    for key in ("failed_login_longest_seconds", "failed_login_longest_seconds_per_key"):
        if getattr(smtp, key) < smtp.failed_login_first_seconds:
            yield ("smtp", key), "must not be shorter than failed_login_first_seconds"


def _shared_ports(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Two listeners on the same address and port; port 0 is never shared."""
    places: list[tuple[KeyPath, str, int]] = [
        *((("listeners", i, "port"), listener.address, listener.port) for i, listener in enumerate(settings.listeners)),
        (("http", "port"), settings.http.address, settings.http.port),
        (("metrics", "port"), settings.metrics.address, settings.metrics.port),
        (("feedback", "port"), settings.feedback.address, settings.feedback.port),
    ]
    taken: dict[tuple[str, int], KeyPath] = {}
    for key, address, port in places:
        if port and (first := taken.setdefault((address, port), key)) != key:
            yield key, f"port {port} on {address} is taken by {spell(first)} already"


def spell(path: KeyPath) -> str:
    """A key as people write it: ``listeners[0].port``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")

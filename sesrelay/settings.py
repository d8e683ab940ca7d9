"""Every setting once: name, type, default, unit and meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """What all sections share: unknown keys are faults, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listener(Section):
    """An SMTP listener."""

    address: str = Field("127.0.0.1", description="Address to listen on; IPv4 or IPv6.")
    port: Port = Field(2587, description="TCP port; 0 lets the system choose.")
    mode: Literal["starttls", "tls"] = Field("starttls", description="STARTTLS, or TLS from the first octet.")
    region: str | None = Field(None, description="Region of its sessions; without one, TLS SNI decides.")
    proxy_protocol: bool = Field(False, description="A load balancer in front sends the PROXY header.")


class Endpoint(Section):
    """An address and a port."""

    address: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(description="TCP port; 0 lets the system choose.")


class Http(Endpoint):
    """The HTTPS port: Query API, SNS API, console."""

    port: Port = Field(8443, description="TCP port.")


class Metrics(Endpoint):
    """Plain HTTP for this machine: /metrics, /healthz, /readyz."""

    port: Port = Field(9465, description="TCP port.")


class Feedback(Endpoint):
    """The return path: bounces and complaints come in here."""

    port: Port = Field(2525, description="TCP port (25 in production).")
    domain: str | None = Field(None, description="Domain of return paths; null: bounces.<region>.<service_domain>.")


class Tls(Section):
    """The server's certificate."""

    certificate: Path = Field(Path("certs/server.pem"), description="PEM chain, server first.")
    private_key: Path = Field(Path("certs/server.key"), description="PEM private key.")


class Smtp(Section):
    """Bounds of the front door (SMTP-9); a limit says whom it counts."""

    idle_seconds: PositiveFloat = Field(
        300, description="A session that sends nothing for so long is closed (451 4.4.2)."
    )
    session_seconds: PositiveFloat = Field(3600, description="A session's life; then 421 at the next command.")
    session_messages: PositiveInt = Field(10_000, description="Messages in one session; then 421.")
    session_recipients: PositiveInt = Field(1000, description="RCPT commands for one message; then 421.")
    session_failed_logins: PositiveInt = Field(5, description="Failed AUTH in one session; then 421.")
    session_bad_commands: PositiveInt = Field(20, description="Unknown or wrong commands in one session; then 421.")
    node_connections: PositiveInt = Field(20_000, description="Sessions of the whole node; more get 421.")
    node_connections_per_address: PositiveInt = Field(
        1000, description="Sessions from one client address; more get 421."
    )
    message_octets: PositiveInt = Field(10_485_760, description="Largest message (SMTP-8).")
    worker_body_octets: PositiveInt = Field(
        67_108_864, description="Message octets under way in one worker; beyond it 452."
    )
    tls_handshake_seconds: PositiveFloat = Field(30, description="Time for a TLS handshake.")
    received_shows_client: bool = Field(False, description="Write the client's address into Received (MSG-6).")


class Route(Section):
    """Where mail for a domain goes; the first match wins."""

    domain: str = Field("*", description="A domain, *.domain for its subdomains and itself, or * for all.")
    via: str = Field(
        "capture", description="mx, capture, or smtp://[user:password@]host[:port] / smtps://… (a smart host)."
    )
    verp: bool = Field(True, description="Send with the relay's own return path, one recipient a transaction (DEL-10).")
    tls: Literal["opportunistic", "require", "never"] = Field("opportunistic", description="TLS to this next hop.")


class Retry(Section):
    """When a failed attempt is tried again (DEL-5)."""

    max_age_hours: PositiveFloat = Field(14, description="Older mail expires.")
    first_minutes: PositiveFloat = Field(5, description="Wait after the first failure; it doubles each time.")
    longest_minutes: PositiveFloat = Field(60, description="The wait grows up to this.")


class Delivery(Section):
    """The delivery engine."""

    routes: tuple[Route, ...] = Field((Route(),), description="First match wins.")
    retry: Retry = Field(default_factory=Retry)
    node_connections_per_destination: PositiveInt = Field(50, description="Connections of the node to one next hop.")
    connection_messages: PositiveInt = Field(1000, description="Messages over one connection.")
    connection_idle_seconds: PositiveFloat = Field(30, description="An unused connection is kept so long.")
    port: Port = Field(25, description="Port of MX hosts.")
    hops: PositiveInt = Field(50, description="Received fields beyond which mail is taken for a loop and bounced.")


class Api(Section):
    """The Query API."""

    actions_per_second: float = Field(1, ge=0, description="Per account and region (LIM-8); 0: unlimited.")


class Events(Section):
    """Outgoing HTTP."""

    allow_networks: tuple[str, ...] = Field((), description="Internal networks that outgoing HTTP may reach.")


class Dns(Section):
    """Name resolution."""

    nameservers: tuple[str, ...] = Field((), description="address or address:port; none: the system's.")


class Retention(Section):
    """How long finished things are kept."""

    bodies_days: PositiveFloat = Field(3, description="Bodies of finished mail.")
    captured_days: PositiveFloat = Field(14, description="Captured mail.")
    history_days: PositiveFloat = Field(30, description="The story of each message.")


class Settings(Section):
    """The whole configuration."""

    service_domain: str = Field(description="The operator's domain, where the guide says amazonaws.com.")
    data_dir: Path = Field(description="Database, bodies, spool.")
    keyring: Path = Field(
        Path("keyring"), description="File with the master keys (0600); keep it apart from backups of the data."
    )
    database: str = Field("sqlite", description="sqlite, or postgresql://user:password@host/name.")
    workers: Literal["auto"] | PositiveInt = Field("auto", description="Worker processes; auto: one for each core.")
    regions: tuple[str, ...] = Field(("us-east-1",), min_length=1)
    listeners: tuple[Listener, ...] = Field(
        (Listener(), Listener(port=2465, mode="tls")), min_length=1, description="SMTP listeners."
    )
    tls: Tls = Field(default_factory=Tls)
    smtp: Smtp = Field(default_factory=Smtp)
    http: Http = Field(default_factory=Http)
    metrics: Metrics = Field(default_factory=Metrics)
    feedback: Feedback = Field(default_factory=Feedback)
    api: Api = Field(default_factory=Api)
    events: Events = Field(default_factory=Events)
    dns: Dns = Field(default_factory=Dns)
    retention: Retention = Field(default_factory=Retention)
    delivery: Delivery = Field(default_factory=Delivery)

"""Two regions in one process, chosen by listener and by the name that the client asks for: nothing of one is seen in
the other but accounts and credentials (REG-1, REG-2).
"""

from __future__ import annotations

import smtplib
import ssl
from pathlib import Path

import pytest

from tests.standins.next_hop import NextHop
from tests.standins.relay import DOMAIN, SERVICE_DOMAIN, RelayStandIn, free_port

US, EU = "us-east-1", "eu-west-1"
PERSON = "to@next-hop.example"
NO_MORE_TODAY = (454, "Throttling failure: Daily message quota exceeded.")
SUSPENDED = (554, "Message rejected: Customer is suspended.")


class House:
    """A relay with a listener for each region and one that serves both."""

    def __init__(self, relay: RelayStandIn) -> None:
        self.relay = relay
        self.ports = {US: relay.starttls_port, EU: free_port()}
        self.shared = relay.tls_port
        common = {"address": "127.0.0.1"}
        relay.reconfigure(
            regions=[US, EU],
            listeners=[
                *[common | {"port": port, "mode": "starttls", "region": name} for name, port in self.ports.items()],
                common | {"port": self.shared, "mode": "tls"},
            ],
        )
        relay.command("certificate", "renew")
        self.context = ssl.create_default_context(cafile=str(relay.ca))

    def by_listener(self, region: str) -> smtplib.SMTP:
        """A session on the region's own port, by the region's name, whose certificate is checked."""
        session = smtplib.SMTP("127.0.0.1", self.ports[region], timeout=20)
        session._host = endpoint(region)  # type: ignore[attr-defined]
        session.starttls(context=self.context)
        return session

    def by_name(self, region: str) -> smtplib.SMTP:
        """A session on the port of both: SNI says which."""
        context = Named(self.context, endpoint(region))
        return smtplib.SMTP_SSL("127.0.0.1", self.shared, context=context, timeout=20)  # type: ignore[arg-type]

    def login(self, session: smtplib.SMTP) -> smtplib.SMTP:
        session.login(self.relay.user_name, self.relay.password)
        return session


class Named:
    """An SSL context that asks for one name, wherever it connects to."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._context = context
        self._name = name

    def wrap_socket(self, sock: object, **_: object) -> ssl.SSLSocket:
        return self._context.wrap_socket(sock, server_hostname=self._name)  # type: ignore[arg-type]


def endpoint(region: str) -> str:
    return f"email-smtp.{region}.{SERVICE_DOMAIN}"


def send(session: smtplib.SMTP, sender: str = f"app@{DOMAIN}", recipient: str = PERSON) -> tuple[int, str]:
    """The reply to the final dot."""
    session.mail(sender)
    session.rcpt(recipient)
    code, text = session.data(f"From: {sender}\r\nSubject: x\r\n\r\nx\r\n")
    return code, text.decode()


def not_verified(region: str, *names: str) -> tuple[int, str]:
    failed = ", ".join(names)
    words = "Message rejected: Email address is not verified. The following identities failed the check in region"
    return 554, f"{words} {region.upper()}: {failed}"


@pytest.mark.timeout(300)
def test_two_regions_share_credentials_and_nothing_else(database_url: str, tmp_path: Path) -> None:
    with NextHop() as hop:
        relay = RelayStandIn(tmp_path, next_hop=hop.port, database=database_url, workers=2)
        house = House(relay)
        with relay:
            for way in (house.by_listener, house.by_name):
                with way(EU) as session, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                    house.login(session)
                assert refused.value.smtp_error == b"Account not subscribed to SES"
            relay.command("account", "open", "--region", EU)

            ways = [house.by_listener, house.by_name]
            us = [house.login(way(US)) for way in ways]
            eu = [house.login(way(EU)) for way in ways]
            assert {send(session)[0] for session in us} == {250}

            # Verification, and the sandbox.
            assert {send(session) for session in eu} == {not_verified(EU, f"app@{DOMAIN}", PERSON)}
            relay.command("identity", "add", "other.example", "--verified", "--region", EU)
            assert {send(session, "app@other.example") for session in eu} == {not_verified(EU, PERSON)}
            assert {send(session, "app@other.example") for session in us} == {not_verified(US, "app@other.example")}
            names = [
                {each["identity"] for each in listed}
                for listed in relay.commands([["identity", "list", "--region", region] for region in (US, EU)])
            ]
            assert names == [{SERVICE_DOMAIN, DOMAIN}, {"other.example"}]

            # Production access.
            relay.commands(
                [
                    ["account", "production", "on", "--region", EU],
                    ["limits", "set", "--quota", "4", "--rate", "1000", "--region", EU],
                ]
            )
            assert {send(session, "app@other.example")[0] for session in eu} == {250}

            # Limits, and what was sent.
            assert [send(session, "app@other.example")[0] for session in (*eu, eu[0])] == [250, 250, 454]
            assert send(eu[1], "app@other.example") == NO_MORE_TODAY
            assert {send(session)[0] for session in us} == {250}
            limits = [
                shown["limits"]
                for shown in relay.commands([["limits", "show", "--region", region] for region in (US, EU)])
            ]
            assert [(each["max_24_hour_send"], each["sent_last_24_hours"]) for each in limits] == [(-1, 4), (4, 4)]

            # Standing.
            relay.commands(
                [
                    ["limits", "set", "--quota", "100", "--region", EU],
                    ["account", "suspend", "--region", EU],
                ]
            )
            assert {send(session, "app@other.example") for session in eu} == {SUSPENDED}
            assert {send(session)[0] for session in us} == {250}
            relay.commands([["account", "suspend", "--region", US], ["account", "resume", "--region", EU]])
            assert {send(session) for session in us} == {SUSPENDED}
            assert {send(session, "app@other.example")[0] for session in eu} == {250}

            relay.command("verify-data")
            for session in (*us, *eu):
                session.close()

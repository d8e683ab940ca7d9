"""What a fresh relay says to its operator: where it will listen, the credentials, and three ways to a first mail."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Final

from sesrelay.fronts.cli.session import program, relative
from sesrelay.settings import Listener, Settings

TO: Final = "success@simulator.amazonses.com"
"""The simulator takes mail of accounts in the sandbox too, and nothing leaves the relay."""


@dataclass(frozen=True, slots=True)
class _First:
    """Who sends the first mail."""

    sender: str
    user: str
    password: str = field(repr=False)


def text(settings: Settings, config: str, credentials: dict[str, Any]) -> str:
    """The whole greeting, ready to print. ``credentials`` as ``credentials create --json`` shows them."""
    starttls, tls = _listener(settings, "starttls"), _listener(settings, "tls")
    endpoint = f"email-smtp.{settings.regions[0]}.{settings.service_domain}"
    ca = relative(settings.tls.certificate.with_name("ca.pem"))
    first = _First(f"first@{settings.service_domain}", credentials["smtp_user_name"], credentials["smtp_password"])
    command = f"{program()} --config {config}"
    parts = [_places(settings, command), _secrets(credentials, command)]
    if tls:
        parts.append(_by_openssl(tls, endpoint, ca, first))
    if starttls:
        parts += [
            _by_python(starttls, ca, first),
            _by_postfix(starttls, endpoint, str(settings.tls.certificate.with_name("ca.pem")), first),
        ]
    parts.append(
        f"Afterwards:  {command} message list\n"
        f"Mail to the world: the route in {config} keeps everything here (capture) until you say `via: mx` or name a\n"
        "smart host; and `account production on` takes the account out of the sandbox."
    )
    return "\n\n".join(parts) + "\n"


def _listener(settings: Settings, mode: str) -> Listener | None:
    return next((listener for listener in settings.listeners if listener.mode == mode), None)


def _places(settings: Settings, command: str) -> str:
    modes = {"starttls": "SMTP, STARTTLS", "tls": "SMTP, TLS from the first octet"}
    lines = [f"  {each.address}:{each.port}  {modes[each.mode]}" for each in settings.listeners]
    lines.append(f"  {settings.http.address}:{settings.http.port}  HTTPS")
    lines.append(f"  {settings.metrics.address}:{settings.metrics.port}  metrics and health, plain HTTP")
    return f"The relay listens here as long as `{command} serve` runs:\n" + "\n".join(lines)


def _secrets(credentials: dict[str, Any], command: str) -> str:
    return (
        f"SMTP credentials, shown this once (more: `{command} credentials create`):\n"
        f"  user name  {credentials['smtp_user_name']}\n"
        f"  password   {credentials['smtp_password']}"
    )


def _by_openssl(listener: Listener, endpoint: str, ca: str, first: _First) -> str:
    plain = base64.b64encode(f"\0{first.user}\0{first.password}".encode()).decode()
    address = f"[{listener.address}]" if ":" in listener.address else listener.address
    return f"""\
First mail, by hand (type it, or paste it whole):

openssl s_client -quiet -crlf -connect {address}:{listener.port} -servername {endpoint} -CAfile {ca}
EHLO me.example
AUTH PLAIN {plain}
MAIL FROM:<{first.sender}>
RCPT TO:<{TO}>
DATA
From: {first.sender}
To: {TO}
Subject: by hand

Hello.
.
QUIT"""


def _by_python(listener: Listener, ca: str, first: _First) -> str:
    return f"""\
First mail, by Python:

import smtplib, ssl
with smtplib.SMTP("{listener.address}", {listener.port}) as smtp:
    smtp.starttls(context=ssl.create_default_context(cafile="{ca}"))
    smtp.login("{first.user}", "{first.password}")
    smtp.sendmail("{first.sender}", "{TO}",
                  "From: {first.sender}\\r\\nTo: {TO}\\r\\nSubject: by Python\\r\\n\\r\\nHello.\\r\\n")"""


def _by_postfix(listener: Listener, endpoint: str, ca: str, first: _First) -> str:
    return f"""\
First mail, by Postfix. In main.cf:

relayhost = [{listener.address}]:{listener.port}
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = static:{first.user}:{first.password}
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = {endpoint}
smtp_tls_CAfile = {ca}

then `postfix reload`, and:

printf 'Subject: by Postfix\\n\\nHello.\\n' | sendmail -f {first.sender} {TO}"""

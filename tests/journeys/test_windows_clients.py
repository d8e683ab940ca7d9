"""Outlook, .NET's SmtpClient and Exchange's send connector, which no test can run: their side is played.

Nothing here was captured from these programs: their commands (spelling, order, packets) and the shape of their messages
are put together from what is published about them (.NET: its source; the others: documentation, and protocol logs that
it prints). Real are the sockets, TLS, a whole relay, and the octets that come out of it.
"""

from __future__ import annotations

import base64
import fnmatch
import socket
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.peers.samples import assert_only_the_relays_fields_differ, marked, on_the_wire
from tests.standins.next_hop import Copy, NextHop
from tests.standins.relay import ENDPOINT, RelayStandIn

ARRIVAL_SECONDS = 15

ALICE, CAROL = "alice@next-hop.example", "carol@next-hop.example"

# A line begins with who says it: S the relay (* stands for anything), C the client; C+ goes into one packet with the
# next. TLS: both are in TLS from here on. MESSAGE: the message and its end.
CLEAR_HELLO = f"""\
S: 220 {ENDPOINT} ESMTP SimpleEmailService-sesrelay *
C: EHLO @name@
S: 250-{ENDPOINT}
S: 250-8BITMIME
S: 250-SIZE 10485760
S: 250-STARTTLS
S: 250 Ok
C: STARTTLS
S: 220 Ready to start TLS
TLS
"""
SECURE_HELLO = f"""\
C: EHLO @name@
S: 250-{ENDPOINT}
S: 250-8BITMIME
S: 250-SIZE 10485760
S: 250-PIPELINING
S: 250-AUTH PLAIN LOGIN
S: 250 Ok
"""
WRAPPED_HELLO = f"""\
TLS
S: 220 {ENDPOINT} ESMTP SimpleEmailService-sesrelay *
{SECURE_HELLO}"""
DATA = """\
C: DATA
S: 354 End data with <CR><LF>.<CR><LF>
MESSAGE
S: 250 Ok 0100*-000000
"""
ASKED_LOGIN = """\
C: AUTH LOGIN
S: 334 VXNlcm5hbWU6
C: @user@
S: 334 UGFzc3dvcmQ6
C: @password@
S: 235 Authentication successful.
"""

OUTLOOK = f"""\
{ASKED_LOGIN}C: MAIL FROM: <bob@sender.example>
S: 250 Ok
C: RCPT TO: <alice@next-hop.example>
S: 250 Ok
C: RCPT TO: <carol@next-hop.example>
S: 250 Ok
{DATA}C: QUIT
S: 221 Bye
"""

DOT_NET = f"""\
C: AUTH login @user@
S: 334 UGFzc3dvcmQ6
C: @password@
S: 235 Authentication successful.
C: MAIL FROM:<bob@sender.example>
S: 250 Ok
C: RCPT TO:<alice@next-hop.example>
S: 250 Ok
{DATA}C: QUIT
S: 221 Bye
"""

# Its envelope goes in one packet, since PIPELINING is offered; DATA, since CHUNKING is not; no XOORG, XSHADOW or DSN.
# Then a non-delivery report of its own, without a sender, and another message in the same session.
EXCHANGE = f"""\
{ASKED_LOGIN}C+ MAIL FROM:<bob@sender.example> SIZE=@size@
C+ RCPT TO:<alice@next-hop.example>
C: RCPT TO:<carol@next-hop.example>
S: 250 Ok
S: 250 Ok
S: 250 Ok
{DATA}C+ MAIL FROM:<> SIZE=7211
C: RCPT TO:<bob@next-hop.example>
S: 501 Invalid MAIL FROM address provided
S: 503 *
C: RSET
S: 250 Ok
C+ MAIL FROM:<bob@sender.example> SIZE=@size@ BODY=8BITMIME
C: RCPT TO:<alice@next-hop.example>
S: 250 Ok
S: 250 Ok
{DATA}C: QUIT
S: 221 Bye
"""

OUTLOOKS_MAIL = """\
From: "Bob Smith" <bob@sender.example>
To: "'Alice'" <alice@next-hop.example>,
	<carol@next-hop.example>
Subject: Minutes
Date: Mon, 1 Sep 2014 10:00:00 +0200
Message-ID: <000001cfc5c2$2b1c5a60$81550f20$@sender.example>
MIME-Version: 1.0
Content-Type: multipart/alternative;
	boundary="----=_NextPart_000_0001_01CFC5D2.EEA52A60"
X-Mailer: Microsoft Outlook 14.0
Thread-Index: Ac/Fwir8kVv8Tz5JS0SVlqU1YwXmsg==
Content-Language: en-us

This is a multipart message in MIME format.

------=_NextPart_000_0001_01CFC5D2.EEA52A60
Content-Type: text/plain;
	charset="us-ascii"
Content-Transfer-Encoding: 7bit

.Hello.

\x20

------=_NextPart_000_0001_01CFC5D2.EEA52A60
Content-Type: text/html;
	charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

<html xmlns:v=3D"urn:schemas-microsoft-com:vml"><body>.Hello.<o:p></o:p></body></html>
------=_NextPart_000_0001_01CFC5D2.EEA52A60--

"""
OUTLOOKS_TEST_MAIL = """\
From: Microsoft Outlook <bob@sender.example>
To: =?utf-8?B?Qm9i?= <alice@next-hop.example>
Subject: =?utf-8?B?TWljcm9zb2Z0IE91dGxvb2sgVGVzdCBNZXNzYWdl?=
MIME-Version: 1.0
Content-Type: text/html;
	charset="utf-8"
Content-Transfer-Encoding: 8bit

<HTML><BODY>This is an e-mail message sent automatically while testing the settings for your account. “Ö”
</BODY></HTML>
"""
DOT_NETS_MAIL = """\
MIME-Version: 1.0
From: "Bob Smith" <bob@sender.example>
To: alice@next-hop.example
Date: 1 Sep 2014 10:00:00 +0200
Subject: =?utf-8?B?R3LDvMOfZQ==?=
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

R3LDvMOfZSwgU3RyYcOfZQ==

"""
EXCHANGES_MAIL = """\
Received: from EX01.corp.example (10.0.0.5) by EX01.corp.example (10.0.0.5) with
 Microsoft SMTP Server (TLS) id 15.0.847.32; Mon, 1 Sep 2014 10:00:01 +0200
Received: from EX01.corp.example ([fe80::1d2:3c4d:5e6f:7a8b]) by EX01.corp.example
 ([fe80::1d2:3c4d:5e6f:7a8b%12]) with mapi id 15.00.0847.030; Mon, 1 Sep 2014
 10:00:01 +0200
From: Bob Smith <bob@sender.example>
To: "alice@next-hop.example" <alice@next-hop.example>, "carol@next-hop.example"
	<carol@next-hop.example>
Subject: Minutes
Thread-Topic: Minutes
Thread-Index: Ac/Fwir8kVv8Tz5JS0SVlqU1YwXmsg==
Date: Mon, 1 Sep 2014 08:00:00 +0000
Message-ID: <0123456789abcdef0123456789abcdef@EX01.corp.example>
Accept-Language: en-US, de-DE
Content-Language: en-US
X-MS-Has-Attach:
X-MS-TNEF-Correlator:
x-originating-ip: [10.0.0.23]
x-ms-exchange-organization-authas: Internal
Content-Type: multipart/alternative;
	boundary="_000_0123456789abcdef0123456789abcdefEX01corpexample_"
MIME-Version: 1.0

--_000_0123456789abcdef0123456789abcdefEX01corpexample_
Content-Type: text/plain; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

.Hello.
..

--_000_0123456789abcdef0123456789abcdefEX01corpexample_
Content-Type: text/html; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

<html><body>.Hello.</body></html>

--_000_0123456789abcdef0123456789abcdefEX01corpexample_--
"""


@dataclass(frozen=True)
class Client:
    """Who, with which words, on which door, with what."""

    name: str
    dialogue: str
    wrapped: bool
    mail: str
    recipients: tuple[str, ...]


CLIENTS = {
    "Outlook, STARTTLS": Client("BOB-PC", CLEAR_HELLO + SECURE_HELLO + OUTLOOK, False, OUTLOOKS_MAIL, (ALICE, CAROL)),
    "Outlook, SSL": Client("BOB-PC", WRAPPED_HELLO + OUTLOOK, True, OUTLOOKS_MAIL, (ALICE, CAROL)),
    "Outlook's test mail": Client("BOBPC", WRAPPED_HELLO + OUTLOOK, True, OUTLOOKS_TEST_MAIL, (ALICE, CAROL)),
    ".NET": Client("WEB01", CLEAR_HELLO + SECURE_HELLO + DOT_NET, False, DOT_NETS_MAIL, (ALICE,)),
    "Exchange": Client(
        "mail.corp.example", CLEAR_HELLO + SECURE_HELLO + EXCHANGE, False, EXCHANGES_MAIL, (ALICE, ALICE, CAROL)
    ),
}


class Player:
    """Plays one client's side, and holds the relay to its own."""

    def __init__(self, relay: RelayStandIn, client: Client) -> None:
        self._client = client
        self._context = ssl.create_default_context(cafile=str(relay.ca))
        port = relay.tls_port if client.wrapped else relay.starttls_port
        self._socket: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._lines: BinaryIO = self._socket.makefile("rb")
        self._waiting = b""
        self._said = {
            "@name@": client.name,
            "@user@": base64.b64encode(relay.user_name.encode()).decode(),
            "@password@": base64.b64encode(relay.password.encode()).decode(),
        }

    def play(self, message: str) -> None:
        octets = on_the_wire(message)
        said = {**self._said, "@size@": str(len(octets))}
        for line in self._client.dialogue.splitlines():
            who, _, words = line.partition(" ")
            for name, value in said.items():
                words = words.replace(name, value)
            self._step(who, words, octets)
        assert self._lines.read() == b""

    def _step(self, who: str, words: str, octets: bytes) -> None:
        match who:
            case "S:":
                reply = self._lines.readline().decode().removesuffix("\r\n")
                assert fnmatch.fnmatchcase(reply, words), f"{reply!r} is not {words!r}"
            case "C+":
                self._waiting += f"{words}\r\n".encode()
            case "C:":
                self._socket.sendall(self._waiting + f"{words}\r\n".encode())
                self._waiting = b""
            case "MESSAGE":
                self._socket.sendall((b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
            case "TLS":
                self._lines.close()
                self._socket = self._context.wrap_socket(self._socket, server_hostname=ENDPOINT)
                self._lines = self._socket.makefile("rb")
            case _:
                pytest.fail(f"no step: {who} {words}")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture(scope="module")
def hop() -> Iterator[NextHop]:
    with NextHop() as made:
        yield made


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, hop: NextHop) -> Iterator[RelayStandIn]:
    folder: Path = tmp_path_factory.mktemp("relay")
    with RelayStandIn(folder, next_hop=hop.port, workers=1) as made:
        yield made


def recipients(copies: list[Copy], mark: str) -> list[str]:
    """Of all copies with that mark."""
    return sorted(address for copy in copies if mark.encode() in copy.content for address in copy.recipients)


@pytest.mark.parametrize("name", CLIENTS)
def test_what_the_client_sends_arrives_as_it_was(relay: RelayStandIn, hop: NextHop, name: str) -> None:
    client, mark = CLIENTS[name], uuid.uuid4().hex
    sent = marked(client.mail, mark)
    player = Player(relay, client)
    player.play(sent)
    player.close()

    copies = hop.wait_for(lambda some: len(recipients(some, mark)) >= len(client.recipients), ARRIVAL_SECONDS)
    assert recipients(copies, mark) == sorted(client.recipients)
    for copy in copies:
        if mark.encode() in copy.content:
            assert_only_the_relays_fields_differ(sent, copy.content)

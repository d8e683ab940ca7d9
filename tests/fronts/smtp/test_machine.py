"""The whole dialogue as a state machine, over sockets and real TLS, against the reference model.

Whatever a client says, in whatever order, cut wherever, in clear, behind STARTTLS and again after it left: every
command gets its one reply and no other, nothing is accepted that had no 354, what is accepted is octet for octet what
was sent, nothing said in clear lives on in TLS, and trouble behind the front door shows as a temporary refusal only.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from sesrelay.model.refusal import Refusal, Refused
from tests.fronts.smtp import sayings
from tests.fronts.smtp.house import GREETING, HOST, ID, PASSWORD, USER, Client, House, T
from tests.fronts.smtp.model import Bounds, Message, Model

BOUNDS = Bounds(
    message_octets=3000,
    session_messages=6,
    session_recipients=70,
    session_failed_logins=3,
    session_bad_commands=8,
)
TROUBLE = "relation accounts does not exist at /srv/secret.py"
"""What no client may ever read."""
TO_LOGIN = {
    "": "235 Authentication successful.",
    "trouble": "454 Temporary authentication failure",
    "closed": "535 Account not subscribed to SES",
}
TO_MESSAGE = {
    "": f"250 Ok {ID}",
    "trouble": "451 4.3.0 Temporary service failure",
    "suspended": "554 Message rejected: Customer is suspended.",
    "rate": "454 Throttling failure: Maximum sending rate exceeded.",
}
RAISED: dict[str, Callable[[], Exception | None]] = {
    "": lambda: None,
    "trouble": lambda: RuntimeError(TROUBLE),
    "closed": lambda: Refused(Refusal.NOT_SUBSCRIBED),
    "suspended": lambda: Refused(Refusal.SUSPENDED),
    "rate": lambda: Refused(Refusal.RATE_EXCEEDED),
}


class TlsClient(Client):
    """Can close its side of TLS while replies are on their way, which ``ssl.SSLSocket`` cannot."""

    def __init__(self, plain: Client, context: ssl.SSLContext) -> None:
        super().__init__(plain.socket)
        plain.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=HOST)
        self.exchange(self.tls.do_handshake)

    def exchange(self, act: Callable[[], T]) -> T:
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                self.flush()
                got = self.socket.recv(65536)
                self.incoming.write(got) if got else self.incoming.write_eof()
            finally:
                self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.outgoing.read())

    def send(self, octets: bytes) -> None:
        if octets:
            self.tls.write(octets)
            self.flush()

    def read(self, expected: int) -> bytes:
        got = bytearray()
        with suppress(ssl.SSLError, ConnectionError):
            while len(got) < expected:
                more = self.exchange(partial(self.tls.read, min(expected - len(got), 65536)))
                if not more:
                    break
                got += more
        return bytes(got)

    def close_our_side(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()


class Dialogue(RuleBasedStateMachine):
    """A client, the front door, and what the model says that the client must hear."""

    house: House
    ports: dict[bool, int]
    """Of the door that is in TLS from the first octet (True), and of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self.login_trouble = self.accept_trouble = ""
        self.before = len(self.house.relay.submissions)
        self.connect(False)

    # What the relay behind the door says, and what the model thinks that it does

    def login(self, user: str, password: bytes) -> str:
        if self.login_trouble:
            return TO_LOGIN[self.login_trouble]
        return TO_LOGIN[""] if (user, password) == (USER, PASSWORD) else "535 Authentication Credentials Invalid"

    def accept(self, message: Message) -> str:
        self.messages.append(message)
        return TO_MESSAGE[self.accept_trouble]

    @rule(login=st.sampled_from(sorted(TO_LOGIN)), accept=st.sampled_from(sorted(TO_MESSAGE)))
    def things_go_wrong(self, login: str, accept: str) -> None:
        self.login_trouble, self.accept_trouble = login, accept
        self.house.relay.login_raises, self.house.relay.raises = RAISED[login](), RAISED[accept]()

    # The connection

    def connect(self, encrypted: bool) -> None:
        port = self.ports[encrypted]
        self.client: Client = self.house.connect(port)
        if encrypted:
            self.client = TlsClient(self.client, self.house.trust)
        self.model = Model(HOST, self.login, self.accept, BOUNDS, encrypted)
        self.client.expect(GREETING)

    @rule(encrypted=st.booleans())
    def leave_and_come_again(self, encrypted: bool) -> None:
        self.client.socket.close()
        self.connect(encrypted)

    @precondition(lambda self: self.model.encrypted)
    @rule(octets=st.lists(sayings.command, max_size=4).map(b"".join), encrypted=st.booleans())
    def say_the_last_of_it_and_close_our_side(self, octets: bytes, encrypted: bool) -> None:
        self.client.send(octets)
        self.client.close_our_side()
        assert self.client.rest() == self.model.hear(octets)
        self.connect(encrypted)

    @rule()
    def quit(self) -> None:
        """A reply too many would stand in front of the last one."""
        self.say(b"\r\n.\r\nQUIT\r\nNOOP\r\n" if self.model.in_data else b"QUIT\r\nNOOP\r\n", [])

    # What is said

    def say(self, octets: bytes, cuts: list[int]) -> None:
        # What is in clear behind STARTTLS counts as such where it comes with it; later it would be a bad handshake.
        reply = b""
        for chunk in [octets] if not self.model.encrypted else sayings.cut(octets, cuts):
            reply += self.model.hear(chunk)
            self.client.send(chunk)
            if self.model.closed:
                break
        self.client.expect(reply)
        if self.model.closed:
            assert self.client.rest() == b""
            self.connect(self.model.encrypted)
        elif self.model.switching:
            self.client = TlsClient(self.client, self.house.trust)
            self.model.switched()
        self.compare()

    def compare(self) -> None:
        got = self.house.relay.submissions[self.before :]
        assert [
            Message(s.mail_from, s.recipients, s.recipients_named, s.eight_bit, s.content) for s in got
        ] == self.messages

    @rule(command=sayings.command, cuts=sayings.cuts)
    def command(self, command: bytes, cuts: list[int]) -> None:
        self.say(command, cuts)

    @rule(commands=st.lists(sayings.command, min_size=2, max_size=8).map(b"".join), cuts=sayings.cuts)
    def several_commands_at_once(self, commands: bytes, cuts: list[int]) -> None:
        self.say(commands, cuts)

    @rule(octets=st.binary(max_size=60))
    def garbage(self, octets: bytes) -> None:
        self.say(octets, [])

    @precondition(lambda self: not self.model.encrypted)
    @rule(injected=st.lists(st.one_of(sayings.command, sayings.transaction), max_size=4).map(b"".join))
    def starttls(self, injected: bytes) -> None:
        if self.model.unread:
            self.say(b"\r\n", [])
        if not self.model.encrypted:
            self.say(b"STARTTLS\r\n" + injected, [])

    @precondition(lambda self: self.model.encrypted and not self.model.logged_in)
    @rule(cuts=sayings.cuts)
    def log_in(self, cuts: list[int]) -> None:
        self.say(b"\r\n".join([b"", *sayings.GOOD_LOGIN, b""]), cuts)

    @precondition(lambda self: self.model.logged_in)
    @rule(transaction=sayings.transaction, cuts=sayings.cuts, ends=sayings.near_the_end)
    def whole_message(self, transaction: bytes, cuts: list[int], ends: list[int]) -> None:
        self.say(transaction, cuts + ends)

    @precondition(lambda self: self.model.logged_in)
    @rule(number=st.integers(45, 75))
    def many_recipients(self, number: int) -> None:
        self.say(b"RSET\r\nMAIL FROM:<a@sender.example>\r\n" + b"RCPT TO:<b@example.com>\r\n" * number, [])

    @precondition(lambda self: self.model.in_data)
    @rule(data=sayings.data, ends=sayings.near_the_end)
    def end_of_the_message(self, data: bytes, ends: list[int]) -> None:
        self.say(data, ends)

    @precondition(lambda self: self.model.in_data)
    @rule(octets=st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"..", b"text", b"x" * 990]))
    def a_piece_of_the_message(self, octets: bytes) -> None:
        self.say(octets, [])

    def teardown(self) -> None:
        self.things_go_wrong("", "")
        self.client.socket.close()
        house = self.house
        house.until(lambda: not any(door.connections or door._under_way for door in house._doors))
        assert house.memory.held == 0
        self.compare()
        for client in house._clients:
            client.socket.close()
        house._clients.clear()
        house.made.clear()


@pytest.mark.parametrize(("examples", "steps"), [(8, 30), pytest.param(2000, 50, marks=pytest.mark.soak)])
def test_no_dialogue_leaves_the_model(house: House, examples: int, steps: int) -> None:
    class Here(Dialogue):
        pass

    Here.house = house
    Here.ports = {mode == "tls": house.open(mode, **vars(BOUNDS))[1] for mode in ("starttls", "tls")}
    short = examples < 1000
    chosen = settings(max_examples=examples, stateful_step_count=steps, derandomize=short, database=None)
    with structlog.testing.capture_logs():  # printing so many tracebacks takes longer than all the rest
        run_state_machine_as_test(Here, settings=chosen)

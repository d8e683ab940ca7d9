"""What the front door answers: one state machine over command lines, without a socket, a clock or a task.

``Session.command`` is the only place that reads a command, whichever way its line came in. A session begins
with the connection and again after STARTTLS: a new object, so that everything said in clear is forgotten (SMTP-2).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from sesrelay.fronts.smtp import paths, replies
from sesrelay.fronts.smtp.login import Credentials, Dialogue
from sesrelay.model.account import Login
from sesrelay.model.message import Origin, SpooledBody, Submission
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.settings import Smtp

KEPT_RECIPIENTS: Final = 50
"""Of more recipients only the number is known (SMTP-8)."""
IDLE_COMMANDS: Final = 100
"""So many commands that bring no mail along are free, then each counts as bad until the next message."""
ESTABLISHED: Final = 10
"""Messages of a session after which it is here to stay: their cost is several times that of its handshake."""
LONGEST_COMMAND: Final = 2048
"""Octets of a command line without its end; RFC 5321 §4.5.3.1.4 asks for 512, parameters need more."""
LONGEST_AUTH_LINE: Final = 12_288
"""RFC 4954 §4."""

_NOT_IN_COMMANDS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_NAMES: Final = re.compile(r"[^\x21-\x7e]|[()<>\\\"]")
_CLIENT: Final = Origin.CLIENT  # before Python 3.12 a member is looked up by a call
_sender: Final = lru_cache(1024)(paths.parse)  # whoever sends much sends from the same few addresses
_IGNORED_OF_MAIL: Final = frozenset({b"AUTH", b"RET", b"ENVID"})
_IGNORED_OF_RCPT: Final = frozenset({b"NOTIFY", b"ORCPT"})


class Next(Enum):
    """What the connection does after sending the reply."""

    COMMAND = "read a command"
    RESPONSE = "read the client's next line of AUTH"
    LOGIN = "check the credentials; no reply yet"
    DATA = "read the message"
    STARTTLS = "switch to TLS"
    CLOSE = "close the connection"


class Decision(NamedTuple):
    """A reply and what comes next."""

    reply: bytes
    next: Next = Next.COMMAND
    credentials: Credentials | None = None


_OK: Final = Decision(replies.OK)
_DATA: Final = Decision(replies.START_OF_DATA, Next.DATA)


class Session:
    """Everything a client has said that still counts."""

    __slots__ = (
        "_bad_commands",
        "_bounds",
        "_client_address",
        "_client_name",
        "_dialogue",
        "_eight_bit",
        "_encrypted",
        "_failed_logins",
        "_host",
        "_idle_commands",
        "_login",
        "_mail_from",
        "_messages",
        "_named",
        "_recipients",
        "_region",
        "_tried",
    )

    def __init__(self, bounds: Smtp, *, region: str, host: str, client_address: str, encrypted: bool) -> None:
        self._bounds = bounds
        self._region = region
        self._host = host
        self._client_address = client_address
        self._encrypted = encrypted
        self._client_name = ""
        self._login: Login | None = None
        self._dialogue: Dialogue | None = None
        self._messages = self._bad_commands = self._failed_logins = self._idle_commands = 0
        self._forget_mail()

    @property
    def region(self) -> str:
        """The region that this session sends in."""
        return self._region

    @property
    def logged_in(self) -> bool:
        """It speaks for an account."""
        return self._login is not None

    @property
    def awaits_response(self) -> bool:
        """The next line belongs to AUTH and is no command."""
        return self._dialogue is not None

    @property
    def in_transaction(self) -> bool:
        """MAIL was accepted and its message has not come yet."""
        return self._mail_from is not None

    @property
    def between_messages(self) -> bool:
        """It has sent one and has not begun another: whoever is told to come again now loses nothing."""
        return self._messages > 0 and self._mail_from is None

    @property
    def here_to_stay(self) -> bool:
        """It has sent so much that its own handshake does not count any more."""
        return self._messages >= ESTABLISHED

    def command(self, line: bytes) -> Decision:
        """Answers one line, its end removed: a command, or a response while one is awaited."""
        if len(line) > LONGEST_COMMAND and not self._may_be_long(line):
            self._dialogue = None
            return self._bad(replies.COMMAND_TOO_LONG)
        if self._dialogue is not None:
            return self._proceed(self._dialogue.answer(line.strip()))
        verb, _, argument = line.partition(b" ")
        act = _VERBS.get(verb.upper())
        if act is None:
            return self._bad(replies.UNKNOWN_COMMAND if _readable(line) else replies.BAD_SYNTAX)
        return act(self, argument.strip(b" \t"))

    # AUTH's outcome and the message's, told by whoever had to wait for them

    def let_in(self, login: Login) -> Decision:
        """The credentials were right."""
        self._login = login
        return Decision(replies.LOGGED_IN)

    def login_refused(self, refused: Refused) -> Decision:
        """They were not, or nobody could tell; only a definite no counts."""
        reply = replies.refused(refused)
        if refused.refusal is Refusal.LOGIN_UNAVAILABLE:
            return Decision(reply)
        self._failed_logins += 1
        if self._failed_logins >= self._bounds.session_failed_logins:
            return Decision(reply + replies.TOO_MANY_LOGINS, Next.CLOSE)
        return Decision(reply)

    def submission(self, content: bytes | SpooledBody) -> Submission:
        """The message of this transaction, complete."""
        assert self._login is not None
        assert self._mail_from is not None
        return Submission(
            account_id=self._login.account_id,
            region=self._region,
            origin=_CLIENT,
            access_key_id=self._login.access_key_id,
            mail_from=self._mail_from,
            recipients=tuple(self._recipients),
            content=content,
            eight_bit=self._eight_bit,
            recipients_named=self._named,
            client_address=self._client_address,
            client_name=self._client_name,
        )

    def message_ended(self, *, accepted: bool) -> None:
        """The dot was answered: the transaction is over, and a client that gets mail through is no nuisance."""
        self._messages += 1
        self._idle_commands = 0
        if accepted:
            self._bad_commands = 0
        self._forget_mail()

    def _forget_mail(self) -> None:
        self._mail_from: str | None = None
        self._recipients: list[str] = []
        self._named = self._tried = 0
        self._eight_bit = False

    def _may_be_long(self, line: bytes) -> bool:
        """AUTH's lines carry a whole token."""
        return len(line) <= LONGEST_AUTH_LINE and (self._dialogue is not None or line[:5].upper() == b"AUTH ")

    def _bad(self, reply: bytes) -> Decision:
        """A command that cannot be; too many of them end the session."""
        self._bad_commands += 1
        if self._bad_commands >= self._bounds.session_bad_commands:
            return Decision(reply + replies.TOO_MANY_ERRORS, Next.CLOSE)
        return Decision(reply)

    def _without_mail(self, reply: bytes) -> Decision:
        """Right, but of no use to anybody when it comes again and again: replies cost more than they are asked for."""
        self._idle_commands += 1
        return Decision(reply) if self._idle_commands <= IDLE_COMMANDS else self._bad(reply)

    def _not_yet(self) -> Decision:
        """Why a mail command cannot be answered before login."""
        if not self._encrypted:
            return self._bad(replies.STARTTLS_FIRST)
        return self._bad(replies.LOGIN_FIRST if self._client_name else replies.EHLO_FIRST)

    # The commands: each takes its argument, blanks around it removed

    def _ehlo(self, argument: bytes) -> Decision:
        if not self._greeted(argument):
            return self._bad(replies.SYNTAX_EHLO)
        offers = replies.capabilities(self._host, size=self._bounds.message_octets, encrypted=self._encrypted)
        return self._without_mail(offers)

    def _helo(self, argument: bytes) -> Decision:
        if not self._greeted(argument):
            return self._bad(replies.SYNTAX_HELO)
        return self._without_mail(b"250 %s\r\n" % self._host.encode("ascii"))

    def _greeted(self, name: bytes) -> bool:
        """Any name will do (clients send odd ones); what of it may stand in a Received field is kept."""
        if not name or _NOT_IN_COMMANDS.search(name):
            return False
        self._client_name = _NOT_IN_NAMES.sub("?", name[:255].decode("ascii", "replace"))
        self._forget_mail()  # RFC 5321 §4.1.4
        return True

    def _starttls(self, argument: bytes) -> Decision:
        if self._encrypted:
            return self._bad(replies.TLS_ALREADY)
        if argument:
            return self._bad(replies.SYNTAX_STARTTLS)
        return Decision(replies.READY_FOR_TLS, Next.STARTTLS)

    def _auth(self, argument: bytes) -> Decision:
        if self._login is not None:
            return self._bad(replies.LOGGED_IN_ALREADY)
        if not self._encrypted:
            return self._bad(replies.STARTTLS_FIRST)
        if not self._client_name:
            return self._bad(replies.EHLO_FIRST)
        mechanism, _, initial = argument.partition(b" ")
        if not mechanism:
            return self._bad(replies.SYNTAX_AUTH)
        name = mechanism.upper()
        if name not in (b"PLAIN", b"LOGIN"):
            return self._bad(replies.UNKNOWN_MECHANISM)
        self._dialogue = Dialogue(plain=name == b"PLAIN")
        return self._proceed(self._dialogue.begin(initial.strip()))

    def _proceed(self, step: bytes | Credentials) -> Decision:
        """One step of AUTH: a prompt keeps the dialogue open, everything else ends it."""
        if isinstance(step, Credentials):
            self._dialogue = None
            return Decision(b"", Next.LOGIN, step)
        if step.startswith(b"334"):
            return Decision(step, Next.RESPONSE)
        self._dialogue = None
        return self._bad(step)

    def _mail(self, argument: bytes) -> Decision:
        if self._login is None:
            return self._not_yet()
        if self._mail_from is not None:
            return self._bad(replies.NESTED_MAIL)
        if self._messages >= self._bounds.session_messages:
            return Decision(replies.TOO_MANY_MESSAGES, Next.CLOSE)
        if argument[:5].upper() != b"FROM:":
            return self._bad(replies.SYNTAX_MAIL)
        path = _sender(argument[5:])
        if path is None:  # not counted as bad: a server that empties its queue has bounces (null senders) in it
            return Decision(_address_fault(argument, replies.INVALID_SENDER))
        address, parameters = path
        if parameters:
            fault = self._mail_parameters(parameters)
            if fault == replies.TOO_LONG:  # neither is this: the command is right, the message is too big
                return Decision(fault)
            if fault is not None:
                return self._bad(fault)
        self._mail_from = address
        return _OK

    def _mail_parameters(self, text: bytes) -> bytes | None:
        """Notes BODY and checks SIZE; AUTH= (RFC 4954 §5) and DSN's (never offered) are taken and ignored."""
        given = paths.parameters(text)
        if given is None:
            return replies.SYNTAX_MAIL
        size = given.pop(b"SIZE", b"0")
        body = given.pop(b"BODY", b"7BIT").upper()
        if not size.isdigit() or len(size) > 20:  # RFC 1870 §4
            return replies.SYNTAX_SIZE
        if int(size) > self._bounds.message_octets:
            return replies.TOO_LONG
        if body not in (b"7BIT", b"8BITMIME"):
            return replies.SYNTAX_BODY
        if b"SMTPUTF8" in given:
            return replies.NO_SMTPUTF8
        if not given.keys() <= _IGNORED_OF_MAIL:
            return replies.UNKNOWN_MAIL_PARAMETER
        self._eight_bit = body == b"8BITMIME"
        return None

    def _rcpt(self, argument: bytes) -> Decision:
        if self._login is None:
            return self._not_yet()
        if self._mail_from is None:
            return self._bad(replies.MAIL_FIRST)
        self._tried += 1
        if self._tried > self._bounds.session_recipients:
            return Decision(replies.TOO_MANY_RECIPIENTS, Next.CLOSE)
        if argument[:3].upper() != b"TO:":
            return Decision(replies.SYNTAX_RCPT)
        path = paths.parse(argument[3:])
        if path is None:  # not counted as bad: one broken address in a list is daily life
            return Decision(_address_fault(argument, replies.INVALID_RECIPIENT))
        address, parameters = path
        if parameters:
            given = paths.parameters(parameters)
            if given is None or not given.keys() <= _IGNORED_OF_RCPT:
                return self._bad(replies.UNKNOWN_RCPT_PARAMETER)
        self._named += 1
        if self._named <= KEPT_RECIPIENTS:
            self._recipients.append(address)
        return _OK

    def _data(self, argument: bytes) -> Decision:
        if self._login is None:
            return self._not_yet()
        if not self._recipients:
            return self._bad(replies.RCPT_FIRST)
        if argument:
            return self._bad(replies.SYNTAX_DATA)
        return _DATA

    def _rset(self, argument: bytes) -> Decision:
        if argument:
            return self._bad(replies.SYNTAX_RSET)
        self._forget_mail()
        return self._without_mail(replies.OK)

    def _noop(self, argument: bytes) -> Decision:
        if _NOT_IN_COMMANDS.search(argument):
            return self._bad(replies.BAD_SYNTAX)
        return self._without_mail(replies.OK)

    def _quit(self, argument: bytes) -> Decision:
        return self._bad(replies.SYNTAX_QUIT) if argument else Decision(replies.BYE, Next.CLOSE)

    def _help(self, argument: bytes) -> Decision:
        if _NOT_IN_COMMANDS.search(argument):
            return self._bad(replies.BAD_SYNTAX)
        return self._without_mail(replies.HELP)

    def _vrfy(self, argument: bytes) -> Decision:
        if _NOT_IN_COMMANDS.search(argument):
            return self._bad(replies.BAD_SYNTAX)
        return self._without_mail(replies.CANNOT_VERIFY) if self._encrypted else self._bad(replies.STARTTLS_FIRST)

    def _not_implemented(self, _argument: bytes) -> Decision:
        return self._bad(replies.NOT_IMPLEMENTED)


def _readable(line: bytes) -> bool:
    """Could be a command of somebody's: printable, and not empty."""
    return bool(line.strip()) and line.isascii() and _NOT_IN_COMMANDS.search(line) is None


def _address_fault(argument: bytes, otherwise: bytes) -> bytes:
    """Control characters are no syntax at all; letters beyond ASCII get told what to write instead."""
    if _NOT_IN_COMMANDS.search(argument):
        return replies.BAD_SYNTAX
    return otherwise if argument.isascii() else replies.NOT_ASCII


_VERBS: Final[dict[bytes, Callable[[Session, bytes], Decision]]] = {
    b"EHLO": Session._ehlo,
    b"HELO": Session._helo,
    b"STARTTLS": Session._starttls,
    b"AUTH": Session._auth,
    b"MAIL": Session._mail,
    b"RCPT": Session._rcpt,
    b"DATA": Session._data,
    b"RSET": Session._rset,
    b"NOOP": Session._noop,
    b"QUIT": Session._quit,
    b"HELP": Session._help,
    b"VRFY": Session._vrfy,
    b"EXPN": Session._not_implemented,
    b"TURN": Session._not_implemented,
}
"""Each command's function; what is absent is answered 502."""

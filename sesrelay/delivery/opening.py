"""Opening a session with a server: greeting, EHLO or HELO, STARTTLS, AUTH; until a transaction may begin.

What was said in clear is forgotten behind STARTTLS, and a password is never sent in clear unless TLS is forbidden by
the operator. Whatever the server says here is about the session, never about a recipient.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable

from sesrelay.delivery.replies import ReplyReader
from sesrelay.delivery.transaction import Answer, Terms
from sesrelay.model.reply import Reply, Scope, Stage


class Opening:
    """The first half of a session as a state machine; ``conversation`` adds the second."""

    __slots__ = (
        "_encrypted", "_extensions", "_heed", "_login", "_reader", "_terms", "closed", "failure", "output", "ready",
        "stage", "wants_tls",
    )  # fmt: skip

    def __init__(self, terms: Terms, *, encrypted: bool = False) -> None:
        self._terms = terms
        self._encrypted = encrypted
        self._reader = ReplyReader()
        self._heed: Callable[[Reply], None] = self._heed_greeting
        """Who hears the next reply."""
        self._extensions: dict[str, str] = {}
        """What EHLO offered: keyword and parameters, in upper case."""
        self._login: deque[bytes] = deque()
        """What AUTH LOGIN will ask for."""
        self.stage = Stage.GREETING
        self.output: list[bytes] = []
        self.ready = False
        """The session is open and idle: a transaction may begin."""
        self.wants_tls = False
        """The owner is to wrap the connection and then call ``tls_started``."""
        self.closed = False
        """No word follows; the owner closes the connection once the output is written."""
        self.failure: Answer | None = None
        """Why the session never became ready."""

    def _heed_greeting(self, reply: Reply) -> None:
        if reply.code // 100 != 2:
            self._refuse(reply)
            return
        self._hello()

    def _hello(self) -> None:
        self.stage = Stage.EHLO
        self._heed = self._heed_ehlo
        self._say(f"EHLO {self._terms.our_name}")

    def _heed_ehlo(self, reply: Reply) -> None:
        if reply.code // 100 == 2:
            lines = (line.partition(" ") for line in reply.lines[1:])
            self._extensions = {keyword.upper(): rest.upper() for keyword, _, rest in lines}
            self._after_hello()
        elif reply.permanent and not self._needs_ehlo:
            self._heed = self._heed_helo
            self._say(f"HELO {self._terms.our_name}")
        else:
            self._refuse(reply)

    @property
    def _needs_ehlo(self) -> bool:
        """HELO offers neither STARTTLS nor AUTH."""
        return bool(self._terms.user) or (self._terms.tls == "require" and not self._encrypted)

    def _heed_helo(self, reply: Reply) -> None:
        if reply.code // 100 == 2:
            self._extensions = {}
            self._become_ready()
        else:
            self._refuse(reply)

    def _after_hello(self) -> None:
        terms = self._terms
        if not self._encrypted and terms.tls != "never":
            if "STARTTLS" in self._extensions:
                self.stage = Stage.STARTTLS
                self._heed = self._heed_starttls
                self._say("STARTTLS")
                return
            if terms.tls == "require" or terms.user:
                self.stage = Stage.STARTTLS
                need = "TLS is required" if terms.tls == "require" else "a password is not sent in clear"
                self._fail(f"the server offers no STARTTLS, and {need}")
                return
        if terms.user:
            self._authenticate()
        else:
            self._become_ready()

    def _heed_starttls(self, reply: Reply) -> None:
        if reply.code == 220:
            # RFC 3207 §6: what comes in clear behind this was perhaps put there by somebody else.
            self.wants_tls = True
            self._heed = self._ignore
        else:
            self._refuse(reply)

    def tls_started(self) -> None:
        """The connection is encrypted: all that was said before is forgotten (RFC 3207 §4.2)."""
        self.wants_tls = False
        self._encrypted = True
        self._reader = ReplyReader()
        self._hello()

    def _authenticate(self) -> None:
        self.stage = Stage.AUTH
        self._heed = self._heed_auth
        # "AUTH=LOGIN" is how servers of the nineties wrote it.
        offered = f"{self._extensions.get('AUTH', '')} {self._extensions.get('AUTH=LOGIN', '')}".split()
        if "AUTH=LOGIN" in self._extensions:
            offered.append("LOGIN")
        if "PLAIN" in offered:
            secret = f"\0{self._terms.user}\0{self._terms.password}".encode()
            self._say(f"AUTH PLAIN {_base64(secret)}")
        elif "LOGIN" in offered:
            self._login.extend((self._terms.user.encode(), self._terms.password.encode()))
            self._say("AUTH LOGIN")
        else:
            self._fail("the server offers neither AUTH PLAIN nor AUTH LOGIN")

    def _heed_auth(self, reply: Reply) -> None:
        if reply.code == 334 and self._login:
            self._say(_base64(self._login.popleft()))
        elif reply.code // 100 == 2:
            self._login.clear()
            self._become_ready()
        else:
            self._login.clear()
            self._refuse(reply)

    def _refuse(self, reply: Reply) -> None:
        """The server does not want this session."""
        self.failure = Answer(self.stage, Scope.HOST, reply)
        self._leave()

    def _fail(self, trouble: str) -> None:
        """We do not want this session."""
        self.failure = Answer(self.stage, Scope.HOST, None, trouble)
        self._leave()

    def _leave(self) -> None:
        self._say("QUIT")
        self._close()

    def _become_ready(self) -> None:
        self.ready = True
        self._heed = self._heed_unasked

    def _heed_unasked(self, reply: Reply) -> None:
        """Said without being asked; a 421 before it hangs up, as a rule."""
        raise NotImplementedError

    def _close(self) -> None:
        self.closed = True
        self.ready = False
        self._heed = self._ignore

    def _ignore(self, _reply: Reply) -> None:
        """Nothing that is said now counts."""

    def _say(self, command: str) -> None:
        self.output.append(command.encode("utf-8", "replace") + b"\r\n")


def _base64(secret: bytes) -> str:
    return base64.b64encode(secret).decode("ascii")

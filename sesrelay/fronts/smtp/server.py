"""A connection to the front door: aiosmtpd's protocol, with one ``Session`` that decides whatever way a line came.

Here are its life and everything that is awaited: AUTH, STARTTLS and the commit of a message. Reading and answering
are in ``shortway``, what is taken from aiosmtpd in ``foundation``.
"""

# ruff: noqa: N802, N815, ARG002 - names and signatures of smtp_… are aiosmtpd's
from __future__ import annotations

import asyncio
from functools import partial

import structlog

from sesrelay import killpoints
from sesrelay.fronts.smtp import replies
from sesrelay.fronts.smtp.arrivals import Arrival, InClear
from sesrelay.fronts.smtp.data import BodyReader
from sesrelay.fronts.smtp.door import TLS_CLOSE_SECONDS, Door, Surroundings
from sesrelay.fronts.smtp.login import Credentials
from sesrelay.fronts.smtp.session import Decision, Next, Session
from sesrelay.fronts.smtp.shortway import CLOSING, WAITING, ShortWay
from sesrelay.model.message import Submission
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.settings import Listener, Smtp

log = structlog.get_logger()


def front_door(bounds: Smtp, listener: Listener, around: Surroundings) -> Door:
    """The door of one listener, for ``door.listen(socket)``.

    Call it on the running loop; at the end, ``door.close()`` and then ``await door.drain(seconds)``.
    """
    in_clear = listener.mode == "starttls" and not listener.proxy_protocol
    return Door(SmtpServer, InClear if in_clear else Arrival, bounds, listener, around)


class SmtpServer(ShortWay):
    """One connection."""

    client = ""

    def __init__(self, door: Door) -> None:
        super().__init__(door)
        self._around = door.around
        self.admitted = False
        self._coroutine_greeted = False
        self._login: asyncio.Task[None] | None = None
        self._login_waits = False

    # The life of a connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Finds its region, and greets."""
        self.transport = transport
        try:
            self._greet(transport)
        except Exception:
            log.exception("smtp.session_failed", client=self.client)
            self._end(replies.FAILED)

    def _greet(self, transport: asyncio.BaseTransport) -> None:
        self._door.opened(self)
        self.admitted = True
        self._begin(transport)
        self._write(replies.greeting(self.hostname, self._door.unique()))

    def _begin(self, transport: asyncio.BaseTransport) -> None:
        """A new session: at the start, and after STARTTLS, when everything before is forgotten."""
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            ssl_object.on_client_closed = self.client_closed
            if ssl_object.client_closed:  # all that it had to say came with the end of the handshake
                self.client_closed()
        region = self._door.region(ssl_object)
        self.hostname = self._around.endpoints[region]
        self._session = Session(
            self._door.bounds,
            region=region,
            host=self.hostname,
            client_address=self.client,
            encrypted=ssl_object is not None,
        )

    def connection_lost(self, error: Exception | None) -> None:
        """A message whose end was read is still committed; one that was not is forgotten."""
        if self._gone:
            return
        self._gone = True
        self._forget_body()
        self._give_up_waiting()
        if self.admitted:
            self._door.closed(self)
        if self.coroutine_runs:
            super().connection_lost(error)
        self.transport = None  # it knows us, and we it: without this, only the garbage collector would part us

    def eof_received(self) -> bool:
        """A client that has gone is not answered any more; a commit under way goes on."""
        return False

    def drain(self, *, patient: bool) -> None:
        """A login that only waits for its turn keeps nobody."""
        gave_up = self._give_up_waiting()
        if gave_up:
            self._held &= ~WAITING
        super().drain(patient=patient and not gave_up)

    async def push(self, status: str | bytes) -> None:
        """What aiosmtpd says itself: a greeting, which the client has had, and its reply when a command failed."""
        if not self._coroutine_greeted:
            self._coroutine_greeted = True
            return
        self._write((status.encode("ascii") if isinstance(status, str) else status) + b"\r\n")

    async def handle_exception(self, error: Exception) -> str:
        """Trouble that we do not understand is temporary, and the client hears nothing of it."""
        log.error("smtp.command_failed", client=self.client, exc_info=error)
        self.loop.call_soon(self._go_on)
        return replies.TEMPORARY_FAILURE.decode("ascii").rstrip()

    # The end of a message

    def _end_of_data(self, body: BodyReader, out: list[bytes]) -> None:
        """A message that cannot be taken is refused here; everything else is for the relay to judge."""
        content = body.content()
        if not isinstance(content, Refusal):
            submission = self._session.submission(content)
            self._body = None
            self._held |= WAITING
            self._door.start(self, self._commit(submission, body))
            return
        self._forget_body()
        self._session.message_ended(accepted=False)
        self._count_refusal(content)
        out.append(replies.refused(Refused(content)))
        if self._door.draining:
            out.append(replies.SHUTTING_DOWN)
            self._held |= CLOSING

    async def _commit(self, submission: Submission, body: BodyReader) -> None:
        """Hands the message over; whatever becomes of the connection, this runs to its end (SMTP-7)."""
        accepted = False
        try:
            message_id = await self._around.relay.accept(submission)
            accepted = True
            self._door.count(self._around.counters.accepted, len(submission.recipients))
            reply = replies.accepted(message_id)
            killpoints.reached("before-250")
        except Refused as refused:
            self._count_refusal(refused.refusal)
            reply = replies.refused(refused)
        except Exception:  # trouble that we do not understand is temporary
            log.exception("smtp.message_failed", client=self.client, account_id=submission.account_id)
            reply = replies.TEMPORARY_FAILURE
        finally:
            self._door.finished(self)
            self._let_go(body, accepted=accepted)
        if accepted and self._session.here_to_stay:
            self._around.handshakes.established_worked()
        self._session.message_ended(accepted=accepted)
        self._answer(Decision(reply))

    def _count_refusal(self, refusal: Refusal) -> None:
        self._door.count(self._around.counters.refused, refusal.value)

    # AUTH

    def _begin_login(self, credentials: Credentials) -> None:
        self._login = self.loop.create_task(self._log_in_and_answer(credentials))

    async def _log_in_and_answer(self, credentials: Credentials) -> None:
        self._answer(await self._log_in(credentials))

    async def _log_in(self, credentials: Credentials) -> Decision:
        """Never a 535 for trouble of our own (SMTP-15)."""
        session, guard, key = self._session, self._around.guard, credentials.access_key_id
        try:
            await self._wait_for_turn(self._seconds_to_wait(key))
            login = await self._around.relay.login(key, credentials.password, session.region, self.client)
        except Refused as refused:
            log.info("smtp.login_refused", client=self.client, reason=refused.refusal.value)
            self._count_refusal(refused.refusal)
            if refused.refusal is Refusal.BAD_CREDENTIALS:  # with the right password nobody guesses
                self._door.count(guard.failed, self.client, key)
            return session.login_refused(refused)
        except Exception:
            log.exception("smtp.login_failed", client=self.client)
            return session.login_refused(Refused(Refusal.LOGIN_UNAVAILABLE))
        self._door.count(guard.succeeded, self.client, key)
        return session.let_in(login)

    def _seconds_to_wait(self, access_key_id: str) -> float:
        """None while the guard is in trouble: better a guess more than every owner shut out."""
        try:
            return self._around.guard.wait_seconds(self.client, access_key_id)
        except Exception:
            log.exception("smtp.guard_failed")
            return 0.0

    async def _wait_for_turn(self, seconds: float) -> None:
        """A timer is all that a delayed login costs; it ends with the connection, and the password is not looked at."""
        if not seconds:
            return
        self._door.count(self._around.counters.login_delayed)
        self._login_waits = True
        try:
            await self._around.clock.sleep(seconds)
        finally:
            self._login_waits = False

    def _give_up_waiting(self) -> bool:
        """True: a login waited for its turn, and does no longer."""
        if not self._login_waits or self._login is None:
            return False
        self._login_waits = False
        return self._login.cancel()

    # aiosmtpd's coroutine comes here; ``arg`` is its reading of the line, the session has its own

    async def smtp_EHLO(self, arg: str) -> None:
        self._answer(self._session.command(self._line))

    smtp_HELO = smtp_HELP = smtp_VRFY = smtp_EXPN = smtp_EHLO
    smtp_MAIL = smtp_RCPT = smtp_DATA = smtp_RSET = smtp_NOOP = smtp_QUIT = smtp_EHLO

    async def smtp_AUTH(self, arg: str) -> None:
        """The dialogue, then the check of what it brought."""
        decision = self._session.command(self._line)
        while decision.next is Next.RESPONSE:
            self._coroutine_asks = True
            self._answer(decision)
            decision = self._session.command(await self.next_line())
        self._coroutine_asks = False
        if decision.credentials is not None:
            decision = await self._log_in(decision.credentials)
        self._answer(decision)

    async def smtp_STARTTLS(self, arg: str) -> None:
        """Switches; what was sent in clear behind the command is thrown away unread (SMTP-2)."""
        decision = self._session.command(self._line)
        if decision.next is not Next.STARTTLS:
            self._answer(decision)
            return
        seconds = self._door.bounds.tls_handshake_seconds
        try:
            async with (
                asyncio.timeout(seconds) as bound,
                self._around.handshakes.turn(self.client, partial(_end, bound)),
            ):
                self._buffer = b""
                self._switching = True
                await self.switch_to_tls(
                    decision.reply,
                    self._around.tls.first,
                    handshake_seconds=seconds,
                    close_seconds=TLS_CLOSE_SECONDS,
                )
        except OSError as error:
            if not self._switching:
                self._get_no_turn()
                return
            self._door.complain("smtp.tls_handshake_failed", self.client, type(error).__name__)
            self._channel.abort()
            self.connection_lost(error)  # the TLS layer does not tell us when its handshake fails
            return
        self._switching = self._reading_paused = False
        try:
            self._begin(self._channel)
        except Exception:
            log.exception("smtp.session_failed", client=self.client)
            self._end(replies.FAILED)  # the session of before TLS must not live on
            return
        self._go_on()

    def _get_no_turn(self) -> None:
        """The session is in clear as before and goes on (RFC 3207 §4), as long as it may be without a login."""
        self._door.complain("smtp.tls_handshake_failed", self.client, "no turn in time")
        self._buffer = b""  # it may have been for TLS
        if not self._gone and self._door.login_is_overdue(self):  # who asks again at once never meets a look
            self._end(replies.TLS_LATER + replies.LOGIN_OVERDUE)
        else:
            self._answer(Decision(replies.TLS_LATER))


def _end(bound: asyncio.Timeout) -> None:
    """Its time is over now."""
    if not bound.expired():
        bound.reschedule(0)

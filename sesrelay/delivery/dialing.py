"""From a destination to an open session: hosts are tried in order until one is ready to take mail.

What a host says before the first MAIL is about us or about it, never about a recipient: it decides who is tried
next, and only when nobody is left does the destination have to wait.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sesrelay.delivery.connection import Connection, Owner
from sesrelay.delivery.conversation import Conversation
from sesrelay.delivery.hosts import Host, HostFinder, NoHostError, Route
from sesrelay.delivery.transaction import TIME_LIMITS, Answer, Terms, TlsPolicy
from sesrelay.delivery.watchdog import Watchdog
from sesrelay.model.clock import Clock
from sesrelay.model.reply import Scope, Stage

_OUR_OWN: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""This machine's trouble; it says nothing about the host."""


class DialError(Exception):
    """No session with any host; the answer is what the last of them said or did."""

    def __init__(self, answer: Answer, remote: str = "", local_address: str = "", tls: str = "") -> None:
        super().__init__(answer)
        self.answer = answer
        self.remote = remote
        self.local_address = local_address
        self.tls = tls


class TlsContexts:
    """The contexts for outgoing TLS, made when first needed."""

    def __init__(self, ca_file: Path | None = None) -> None:
        self._ca_file = ca_file
        self._made: dict[bool, ssl.SSLContext] = {}

    def for_policy(self, policy: TlsPolicy) -> ssl.SSLContext:
        """``require`` verifies chain and name; otherwise any encryption is better than none (RFC 7435)."""
        verify = policy == "require"
        if verify not in self._made:
            context = ssl.create_default_context()
            if not verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            elif self._ca_file is not None:
                context.load_verify_locations(self._ca_file)
            self._made[verify] = context
        return self._made[verify]


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens sessions."""

    finder: HostFinder
    clock: Clock
    watchdog: Watchdog
    contexts: TlsContexts
    our_name: str
    idle_seconds: float

    async def dial(self, route: Route, domain: str, owner: Owner) -> Connection:
        """A connection that is ready. Raises DialError when no host is."""
        terms = Terms(self.our_name, route.tls, route.user, route.password)
        failed = DialError(Answer(Stage.ROUTE, Scope.DESTINATION, None, f"no host for {domain}"))
        try:
            async for host in self.finder.hosts(route, domain):
                try:
                    return await self._open(host, terms, owner)
                except DialError as trouble:
                    if trouble.answer.scope is Scope.OURSELVES:
                        raise
                    failed = trouble
        except NoHostError as no:
            raise DialError(Answer(Stage.ROUTE, no.scope, None, no.trouble, permanent=no.permanent)) from no
        failed.answer = failed.answer._replace(scope=Scope.DESTINATION)
        raise failed

    async def _open(self, host: Host, terms: Terms, owner: Owner) -> Connection:
        try:
            return await self._connect(host, terms, owner)
        except DialError as trouble:
            may_be_clear = terms.tls == "opportunistic" and not terms.user and not host.implicit_tls
            if trouble.answer.stage is not Stage.STARTTLS or not may_be_clear:
                raise
        # RFC 7435: its TLS is broken, and the policy asks for TLS only where there is some.
        return await self._connect(host, replace(terms, tls="never"), owner)

    async def _connect(self, host: Host, terms: Terms, owner: Owner) -> Connection:
        context = self.contexts.for_policy(terms.tls)
        conversation = Conversation(terms, encrypted=host.implicit_tls)
        connection = Connection(conversation, host, owner, self.clock, tls=context, idle_seconds=self.idle_seconds)
        try:
            await self.watchdog.within(TIME_LIMITS[Stage.CONNECT], _connected(connection, host, context))
            self.watchdog.watch(connection)
            await connection.opened
        except OSError as fault:  # TimeoutError and SSLError are OSErrors
            scope = Scope.OURSELVES if fault.errno in _OUR_OWN else Scope.HOST
            raise DialError(Answer(Stage.CONNECT, scope, None, _words(fault)), str(host)) from fault
        except asyncio.CancelledError:
            connection.abort("given up")
            raise
        if conversation.failure is not None or not connection.ready:
            answer = conversation.failure or Answer(conversation.stage, Scope.HOST, None, "the session ended")
            raise DialError(answer, str(host), connection.local_address, connection.tls)
        return connection


async def _connected(connection: Connection, host: Host, context: ssl.SSLContext) -> None:
    await asyncio.get_running_loop().create_connection(
        lambda: connection,
        host.address,
        host.port,
        ssl=context if host.implicit_tls else None,
        server_hostname=host.name if host.implicit_tls else None,
    )


def _words(fault: OSError) -> str:
    """What a person understands: the system's word for the error where it has one."""
    if fault.errno and not isinstance(fault, ssl.SSLError | socket.gaierror):
        return os.strerror(fault.errno)
    return str(fault) or type(fault).__name__

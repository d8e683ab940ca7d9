"""The server's side of TLS: 1.2 at least, the region by the name that the client asked for, and new certificates
without a restart (SMTP-1, SMTP-2).

Each region has a context of its own, switched to when its endpoint name comes as SNI; which context a connection
ended with tells its region, for STARTTLS as for TLS from the first octet.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()

_Stamp = tuple[tuple[int, int, int], ...]


class OneWaySSLObject(ssl.SSLObject):
    """Lets a client close its direction and still be answered (RFC 8446 §6.1).

    The loops' transports close both directions as soon as they read the client's close_notify. Exim sends QUIT and
    the end of its side right behind the final dot, which stunnel makes a close_notify of: without its 250 it would
    send the message again, for ever.
    """

    client_closed = False
    """It has closed its direction; whoever takes the connection over after STARTTLS may come too late to be told."""
    on_client_closed: Callable[[], None] | None = None
    """Told instead of the transport; who sets it closes the transport when everything is said."""

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - ssl's name
        connection = self._sslobj  # type: ignore[attr-defined]  # as the overridden method does, without a call more
        got = connection.read(len) if buffer is None else connection.read(len, buffer)
        if got:
            return got
        self.client_closed = True
        if self.on_client_closed is not None:
            self.on_client_closed()
        raise ssl.SSLWantReadError


class TlsContexts:
    """The contexts of one worker, all with one certificate."""

    def __init__(self, certificate: Path, private_key: Path, endpoints: Mapping[str, str]) -> None:
        """``endpoints``: region to endpoint name. OSError or ssl.SSLError: the pair cannot be used."""
        self._files = (certificate, private_key)
        self._stamp = self._read_stamp()
        self.default = self._context()
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._regions: dict[ssl.SSLContext, str] = {}
        for region, name in endpoints.items():
            context = self._context()
            self._by_name[name.lower()] = context
            self._regions[context] = region
        self.default.sni_callback = self._choose

    def region(self, ssl_object: ssl.SSLObject | None) -> str | None:
        """The region whose endpoint name the client asked for; None when it asked for none of ours."""
        return None if ssl_object is None else self._regions.get(ssl_object.context)

    def reload(self) -> bool:
        """Reads the pair again. False: it cannot be used, the old one stays (and an error is logged)."""
        stamp = self._read_stamp()
        try:
            self._context()  # a bad pair would leave a live context half changed
        except (OSError, ssl.SSLError) as error:
            log.error("tls.certificate_not_loaded", file=str(self._files[0]), reason=str(error))  # noqa: TRY400
            return False
        for context in self._all():
            context.load_cert_chain(*self._files)
        self._stamp = stamp
        log.info("tls.certificate_loaded", file=str(self._files[0]))
        return True

    def changed(self) -> bool:
        """The files are not those that were loaded last. Cheap: looks at their dates and sizes."""
        return self._read_stamp() != self._stamp

    def _all(self) -> Iterable[ssl.SSLContext]:
        return (self.default, *self._by_name.values())

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = OneWaySSLObject
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = 1
        context.load_cert_chain(*self._files)
        return context

    def _choose(self, ssl_object: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        chosen = self._by_name.get(name.lower()) if name else None
        if chosen is not None:
            ssl_object.context = chosen

    def _read_stamp(self) -> _Stamp:
        stamps = []
        for file in self._files:
            try:
                status = file.stat()
            except OSError:
                stamps.append((0, 0, 0))
            else:
                stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(stamps)

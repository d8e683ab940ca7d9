"""The server's side of TLS: 1.2 at least, region and certificate by the name that the client asked for, and new
certificates without a restart (SMTP-1, SMTP-2).

A handshake begins with one context, and is given over to one of those that were made of the certificates as they are
now; which context a connection ended with tells its region, for STARTTLS as for TLS from the first octet. Where every
name gets the same, it begins with that. A context may hold certificates of several kinds of key: the client's
abilities choose.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import structlog

from sesrelay.certificates.pairs import BadPair, Pair, PairFiles, for_name, read, remarks
from sesrelay.model.clock import Micros

log = structlog.get_logger()

_Stamp = tuple[tuple[int, int, int], ...]
_MISSING: Final = (0, 0, 0)
_KNOWN_NAMES: Final = 1024
"""Clients come back; what they ask for need not be one of our names."""


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


class _Context(ssl.SSLContext):
    """What a name gets."""

    region: str | None = None


class _Choice:
    """Contexts made of some pairs; never changes but for contexts of names that only a wildcard fits."""

    def __init__(self, pairs: Sequence[Pair], regions: Mapping[str, str]) -> None:
        self._default, *self._others = pairs
        self._regions = regions
        self._made: dict[tuple[tuple[Pair, ...], str | None], _Context] = {}
        exact = {name for pair in pairs for name in pair.names}
        self._by_name = {name: self._find(name) for name in (*exact, *regions)}
        self._nameless = self._find(None)
        self._find_again = lru_cache(_KNOWN_NAMES)(self._find)

    def context(self, name: str | None) -> _Context:
        """For a client that asked for this name, in lower case, or for none."""
        if not name:
            return self._nameless
        return self._by_name.get(name) or self._find_again(name)

    def only(self) -> _Context | None:
        """What everybody gets, whatever the name; None when names matter."""
        return self._nameless if not self._others and len(self._regions) <= 1 else None

    def contexts(self) -> set[_Context]:
        """All so far."""
        return set(self._made.values())

    def _find(self, name: str | None) -> _Context:
        shown = for_name(name, self._default, self._others)
        region = self._regions.get(name) if name else None
        if (shown, region) not in self._made:
            self._made[shown, region] = _context(shown)
            self._made[shown, region].region = region
        return self._made[shown, region]


class TlsContexts:
    """The contexts of one worker, and the certificates that they show."""

    def __init__(
        self,
        certificate: Path,
        private_key: Path,
        endpoints: Mapping[str, str],
        others: Sequence[PairFiles] = (),
        now: Callable[[], Micros] = lambda: 0,
    ) -> None:
        """``endpoints``: region to endpoint name; ``others``: further pairs, for the names in them. Raises BadPair."""
        self._files = (PairFiles(certificate, private_key), *others)
        self._regions = {name.lower(): region for region, name in endpoints.items()}
        self._now = now
        self._loaded = [_stamp(files) for files in self._files]
        self._seen = list(self._loaded)
        self._pairs = [read(files) for files in self._files]
        self._faults: dict[PairFiles, str] = {}
        self.default = _context(self._pairs[:1])
        self.default.sni_callback = self._choose
        self._choice = _Choice(self._pairs, self._regions)

    @property
    def first(self) -> ssl.SSLContext:
        """What a handshake that begins now begins with; ``default`` does as well for whoever wants one for good."""
        return self._choice.only() or self.default

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The certificates that are shown now."""
        return tuple(self._pairs)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why files that have changed are not what is shown now."""
        return tuple(self._faults.values())

    def region(self, ssl_object: ssl.SSLObject | None) -> str | None:
        """The region whose endpoint name the client asked for; None when it asked for none of ours."""
        context = ssl_object.context if ssl_object is not None else None
        return context.region if isinstance(context, _Context) else None

    def look(self) -> bool:
        """To be done every few seconds: True when it is time to ``reload``.

        Files have changed then, and stood still from one look to the next: of two, one may be written already.
        """
        stamps = [_stamp(files) for files in self._files]
        still, self._seen = stamps == self._seen, stamps
        return still and stamps != self._loaded

    def reload(self) -> bool:
        """Reads the pairs that have changed. False: one cannot be used, its old one stays (and an error is logged).

        Takes some milliseconds for each name: may be done in a thread, by one at a time.
        """
        for number, files in enumerate(self._files):
            stamp = _stamp(files)
            if stamp == self._loaded[number]:
                self._faults.pop(files, None)
                continue
            try:
                self._pairs[number] = self._better(read(files), self._pairs[number])
            except BadPair as error:
                self._complain(files, str(error))
                continue
            self._loaded[number] = stamp
            self._faults.pop(files, None)
            log.info("tls.certificate_loaded", file=str(files.certificate))
        self._choice = _Choice(self._pairs, self._regions)  # connections keep the context that they have
        return not self._faults

    def changed(self) -> bool:
        """The files are not those that were loaded last. Cheap: looks at their dates and sizes."""
        return any(_stamp(files) != loaded for files, loaded in zip(self._files, self._loaded, strict=True))

    def _better(self, new: Pair, old: Pair) -> Pair:
        """An expired certificate, or one that is yet to begin, never takes the place of a good one. Raises BadPair."""
        now = self._now()
        if old.holds(now) and not new.holds(now):
            raise BadPair("certificate", new.files.certificate, next(words for words, _ in remarks(new, now)))
        return new

    def _complain(self, files: PairFiles, reason: str) -> None:
        """Once for each reason: the files are looked at again and again."""
        if self._faults.get(files) != reason:
            self._faults[files] = reason
            log.error("tls.certificate_not_loaded", file=str(files.certificate), reason=reason)

    def _choose(self, ssl_object: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        """Called at each handshake, without a name too."""
        ssl_object.context = self._choice.context(name.lower() if name else None)


def _context(pairs: Sequence[Pair]) -> _Context:
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1
    context.sslobject_class = OneWaySSLObject
    for pair in pairs:
        pair.load_into(context)
    return context


def _stamp(pair: PairFiles) -> _Stamp:
    stamps = []
    for file in (pair.certificate, pair.private_key):
        try:
            status = file.stat()
        except OSError:
            stamps.append(_MISSING)
        else:
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(stamps)

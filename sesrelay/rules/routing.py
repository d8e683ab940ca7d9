"""Where mail for a domain goes: the operator's rules in order, the first that matches wins (DEL-1).

``*`` matches every domain, ``*.example.com`` that domain and what is below it. Mail to the mailbox simulator never
leaves the relay, whatever the rules say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

TlsPolicy = Literal["opportunistic", "require", "never"]
_PORTS: Final = {"smtp": 25, "smtps": 465}


@dataclass(frozen=True, slots=True)
class Route:
    """One rule, read: which domains, and how their mail leaves."""

    pattern: str
    kind: Literal["mx", "capture", "smart-host"]
    host: str = ""
    port: int = 0
    implicit_tls: bool = False
    """TLS from the first octet (smtps)."""
    user: str = ""
    password: str = field(default="", repr=False)
    tls: TlsPolicy = "opportunistic"
    verp: bool = True
    """With the relay's own return path, one recipient a transaction (DEL-10)."""

    def matches(self, domain: str) -> bool:
        """Whether the rule is about this domain, lower case."""
        if self.pattern == "*":
            return True
        if self.pattern.startswith("*."):
            return domain == self.pattern[2:] or domain.endswith(self.pattern[1:])
        return domain == self.pattern


CAPTURE: Final = Route("*", "capture")


def read_route(pattern: str, via: str, tls: TlsPolicy = "opportunistic", *, verp: bool = True) -> Route:
    """A rule as the configuration has it. ValueError says what is wrong with it, without the password."""
    pattern = _read_pattern(pattern)
    if via == "mx":
        return Route(pattern, "mx", tls=tls, verp=verp)
    if via == "capture":
        return Route(pattern, "capture", tls=tls, verp=verp)
    url = _split(via)
    return Route(
        pattern,
        "smart-host",
        url.hostname or "",
        url.port or _PORTS[url.scheme],
        url.scheme == "smtps",
        unquote(url.username or ""),
        unquote(url.password or ""),
        tls,
        verp,
    )


class Routes:
    """All rules; ``find`` is asked for each message, so it is nothing but comparisons."""

    def __init__(self, rules: Sequence[Route], captured: frozenset[str]) -> None:
        """``captured``: domains whose mail is always kept here (the simulator's)."""
        self._rules = tuple(rules)
        self._captured = captured

    def find(self, domain: str) -> Route:
        """The route for a domain, lower case; without any rule for it mail is kept here."""
        if domain in self._captured:
            return CAPTURE
        return next((rule for rule in self._rules if rule.matches(domain)), CAPTURE)


def _read_pattern(pattern: str) -> str:
    name = pattern.strip().lower().rstrip(".")
    if not name or (name != "*" and "*" in name.removeprefix("*.")):
        raise ValueError(f"{pattern!r} is no domain, *.domain or *")
    return name


def _split(via: str) -> SplitResult:
    wanted = "via is mx, capture, smtp://[user:password@]host[:port] or smtps://…"
    try:
        url = urlsplit(via)
        port = url.port
    except ValueError:
        raise ValueError(wanted) from None
    if url.scheme not in _PORTS or not url.hostname or port == 0 or url.path.strip("/") or url.query or url.fragment:
        raise ValueError(wanted)
    return url

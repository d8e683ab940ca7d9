"""What a request for production access or higher limits must say, and what granting it gives (LIM-1, LIM-6)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from sesrelay.model.failure import Failed, Failure
from sesrelay.model.limits import Allowance, MessageType, Wish

SANDBOX: Final = Allowance(False, 200, 1.0)
PRODUCTION: Final = Allowance(True, 10_000, 5.0)
"""Where the guide starts ("Sending Limits"; LIM-1)."""
UNLIMITED: Final = -1
MOST: Final = 1_000_000_000
"""The largest quota, far beyond any use: sums of it fit into every column."""
FASTEST: Final = 1_000_000.0
SLOWEST: Final = 0.001
LONGEST_URL: Final = 2048
LONGEST_TEXT: Final = 4000

_LISTS: Final = frozenset({MessageType.SUBSCRIPTION, MessageType.MARKETING})
"""What goes to people who signed up: they must be able to see how, and to leave again."""
_HOST: Final = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]", re.IGNORECASE)
_VISIBLE: Final = re.compile(r"[!-~]+")


def check_wish(wish: Wish) -> None:
    """Failed, with the first thing that is wrong."""
    urls = {
        "website": wish.website,
        "opt-in URL": wish.opt_in_url,
        "opt-out URL": wish.opt_out_url,
        "privacy URL": wish.privacy_url,
    }
    if not wish.message_types:
        raise Failed(Failure.INVALID, "message type: at least one is wanted")
    to_lists = next((kind for kind in wish.message_types if kind in _LISTS), None)
    for name, url in urls.items():
        if to_lists and not url:
            raise Failed(Failure.INVALID, f"{name}: wanted for messages of type {to_lists.value}")
        if url:
            check_url(name, url)
    check_text("use case", wish.use_case)
    if not 1 <= wish.quota <= MOST:
        raise Failed(Failure.INVALID, f"quota {wish.quota}: 1 to {MOST} recipients in 24 hours")
    if wish.rate and not SLOWEST <= wish.rate <= FASTEST:
        raise Failed(Failure.INVALID, f"rate {wish.rate:g}: {SLOWEST:g} to {FASTEST:.0f} recipients a second")


def check_url(name: str, url: str) -> None:
    """A page that anybody on the Internet could open. Failed: it is none."""
    fault = Failed(Failure.INVALID, f"{name} {url[:80]!r}: a URL like https://www.example.com/page is wanted")
    if len(url) > LONGEST_URL or not _VISIBLE.fullmatch(url):
        raise fault
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at only now
    except ValueError:
        raise fault from None
    if parts.scheme not in ("http", "https") or parts.username is not None or not _HOST.fullmatch(parts.hostname or ""):
        raise fault


def check_text(name: str, text: str) -> None:
    """Words for people: some, not too many, and nothing that a terminal obeys. Failed."""
    if not text.strip():
        raise Failed(Failure.INVALID, f"{name}: some words are wanted")
    if len(text) > LONGEST_TEXT:
        raise Failed(Failure.INVALID, f"{name}: at most {LONGEST_TEXT} characters, these are {len(text)}")
    if not all(character.isprintable() or character in "\r\n\t" for character in text):
        raise Failed(Failure.INVALID, f"{name}: it has control characters in it")


def check_limits(quota: int | None, rate: float | None) -> None:
    """What an operator may set; -1: unlimited, None: as it is. Failed: outside."""
    if quota is not None and not UNLIMITED <= quota <= MOST:
        raise Failed(Failure.INVALID, f"quota {quota}: 0 to {MOST} recipients in 24 hours, or -1 for unlimited")
    if rate is not None and not (rate == UNLIMITED or SLOWEST <= rate <= FASTEST):
        raise Failed(Failure.INVALID, f"rate {rate:g}: 0.001 to 1000000 recipients a second, or -1 for unlimited")


def in_production(now: Allowance) -> Allowance:
    """Out of the sandbox, with at least the limits that production starts at."""
    return _at_least(Allowance(True, now.quota, now.rate), PRODUCTION.quota, PRODUCTION.rate)


def granted(now: Allowance, wish: Wish, quota: int | None, rate: float | None) -> Allowance:
    """What a request gives: what was asked for, never less than there is; or what the operator says instead."""
    given = _at_least(in_production(now), wish.quota, wish.rate)
    return Allowance(True, given.quota if quota is None else quota, given.rate if rate is None else rate)


def _at_least(now: Allowance, quota: int, rate: float) -> Allowance:
    return Allowance(
        now.production,
        now.quota if now.quota == UNLIMITED else max(now.quota, quota),
        now.rate if now.rate == UNLIMITED else max(now.rate, rate),
    )

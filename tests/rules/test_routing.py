from __future__ import annotations

import pytest

from sesrelay.rules.routing import CAPTURE, Route, Routes, read_route

RULES = (
    read_route("exact.example", "capture"),
    read_route("*.test", "smtp://127.0.0.1:2526", verp=False),
    read_route("*.exact.example", "smtps://us%40er:p%3Ass@host.example"),
    read_route("*", "mx", "require"),
)
ROUTES = Routes(RULES, frozenset({"simulator.amazonses.com"}))


@pytest.mark.parametrize(
    ("domain", "kind", "host"),
    [
        ("exact.example", "capture", ""),
        ("sub.exact.example", "smart-host", "host.example"),
        ("inexact.example", "mx", ""),
        ("test", "smart-host", "127.0.0.1"),
        ("a.b.test", "smart-host", "127.0.0.1"),
        ("contest", "mx", ""),
        ("simulator.amazonses.com", "capture", ""),
        ("", "mx", ""),
    ],
)
def test_the_first_rule_that_matches_wins(domain: str, kind: str, host: str) -> None:
    found = ROUTES.find(domain)
    assert (found.kind, found.host) == (kind, host)


def test_without_a_rule_mail_is_kept_here() -> None:
    assert Routes((), frozenset()).find("example.com") is CAPTURE


@pytest.mark.parametrize(
    ("via", "route"),
    [
        ("smtp://h.example", Route("*", "smart-host", "h.example", 25)),
        ("smtp://h.example:2526", Route("*", "smart-host", "h.example", 2526)),
        ("smtps://u:p@h.example", Route("*", "smart-host", "h.example", 465, True, "u", "p")),
        ("smtp://us%40er:p%3Ass%2F@[::1]:26/", Route("*", "smart-host", "::1", 26, False, "us@er", "p:ss/")),
    ],
)
def test_a_smart_host_is_a_url(via: str, route: Route) -> None:
    assert read_route("*", via) == route


@pytest.mark.parametrize(
    "via",
    [
        *("", "direct", "MX", "http://h.example", "smtp://", "smtp://h:port", "smtp://h:99999", "smtp://h:0"),
        *("smtp://h/x", "smtp://u:secret@h:x"),
    ],
)
def test_what_is_no_way_out_is_refused_without_telling_its_password(via: str) -> None:
    with pytest.raises(ValueError, match="via is mx") as caught:
        read_route("*", via)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["", "**", "a.*", "*a.example", "*.*", "*.*.example"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no domain"):
        read_route(pattern, "mx")


def test_a_password_is_never_shown() -> None:
    assert "hunter2" not in repr(read_route("*", "smtp://u:hunter2@h"))

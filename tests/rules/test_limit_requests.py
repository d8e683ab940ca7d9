from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sesrelay.model.failure import Failed
from sesrelay.model.limits import Allowance, MessageType, Wish
from sesrelay.rules.limit_requests import MOST, PRODUCTION, SANDBOX, check_limits, check_wish, granted, in_production

WISH = Wish(
    website="https://www.example.com/",
    message_types=(MessageType.TRANSACTIONAL, MessageType.MARKETING),
    use_case="News for people who asked for them.",
    quota=50_000,
    rate=14,
    opt_in_url="https://www.example.com/join?list=1",
    opt_out_url="http://example.com:8080/leave",
    privacy_url="https://example.com/privacy",
)


def test_a_whole_request_is_fine() -> None:
    check_wish(WISH)


@pytest.mark.parametrize("kind", MessageType)
def test_lists_must_show_how_one_joins_and_leaves(kind: MessageType) -> None:
    for name in ("website", "opt_in_url", "opt_out_url", "privacy_url"):
        wish = replace(WISH, message_types=(MessageType.SYSTEM_NOTIFICATIONS, kind), **{name: ""})
        if kind in (MessageType.SUBSCRIPTION, MessageType.MARKETING):
            with pytest.raises(Failed, match=f": wanted for messages of type {kind.value}"):
                check_wish(wish)
        else:
            check_wish(wish)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "ftp://example.com/", "https://", "https://localhost/", "https://exa mple.com/",
        "https://example.com/\r\nx", "https://user:password@example.com/", "https://-a.example/", "https://[::1/",
        "https://192.0.2.1/", "https://example.com:99999/", "https://bücher.example/", "https://a..example/",
        "javascript:alert(1)", "https://example.com/" + "a" * 2048, "//example.com/",
    ],
)  # fmt: skip
def test_what_nobody_could_open_is_no_url(url: str) -> None:
    with pytest.raises(Failed, match="website") as refused:
        check_wish(replace(WISH, website=url))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"message_types": ()}, "message type: at least one"),
        ({"use_case": " \n"}, "use case: some words"),
        ({"use_case": "x" * 4001}, "at most 4000 characters, these are 4001"),
        ({"use_case": "\x1b[2J"}, "control characters"),
        ({"quota": 0}, "quota 0"),
        ({"quota": -1}, "quota -1"),
        ({"quota": MOST + 1}, "1 to 1000000000"),
        ({"rate": -1.0}, "rate -1"),
        ({"rate": float("nan")}, "rate nan"),
        ({"rate": float("inf")}, "rate inf"),
    ],
)
def test_what_cannot_be_wanted(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Failed, match=words):
        check_wish(replace(WISH, **change))


@pytest.mark.parametrize(
    ("quota", "rate"), [(-2, None), (MOST + 1, None), (None, 0.0), (None, -2.0), (None, float("nan"))]
)
def test_what_cannot_be_set(quota: int | None, rate: float | None) -> None:
    with pytest.raises(Failed):
        check_limits(quota, rate)


@pytest.mark.parametrize(
    ("now", "quota", "rate", "given"),
    [
        (SANDBOX, None, None, Allowance(True, 50_000, 14)),
        (PRODUCTION, None, None, Allowance(True, 50_000, 14)),
        (Allowance(True, 90_000, 90), None, None, Allowance(True, 90_000, 90)),
        (Allowance(False, -1, -1), None, None, Allowance(True, -1, -1)),
        (SANDBOX, 300, None, Allowance(True, 300, 14)),
        (SANDBOX, None, 2.5, Allowance(True, 50_000, 2.5)),
        (Allowance(True, -1, -1), 7, 1, Allowance(True, 7, 1)),
    ],
)
def test_a_grant_gives_what_was_asked_for_never_less_or_what_the_operator_says(
    now: Allowance, quota: int | None, rate: float | None, given: Allowance
) -> None:
    assert granted(now, WISH, quota, rate) == given


def test_a_small_wish_gets_what_production_starts_at() -> None:
    assert granted(SANDBOX, replace(WISH, quota=500, rate=0), None, None) == PRODUCTION
    assert in_production(SANDBOX) == PRODUCTION

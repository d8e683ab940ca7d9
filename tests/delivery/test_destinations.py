"""Who waits for a destination, in what order, and how long it is left alone."""

from __future__ import annotations

import pytest

from sesrelay.delivery.destinations import STRIKES, Destination, Job, Load, pause_seconds
from sesrelay.delivery.transaction import Answer
from sesrelay.model.reply import Scope, Stage
from tests.delivery.kit import claim, smart_host

TROUBLE = Answer(Stage.CONNECT, Scope.DESTINATION, None, "refused")


def destination() -> Destination:
    return Destination("site", smart_host(25), "example.org", Load())


def job(account_id: str, *, new: bool = True) -> Job:
    return Job((claim(account_id=account_id),), b"12345" if new else None, new)


def test_accounts_take_turns() -> None:
    waiting = destination()
    jobs = [job("a"), job("a"), job("a"), job("b"), job("c"), job("b")]
    for each in jobs:
        waiting.push(each)
    order = "".join(waiting.pop().claims[0].account_id for _ in jobs)
    assert order == "abcaba"
    with pytest.raises(IndexError):
        waiting.pop()


def test_within_an_account_the_oldest_goes_first_unless_it_was_interrupted() -> None:
    waiting = destination()
    first, second, again = job("a"), job("a"), job("a")
    waiting.push(first)
    waiting.push(second)
    waiting.push(again, first=True)
    assert [waiting.pop() for _ in range(3)] == [again, first, second]


def test_new_mail_goes_before_the_backlog_without_starving_it() -> None:
    waiting = destination()
    for _ in range(8):
        waiting.push(job("a", new=False))
        waiting.push(job("a"))
    order = "".join("n" if waiting.pop().new else "b" for _ in range(16))
    assert order == "nnnbnnnbnnbbbbbb"


def test_what_waits_is_counted_and_uncounted() -> None:
    waiting = destination()
    for each in (job("a"), job("a", new=False), job("b")):
        waiting.push(each)
    assert (waiting.load.jobs, waiting.load.octets, waiting.waiting_of("a")) == (3, 10, 2)
    while waiting.waiting:
        waiting.pop()
    assert (waiting.load.jobs, waiting.load.octets, waiting.waiting_of("a")) == (0, 0, 0)
    assert waiting.unused


def test_one_connection_probes_and_many_serve() -> None:
    waiting = destination()
    assert not waiting.wants_connection()
    for _ in range(3):
        waiting.push(job("a"))
    assert waiting.wants_connection()
    waiting.opening = 1
    assert not waiting.wants_connection()
    waiting.proven = True
    assert waiting.wants_connection()
    waiting.opening = 3
    assert not waiting.wants_connection()


def test_pauses_grow_to_a_bound_with_jitter() -> None:
    assert [pause_seconds(failures, 0.5) for failures in (1, 2, 3, 20)] == [5, 10, 20, 600]
    assert pause_seconds(1, 0.0) == 4
    assert pause_seconds(1, 0.999) == pytest.approx(6, abs=0.01)


def test_connections_that_fail_together_are_one_failure() -> None:
    waiting = destination()
    assert waiting.failed(TROUBLE, 100.0, 0.5) == 5
    assert waiting.failed(TROUBLE, 101.0, 0.5) == 4
    assert waiting.failures == 1
    assert waiting.failed(TROUBLE, 200.0, 0.5) == 10


def test_an_answer_wipes_the_slate_clean() -> None:
    waiting = destination()
    waiting.failed(TROUBLE, 100.0, 0.5)
    waiting.answered()
    assert (waiting.failures, waiting.last_failure) == (0, None)
    assert [waiting.session_broke(TROUBLE) for _ in range(STRIKES)] == [False] * (STRIKES - 1) + [True]

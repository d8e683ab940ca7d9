from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.model.clock import DAY, HOUR, MINUTE, Micros
from sesrelay.model.identity import VERIFIED, DnsAnswer, IdentityMail, Life, LinkState, VerificationStatus
from sesrelay.rules.identity_life import (
    ARROWS,
    ASKING,
    LINK_LIVES,
    Phase,
    answered,
    begin,
    begin_address,
    deadline,
    link_state,
    may_send_link,
    phase,
    vouched,
)

T: Micros = 1_790_000_000_000_000
FOUND, ABSENT, TROUBLE = DnsAnswer.FOUND, DnsAnswer.ABSENT, DnsAnswer.TROUBLE
PENDING = begin(T)
SUCCESS = Life(VerificationStatus.SUCCESS, asked_at=T - DAY, verified_at=T - HOUR, next_check_at=T)
WARNED = replace(SUCCESS, missing_since=T)


@pytest.mark.parametrize(
    ("life", "answer", "age", "status", "mail"),
    [
        (PENDING, FOUND, 0, "Success", IdentityMail.SUCCESS),
        (PENDING, ABSENT, 71 * HOUR, "Pending", None),
        (PENDING, ABSENT, ASKING, "Failed", IdentityMail.FAILURE),
        (PENDING, TROUBLE, 71 * HOUR, "Pending", None),
        (PENDING, TROUBLE, ASKING, "Failed", IdentityMail.FAILURE),
        (PENDING, FOUND, 100 * HOUR, "Success", IdentityMail.SUCCESS),
        (SUCCESS, FOUND, 0, "Success", None),
        (SUCCESS, ABSENT, 0, "Success", IdentityMail.REVOCATION_WARNING),
        (SUCCESS, TROUBLE, 0, "Success", None),
        (WARNED, FOUND, HOUR, "Success", IdentityMail.REVOCATION_CANCELLATION),
        (WARNED, FOUND, 100 * HOUR, "Success", IdentityMail.REVOCATION_CANCELLATION),
        (WARNED, ABSENT, ASKING - 1, "Success", None),
        (WARNED, ABSENT, ASKING, None, IdentityMail.REVOCATION),
        (WARNED, TROUBLE, 1000 * HOUR, "Success", None),
    ],
)
def test_each_answer_leads_somewhere(
    life: Life, answer: DnsAnswer, age: Micros, status: str | None, mail: IdentityMail | None
) -> None:
    step = answered(life, answer, T + age, 0.5)
    assert (step.life.status.value if step.life else None, step.mail) == (status, mail)


def test_every_phase_that_is_asked_about_has_an_arrow_for_every_answer() -> None:
    asked = {(one, answer, over) for one in (Phase.PENDING, Phase.WARNED) for answer in DnsAnswer for over in (0, 1)}
    asked |= {(Phase.VERIFIED, answer, 0) for answer in DnsAnswer}
    assert ARROWS.keys() == asked


def test_a_failed_domain_is_left_alone_whatever_the_dns_says() -> None:
    failed = answered(PENDING, ABSENT, T + ASKING, 0.5).life
    assert failed
    assert failed.next_check_at == 0
    assert answered(failed, FOUND, T + 100 * HOUR, 0.5) == (failed, None)


def test_the_waits_grow_to_an_hour_and_the_last_question_is_at_the_end() -> None:
    life, waits, now = PENDING, [], T
    while phase(life) is Phase.PENDING:
        step = answered(life, ABSENT, now, 0.5)
        assert step.life
        waits.append(step.life.next_check_at - now)
        life, last = step.life, now
        now = life.next_check_at
    assert last == T + ASKING
    assert waits[:4] == [MINUTE] * 4
    assert waits[-3] == HOUR
    assert sorted(waits[:-2]) == waits[:-2]
    assert 60 < len(waits) < 130


def test_a_verified_domain_is_looked_at_again_every_day() -> None:
    step = answered(SUCCESS, FOUND, T, 0.5)
    assert step.life
    assert step.life.next_check_at == T + DAY


def test_a_silent_server_is_asked_sooner_and_shows_after_a_day_but_takes_nothing_away() -> None:
    life, now = SUCCESS, T
    while now < T + 30 * DAY:
        step = answered(life, TROUBLE, now, 0.5)
        assert step.life
        assert step.mail is None
        assert step.life.status in VERIFIED
        assert (step.life.status is VerificationStatus.TEMPORARY_FAILURE) == (now >= T + DAY)
        life, now = step.life, step.life.next_check_at
        assert now - T < MINUTE * 2 or step.life.next_check_at - now <= HOUR * 5 // 4
    back = answered(life, FOUND, now, 0.5)
    assert back.life
    assert (back.life.status, back.life.trouble_since, back.mail) == (VerificationStatus.SUCCESS, 0, None)


def test_an_operators_word_is_not_checked() -> None:
    assert (vouched(T).next_check_at, vouched(T).status) == (0, VerificationStatus.SUCCESS)
    assert begin_address(T).next_check_at == 0


answers = st.lists(st.tuples(st.sampled_from(DnsAnswer), st.integers(0, 100), st.floats(0, 0.999)), max_size=60)


@given(answers)
def test_silence_never_revokes_and_every_mail_has_its_reason(story: list[tuple[DnsAnswer, int, float]]) -> None:
    life, now = begin(T), T
    absent_since: Micros | None = None
    verified = False
    for answer, hours, spread in story:
        now = max(now + hours * HOUR, life.next_check_at)
        if phase(life) is Phase.FAILED:
            break
        step = answered(life, answer, now, spread)
        absent_since = (absent_since or now) if answer is ABSENT else absent_since if answer is TROUBLE else None
        if step.life is None:
            assert verified
            assert answer is ABSENT
            assert absent_since is not None
            assert now - absent_since >= ASKING
            assert step.mail is IdentityMail.REVOCATION
            return
        if answer is TROUBLE and verified:
            assert step.mail is None
            assert step.life.status in VERIFIED
        assert (step.mail is IdentityMail.SUCCESS) == (not verified and answer is FOUND)
        verified = verified or answer is FOUND
        assert (step.life.status in VERIFIED) == verified
        if phase(step.life) is not Phase.FAILED:
            assert step.life.next_check_at > now
            assert not now < deadline(step.life) < step.life.next_check_at
        life = step.life


@pytest.mark.parametrize(
    ("life", "created_at", "asked_at", "now", "state"),
    [
        (None, 0, T, T, LinkState.UNKNOWN),
        (begin_address(T), T, T, T, LinkState.OPEN),
        (begin_address(T), T, T, T + LINK_LIVES - 1, LinkState.OPEN),
        (begin_address(T), T, T, T + LINK_LIVES, LinkState.EXPIRED),
        (begin_address(T + HOUR), T, T, T + 2 * HOUR, LinkState.OPEN),
        (begin_address(T + HOUR), T + HOUR, T, T + 2 * HOUR, LinkState.UNKNOWN),
        (vouched(T), T, T, T, LinkState.USED),
        (vouched(T), T, T, T + 48 * HOUR, LinkState.USED),
    ],
)
def test_a_link_is_good_for_something(
    life: Life | None, created_at: Micros, asked_at: Micros, now: Micros, state: LinkState
) -> None:
    assert link_state(life, created_at, asked_at, now) is state


def test_a_mailbox_gets_a_link_a_minute_at_most() -> None:
    assert not may_send_link(begin_address(T), T + MINUTE - 1)
    assert may_send_link(begin_address(T), T + MINUTE)
    assert may_send_link(begin_address(T), T - 1)  # the clock was put back

from __future__ import annotations

import json
from typing import Any

import pytest

from sesrelay.model.clock import HOUR, MINUTE
from sesrelay.model.message import (
    TRANSITIONS,
    AttemptResult,
    BodyLocation,
    BounceType,
    Claim,
    MessageId,
    Origin,
    RecipientState,
    Verdict,
)
from sesrelay.model.reply import Reply, Scope, Stage
from sesrelay.rules.outcomes import verdict
from sesrelay.rules.retries import DEFAULT, Schedule

AT = 1_795_446_608_000_000
CLAIM = Claim(
    MessageId.make(0, AT, bytes(16)), 0, "to@example.net", "example.net", "123456789012", "us-east-1", Origin.CLIENT,
    "me@example.com", "me@example.com", AT, 1, False, False, 0, 100, BodyLocation("", 0, 0, 0),
)  # fmt: skip


def judged(
    reply: Reply | None = None,
    *,
    stage: Stage = Stage.RCPT,
    scope: Scope = Scope.RECIPIENT,
    trouble: str = "",
    age: int = MINUTE,
    claim: Claim = CLAIM,
    schedule: Schedule = DEFAULT,
    **more: Any,
) -> Verdict:
    made = verdict(AttemptResult(claim, stage, scope, reply, trouble, **more), AT + age, 0.5, schedule)
    assert made.state in TRANSITIONS[RecipientState.QUEUED]
    json.loads(made.history)
    return made


def reply(code: int, status: str = "", *lines: str) -> Reply:
    return Reply(code, status, lines or ("words",))


def test_a_positive_answer_to_the_final_dot_is_delivery() -> None:
    made = judged(reply(250, "2.0.0", "queued as 1"), stage=Stage.END_OF_DATA)
    assert (made.state, made.smtp_response) == (RecipientState.DELIVERED, "250 2.0.0 queued as 1")
    assert made.bounce is None
    assert not made.tells_sender


def test_a_positive_answer_to_anything_else_is_not() -> None:
    assert judged(reply(250), stage=Stage.RCPT).state is RecipientState.QUEUED


FINAL = RecipientState.BOUNCED
AGAIN = RecipientState.QUEUED


@pytest.mark.parametrize(
    ("stage", "scope", "answer", "state"),
    [
        (Stage.RCPT, Scope.RECIPIENT, reply(550, "5.1.1"), FINAL),
        (Stage.RCPT, Scope.RECIPIENT, reply(550), FINAL),
        (Stage.MAIL, Scope.MESSAGE, reply(553), FINAL),
        (Stage.DATA, Scope.MESSAGE, reply(554), FINAL),
        (Stage.END_OF_DATA, Scope.MESSAGE, reply(554, "5.7.1"), FINAL),
        (Stage.RCPT, Scope.RECIPIENT, reply(552, "5.3.4"), FINAL),
        # DEL-5: a full mailbox is asked again
        (Stage.RCPT, Scope.RECIPIENT, reply(552), AGAIN),
        (Stage.RCPT, Scope.RECIPIENT, reply(552, "5.2.2"), AGAIN),
        (Stage.END_OF_DATA, Scope.RECIPIENT, reply(550, "5.2.2"), AGAIN),
        (Stage.RCPT, Scope.RECIPIENT, reply(450, "4.2.0"), AGAIN),
        (Stage.RCPT, Scope.RECIPIENT, reply(421), AGAIN),
        # Before the transaction nothing is said about the mail
        (Stage.GREETING, Scope.HOST, reply(554), AGAIN),
        (Stage.EHLO, Scope.HOST, reply(550), AGAIN),
        (Stage.AUTH, Scope.OURSELVES, reply(535, "5.7.8"), AGAIN),
        (Stage.STARTTLS, Scope.HOST, reply(501), AGAIN),
        (Stage.MAIL, Scope.OURSELVES, reply(530), AGAIN),
        (Stage.RCPT, Scope.SESSION, None, AGAIN),
        (Stage.CONNECT, Scope.HOST, None, AGAIN),
    ],
)
def test_the_code_decides_whether_to_try_again(
    stage: Stage, scope: Scope, answer: Reply | None, state: RecipientState
) -> None:
    made = judged(answer, stage=stage, scope=scope, trouble="" if answer else "connection lost")
    assert made.state is state
    assert made.tells_sender == (state is FINAL)
    assert bool(made.next_attempt_at) == (state is AGAIN)


@pytest.mark.parametrize(
    ("answer", "kind", "sub_type", "status"),
    [
        (reply(550, "5.1.1"), BounceType.PERMANENT, "NoEmail", "5.1.1"),
        (reply(550, "5.7.1"), BounceType.TRANSIENT, "General", "5.7.1"),
        (reply(552, "5.3.4"), BounceType.TRANSIENT, "MessageTooLarge", "5.3.4"),
        (reply(550, "5.4.1"), BounceType.PERMANENT, "General", "5.4.1"),
        (reply(550), BounceType.PERMANENT, "General", "5.3.0"),
    ],
)
def test_the_status_names_the_bounce(answer: Reply, kind: BounceType, sub_type: str, status: str) -> None:
    bounce = judged(answer).bounce
    assert bounce is not None
    assert (bounce.type, bounce.sub_type, bounce.status) == (kind, sub_type, status)
    assert (bounce.action, bounce.diagnostic) == ("failed", f"smtp; {answer}")


def test_a_final_no_of_our_own_is_worded_by_whoever_said_it() -> None:
    made = judged(trouble="550 5.4.4 Invalid domain x.example", stage=Stage.ROUTE, permanent=True)
    assert (made.state, made.smtp_response) == (RecipientState.BOUNCED, "550 5.4.4 Invalid domain x.example")
    assert made.bounce is not None
    assert made.bounce.status == "5.4.4"


def test_what_is_too_old_expires_in_sess_words_with_the_last_reply() -> None:
    made = judged(reply(421, "4.4.2", "Connection timed out"), age=14 * HOUR)
    assert made.state is RecipientState.EXPIRED
    assert made.smtp_response == (
        "554 4.4.7 Message expired: unable to deliver in 840 minutes.<421 4.4.2 Connection timed out>"
    )
    assert made.bounce is not None
    assert (made.bounce.type, made.bounce.sub_type, made.bounce.status) == (BounceType.TRANSIENT, "General", "4.4.7")
    assert made.bounce.diagnostic == f"smtp; {made.smtp_response}"
    assert made.tells_sender


def test_the_age_is_a_setting_and_stands_in_the_words() -> None:
    made = judged(trouble="connection refused", age=2 * HOUR, schedule=Schedule(MINUTE, MINUTE, 2 * HOUR))
    assert made.smtp_response.startswith(
        "554 4.4.7 Message expired: unable to deliver in 120 minutes.<connection refused>"
    )


def test_a_wait_of_our_own_choice_is_no_attempt() -> None:
    made = judged(trouble="rate", not_tried=True)
    assert (made.state, made.counts_as_attempt) == (RecipientState.QUEUED, False)
    assert judged(trouble="broken").counts_as_attempt


def test_an_answer_that_never_came_leaves_a_doubt_that_stays() -> None:
    assert judged(trouble="connection lost", stage=Stage.END_OF_DATA, in_doubt=True).in_doubt
    assert judged(reply(450), claim=CLAIM._replace(in_doubt=True)).in_doubt
    assert not judged(reply(250), stage=Stage.END_OF_DATA, claim=CLAIM._replace(in_doubt=True)).in_doubt
    assert "in_doubt" in judged(trouble="connection lost", stage=Stage.END_OF_DATA, in_doubt=True).history


def test_what_is_captured_is_kept_and_nobody_is_told() -> None:
    made = judged(stage=Stage.ROUTE, captured=True)
    assert (made.state, made.tells_sender, made.smtp_response) == (RecipientState.CAPTURED, False, "")


@pytest.mark.parametrize("claim", [CLAIM._replace(origin=Origin.RELAY), CLAIM._replace(mail_from="")])
def test_a_bounce_is_never_answered_by_a_bounce(claim: Claim) -> None:
    assert not judged(reply(550), claim=claim).tells_sender
    assert not judged(reply(450), claim=claim, age=15 * HOUR).tells_sender


def test_the_next_attempt_follows_the_schedule() -> None:
    assert judged(reply(450), claim=CLAIM._replace(attempts=3)).next_attempt_at == AT + MINUTE + 20 * MINUTE


def test_the_story_has_what_an_operator_asks_for() -> None:
    made = judged(
        reply(450, "4.2.0", "greylisted"), remote="mx.example.net [192.0.2.1]:25", tls="TLSv1.3 X", started_at=AT,
        finished_at=AT + 5,
    )  # fmt: skip
    assert json.loads(made.history) == {
        "attempt": 1,
        "stage": "RCPT TO",
        "scope": "recipient",
        "remote": "mx.example.net [192.0.2.1]:25",
        "tls": "TLSv1.3 X",
        "reply": "450 4.2.0 greylisted",
        "started_at": AT,
        "finished_at": AT + 5,
        "next_attempt_at": AT + MINUTE + 5 * MINUTE,
    }


def test_the_story_of_a_delivery_names_no_trouble() -> None:
    made = judged(reply(250, "2.0.0", "queued"), stage=Stage.END_OF_DATA, remote="mx", local_address="192.0.2.9")
    story = {"attempt": 1, "remote": "mx", "local_address": "192.0.2.9", "reply": "250 2.0.0 queued"}
    assert json.loads(made.history) == story


def test_without_a_reply_and_without_words_the_stage_is_named() -> None:
    assert judged(stage=Stage.BODY).smtp_response == "no answer at: sending the message"

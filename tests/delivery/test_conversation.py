"""The conversation without a socket: every transaction ends in one outcome, whatever the server says."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.delivery.conversation import Conversation
from sesrelay.delivery.transaction import TIME_LIMITS, Answer, Outcome, Terms, Transaction
from sesrelay.model.reply import Scope, Stage

CLEAR = Terms("relay.example.net", tls="never")
CONTENT = b"Subject: x\r\n\r\n.dot\r\n"
MAIL = Transaction("a@example.com", {7: "b@example.org"}, CONTENT)
THREE = Transaction("a@example.com", {1: "b@example.org", 2: "c@example.org", 5: "d@example.org"}, CONTENT)
PIPELINED = b"250-hi\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000\r\n"


def said(conversation: Conversation) -> bytes:
    """What goes out now."""
    octets = b"".join(conversation.output)
    conversation.output.clear()
    while conversation.has_content:
        octets += conversation.next_piece()
    return octets


def open_session(ehlo: bytes = PIPELINED, terms: Terms = CLEAR) -> Conversation:
    conversation = Conversation(terms)
    conversation.receive(b"220 hi\r\n")
    assert said(conversation) == b"EHLO relay.example.net\r\n"
    conversation.receive(ehlo)
    assert conversation.ready
    return conversation


def outcome_of(conversation: Conversation) -> Outcome:
    outcome, conversation.outcome = conversation.outcome, None
    assert outcome is not None
    return outcome


def codes(outcome: Outcome) -> dict[int, int]:
    return {key: answer.reply.code if answer.reply else 0 for key, answer in outcome.answers.items()}


def test_a_pipelined_transaction_takes_two_writes() -> None:
    conversation = open_session()
    conversation.begin(MAIL)
    assert said(conversation) == b"MAIL FROM:<a@example.com> SIZE=20\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
    conversation.receive(b"250 Ok\r\n250 Ok\r\n354 go\r\n")
    assert said(conversation) == b"Subject: x\r\n\r\n..dot\r\n.\r\n"
    conversation.receive(b"250 2.0.0 queued as 1\r\n")
    answer = outcome_of(conversation).answers[7]
    assert answer.stage is Stage.END_OF_DATA
    assert str(answer.reply) == "250 2.0.0 queued as 1"
    assert not answer.in_doubt
    assert conversation.ready


def test_without_pipelining_each_command_waits_for_its_reply() -> None:
    conversation = open_session(b"250 hi\r\n")
    conversation.begin(MAIL)
    for expected, reply in [
        (b"MAIL FROM:<a@example.com>\r\n", b"250 Ok\r\n"),
        (b"RCPT TO:<b@example.org>\r\n", b"250 Ok\r\n"),
        (b"DATA\r\n", b"354 go\r\n"),
        (b"Subject: x\r\n\r\n..dot\r\n.\r\n", b"250 Ok\r\n"),
    ]:
        assert said(conversation) == expected
        conversation.receive(reply)
    assert codes(outcome_of(conversation)) == {7: 250}


def test_a_server_of_1982_is_greeted_with_helo() -> None:
    conversation = Conversation(Terms("relay.example.net"))
    conversation.receive(b"220 hi\r\n")
    said(conversation)
    conversation.receive(b"502 what?\r\n")
    assert said(conversation) == b"HELO relay.example.net\r\n"
    conversation.receive(b"250 hi\r\n")
    assert conversation.ready


def test_eight_bit_is_said_where_it_is_understood() -> None:
    conversation = open_session()
    conversation.begin(Transaction("", {1: "b@example.org"}, b"\xe9\r\n", eight_bit=True))
    assert said(conversation).startswith(b"MAIL FROM:<> BODY=8BITMIME SIZE=3\r\n")


def test_each_recipient_has_its_own_outcome() -> None:
    conversation = open_session()
    conversation.begin(THREE)
    said(conversation)
    conversation.receive(b"250 Ok\r\n250 Ok\r\n550 5.1.1 unknown\r\n451 later\r\n354 go\r\n")
    said(conversation)
    conversation.receive(b"250 Ok\r\n")
    outcome = outcome_of(conversation)
    assert codes(outcome) == {1: 250, 2: 550, 5: 451}
    assert outcome.answers[2].stage is Stage.RCPT
    assert outcome.answers[2].scope is Scope.RECIPIENT


def test_nobody_accepted_but_354_gets_an_empty_message_and_no_doubt() -> None:
    conversation = open_session()
    conversation.begin(MAIL)
    said(conversation)
    conversation.receive(b"250 Ok\r\n550 no\r\n354 go\r\n")
    assert said(conversation) == b".\r\n"
    conversation.receive(b"554 no valid recipients\r\n")
    outcome = outcome_of(conversation)
    assert codes(outcome) == {7: 550}
    assert not outcome.answers[7].in_doubt


def test_a_refused_sender_is_about_the_message() -> None:
    conversation = open_session()
    conversation.begin(THREE)
    said(conversation)
    conversation.receive(b"450 4.7.1 not now\r\n" + b"503 order\r\n" * 4)
    outcome = outcome_of(conversation)
    assert codes(outcome) == {1: 450, 2: 450, 5: 450}
    assert {answer.scope for answer in outcome.answers.values()} == {Scope.MESSAGE}
    assert conversation.ready


def test_recipients_behind_a_refused_sender_count_for_nothing() -> None:
    conversation = open_session()
    conversation.begin(MAIL)
    said(conversation)
    conversation.receive(b"550 no\r\n250 Ok\r\n354 go\r\n")
    assert said(conversation) == b".\r\n"
    conversation.receive(b"250 thanks for nothing\r\n")
    assert codes(outcome_of(conversation)) == {7: 550}


def test_a_smart_host_that_wants_a_login_is_our_own_trouble() -> None:
    conversation = open_session()
    conversation.begin(MAIL)
    said(conversation)
    conversation.receive(b"530 5.7.0 Authentication required\r\n503 no\r\n503 no\r\n")
    assert outcome_of(conversation).answers[7].scope is Scope.OURSELVES


def test_a_transaction_behind_a_failed_one_begins_with_rset() -> None:
    conversation = open_session()
    conversation.begin(MAIL)
    said(conversation)
    conversation.receive(b"250 Ok\r\n550 no\r\n503 no\r\n")
    assert codes(outcome_of(conversation)) == {7: 550}
    conversation.begin(MAIL)
    assert said(conversation).startswith(b"RSET\r\nMAIL FROM:")
    conversation.receive(b"250 Ok\r\n250 Ok\r\n250 Ok\r\n354 go\r\n")
    assert said(conversation).endswith(b"\r\n.\r\n")


def test_without_pipelining_nobody_accepted_means_no_data() -> None:
    conversation = open_session(b"250 hi\r\n")
    conversation.begin(MAIL)
    said(conversation)
    conversation.receive(b"250 Ok\r\n")
    said(conversation)
    conversation.receive(b"550 no\r\n")
    assert codes(outcome_of(conversation)) == {7: 550}
    assert said(conversation) == b""
    conversation.begin(MAIL)
    assert said(conversation) == b"RSET\r\n"


@pytest.mark.parametrize("before", [b"", b"250 Ok\r\n", b"250 Ok\r\n250 Ok\r\n"])
def test_421_ends_the_session_at_any_place(before: bytes) -> None:
    conversation = open_session()
    conversation.begin(MAIL)
    said(conversation)
    conversation.receive(before + b"421 4.3.2 going down\r\n")
    answer = outcome_of(conversation).answers[7]
    assert answer.scope is Scope.SESSION
    assert answer.reply is not None
    assert answer.reply.code == 421
    assert conversation.closed
    assert not conversation.ready


def in_data() -> Conversation:
    conversation = open_session()
    conversation.begin(MAIL)
    said(conversation)
    conversation.receive(b"250 Ok\r\n250 Ok\r\n354 go\r\n")
    return conversation


def test_a_lost_answer_after_the_dot_is_a_doubt() -> None:
    conversation = in_data()
    said(conversation)
    conversation.broken("the server closed the connection")
    answer = outcome_of(conversation).answers[7]
    assert answer == Answer(Stage.END_OF_DATA, Scope.SESSION, None, "the server closed the connection", in_doubt=True)


def test_nonsense_after_the_dot_is_a_doubt() -> None:
    conversation = in_data()
    said(conversation)
    conversation.receive(b"354 once more?\r\n")
    assert outcome_of(conversation).answers[7].in_doubt
    assert conversation.closed


def test_a_421_after_the_dot_is_an_answer_and_no_doubt() -> None:
    conversation = in_data()
    said(conversation)
    conversation.receive(b"421 4.3.2 not now\r\n")
    answer = outcome_of(conversation).answers[7]
    assert not answer.in_doubt
    assert answer.stage is Stage.END_OF_DATA


def test_a_break_before_the_dot_is_no_doubt() -> None:
    conversation = in_data()
    conversation.broken("cut")
    answer = outcome_of(conversation).answers[7]
    assert not answer.in_doubt
    assert answer.stage is Stage.BODY


def test_an_answer_in_the_middle_of_the_content_ends_the_session() -> None:
    conversation = in_data()
    conversation.receive(b"552 5.3.4 too long\r\n")
    assert codes(outcome_of(conversation)) == {7: 552}
    assert conversation.closed
    assert not conversation.has_content


def test_what_we_abandon_was_not_tried() -> None:
    conversation = in_data()
    conversation.abandon("lease")
    answer = outcome_of(conversation).answers[7]
    assert answer.not_tried
    assert conversation.closed
    assert not conversation.has_content


def test_too_big_for_the_server_is_a_final_no_without_a_word() -> None:
    conversation = open_session()
    conversation.begin(Transaction("a@example.com", {7: "b@example.org"}, b"x" * 1001))
    answer = outcome_of(conversation).answers[7]
    assert answer.permanent
    assert answer.trouble.startswith("552 5.3.4 ")
    assert said(conversation) == b""
    assert conversation.ready


@pytest.mark.parametrize("address", ["b@exämple.org", "b@example.org>\r\nRSET"])
def test_an_address_that_cannot_be_written_is_never_written(address: str) -> None:
    conversation = open_session()
    conversation.begin(Transaction("a@example.com", {7: address}, CONTENT))
    assert outcome_of(conversation).answers[7].permanent
    assert said(conversation) == b""


def test_a_kept_connection_that_ended_before_it_said_a_word_is_stale() -> None:
    conversation = in_data()
    said(conversation)
    conversation.receive(b"250 Ok\r\n")
    outcome_of(conversation)
    conversation.begin(MAIL)
    conversation.broken("reset")
    assert outcome_of(conversation).stale


def test_a_new_connection_is_never_stale() -> None:
    conversation = open_session()
    conversation.begin(MAIL)
    conversation.broken("reset")
    assert not outcome_of(conversation).stale


def test_a_goodbye_while_idle_closes() -> None:
    conversation = open_session()
    conversation.receive(b"421 idle for too long\r\n")
    assert conversation.closed
    assert not conversation.ready
    assert conversation.outcome is None


def test_starttls_forgets_what_came_in_clear() -> None:
    conversation = Conversation(Terms("relay.example.net"))
    conversation.receive(b"220 hi\r\n")
    conversation.receive(b"250-hi\r\n250 STARTTLS\r\n")
    assert said(conversation).endswith(b"STARTTLS\r\n")
    conversation.receive(b"220 go\r\n250-injected\r\n250 PIPELINING\r\n250 ha")
    assert conversation.wants_tls
    conversation.receive(b"lf\r\n")
    conversation.tls_started()
    assert said(conversation) == b"EHLO relay.example.net\r\n"
    assert not conversation.ready
    conversation.receive(b"250 hi\r\n")
    assert conversation.ready
    conversation.begin(MAIL)
    assert said(conversation) == b"MAIL FROM:<a@example.com>\r\n"


@pytest.mark.parametrize(
    ("terms", "ehlo", "words"),
    [
        (Terms("r", tls="require"), b"250 hi\r\n", "TLS is required"),
        (Terms("r", user="u", password="p"), b"250-hi\r\n250 AUTH PLAIN\r\n", "not sent in clear"),
        (Terms("r", tls="never", user="u", password="p"), b"250-hi\r\n250 AUTH GSSAPI\r\n", "neither"),
    ],
)
def test_terms_that_are_not_met_end_the_session(terms: Terms, ehlo: bytes, words: str) -> None:
    conversation = Conversation(terms)
    conversation.receive(b"220 hi\r\n")
    conversation.receive(ehlo)
    assert conversation.failure is not None
    assert words in conversation.failure.trouble
    assert conversation.closed
    assert said(conversation).endswith(b"QUIT\r\n")


def test_plain_is_one_step_and_login_three() -> None:
    secret = Terms("r", tls="never", user="me", password="sesame")
    conversation = Conversation(secret)
    conversation.receive(b"220 hi\r\n250-hi\r\n250 AUTH LOGIN PLAIN\r\n")
    assert base64.b64decode(said(conversation).split()[-1]) == b"\0me\0sesame"
    conversation.receive(b"235 welcome\r\n")
    assert conversation.ready
    conversation = Conversation(secret)
    conversation.receive(b"220 hi\r\n250-hi\r\n250-AUTH=LOGIN\r\n250 x\r\n")
    assert said(conversation).endswith(b"AUTH LOGIN\r\n")
    conversation.receive(b"334 VXNlcm5hbWU6\r\n")
    assert said(conversation) == base64.b64encode(b"me") + b"\r\n"
    conversation.receive(b"334 UGFzc3dvcmQ6\r\n")
    assert said(conversation) == base64.b64encode(b"sesame") + b"\r\n"
    conversation.receive(b"535 no\r\n")
    assert conversation.failure is not None
    assert conversation.failure.stage is Stage.AUTH


def test_the_password_is_in_no_representation() -> None:
    assert "sesame" not in repr(Terms("r", user="me", password="sesame"))


def test_the_longest_silence_is_allowed_after_the_dot() -> None:
    conversation = in_data()
    assert conversation.seconds == TIME_LIMITS[Stage.BODY]
    said(conversation)
    assert conversation.seconds == 600


REPLIES = st.sampled_from((220, 250, 251, 354, 421, 450, 451, 452, 500, 502, 530, 535, 550, 552, 554, 334, 235))
STREAM = st.lists(st.one_of(REPLIES.map(lambda code: b"%d text\r\n" % code), st.just(b"junk\r\n")), max_size=30)


@given(STREAM, st.booleans(), st.lists(st.integers(1, 30), min_size=1, max_size=30))
def test_whatever_the_server_says_each_transaction_has_one_outcome_for_everybody(
    stream: list[bytes], pipelining: bool, sizes: list[int]
) -> None:
    conversation = open_session(PIPELINED if pipelining else b"250 hi\r\n")
    begun = ended = 0
    wire = b"".join(stream)
    for index in range(100):
        if not wire or conversation.closed:
            break
        if conversation.ready:
            conversation.begin(THREE)
            begun += 1
        said(conversation)
        size = sizes[index % len(sizes)]
        conversation.receive(wire[:size])
        wire = wire[size:]
        if conversation.outcome is not None:
            assert set(outcome_of(conversation).answers) == set(THREE.recipients)
            ended += 1
    conversation.broken("the end")
    if conversation.outcome is not None:
        assert set(outcome_of(conversation).answers) == set(THREE.recipients)
        ended += 1
    assert begun == ended

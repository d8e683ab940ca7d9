"""``queue``, ``message`` and ``verify-data`` on mail that is really there, on both databases."""

from __future__ import annotations

import io
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from sqlalchemy import delete

from sesrelay.fronts.cli.main import run
from sesrelay.fronts.cli.session import Session
from sesrelay.model.message import Bounce, BounceType, Claim, MessageId, RecipientState
from sesrelay.store import Store
from sesrelay.store import messages as cold
from sesrelay.store.schema import bodies
from tests.fronts.cli.conftest import Cli
from tests.store.samples import an_order, retried, settled

T = TypeVar("T")
ACCOUNT = "111122223333"


def with_store(cli: Cli, story: Callable[[Store], Awaitable[T]]) -> T:
    return Session(str(cli.config)).run(story)


def accept(cli: Cli, *addresses: str, **changes: object) -> MessageId:
    """A message that waits in its lanes."""
    order = an_order(*addresses, judge=None, account_id=ACCOUNT, at=_now(cli), claimed=False, **changes)

    async def story(store: Store) -> MessageId:
        return (await store.accept(order)).message_id

    return with_store(cli, story)


def _now(cli: Cli) -> int:
    return Session(str(cli.config)).clock.now()


def claim_all(cli: Cli, judge: Callable[[Claim], object] | None) -> list[Claim]:
    """Claims what is due and settles it as ``judge`` says; None: the claims are left in hand."""

    async def story(store: Store) -> list[Claim]:
        claims = await store.claim_due(1000)
        if judge is not None:
            await store.settle([judge(claim) for claim in claims])  # type: ignore[misc]
        return claims

    return with_store(cli, story)


def states(cli: Cli, message_id: MessageId) -> list[str]:
    return [each["state"] for each in cli("message", "show", str(message_id), "--json").json["recipients"]]


def test_queued_mail_is_listed_with_what_an_operator_asks_for(both: Cli) -> None:
    message_id = accept(both, "a@one.example", "b@two.example")
    claim_all(both, lambda claim: retried(claim, 600))
    first, second = both("queue", "list", "--json").json
    assert first["message_id"] == str(message_id)
    assert (first["address"], second["address"]) == ("a@one.example", "b@two.example")
    assert (first["state"], first["attempts"], first["smtp_response"]) == ("queued", 1, "451 later")
    assert first["next_attempt_at"] > "2026"
    assert first["age_seconds"] < 60
    table = both("queue", "list").out.splitlines()
    assert table[0].split("  ")[0] == "MESSAGE ID"
    assert "451 later" in table[1]


def test_queued_mail_is_narrowed_down_by_message_domain_account_and_state(both: Cli) -> None:
    one = accept(both, "a@one.example")
    accept(both, "b@two.example", "c@two.example")
    both("account", "create", "--account-id", "444455556666")
    lists = {
        ("--message", str(one)): 1,
        ("--domain", "TWO.example"): 2,
        ("--account", ACCOUNT): 3,
        ("--account", "444455556666"): 0,
        ("--state", "waiting"): 3,
        ("--state", "held"): 0,
        ("--domain", "two.example", "--message", str(one)): 0,
    }
    assert {options: len(both("queue", "list", *options, "--json").json) for options in lists} == lists


def test_retry_makes_mail_due_now(both: Cli) -> None:
    accept(both, "a@one.example", "b@two.example")
    claim_all(both, lambda claim: retried(claim, 3600))
    assert claim_all(both, None) == []
    assert both("queue", "retry", "--domain", "one.example", "--json").json == {"retried": 1, "in_hand": 0}
    (claim,) = claim_all(both, None)
    assert claim.address == "a@one.example"


def test_retry_lets_held_mail_go_on(both: Cli) -> None:
    message_id = accept(both, "a@one.example")
    claim_all(both, lambda claim: retried(claim, 0, held=True))
    assert both("queue", "retry", "--state", "waiting", "--json").json["retried"] == 0
    assert both("queue", "retry", "--all", "--json").json["retried"] == 1
    assert states(both, message_id) == ["queued"]
    (claim,) = claim_all(both, None)
    assert claim.address == "a@one.example"
    assert "released" in both("message", "show", str(message_id)).out


def test_a_bulk_verb_must_be_told_what_it_is_about(made: Cli) -> None:
    for verb in ("retry", "remove", "show"):
        assert "say which" in made.usage("queue", verb)
    assert made("queue", "remove", "--all", "--json").json == {"removed": 0, "in_hand": 0}


def test_removed_mail_is_cancelled_with_its_row_in_the_story_and_the_books_balance(both: Cli) -> None:
    message_id = accept(both, "a@one.example", "b@two.example")
    assert both("queue", "remove", "--domain", "one.example", "--json").json["removed"] == 1
    assert states(both, message_id) == ["cancelled", "queued"]
    story = both("message", "show", str(message_id), "--json").json
    assert [(event["kind"], event["recipient"]) for event in story["events"]] == [
        ("accepted", None),
        ("cancelled", "a@one.example"),
    ]
    (claim,) = claim_all(both, settled)
    assert claim.address == "b@two.example"
    assert both("verify-data").status == 0


def test_more_than_a_page_is_removed_page_by_page(both: Cli) -> None:
    for number in range(26):
        accept(both, *(f"r{each}@d{number % 3}.example" for each in range(50)))
    assert len(both("queue", "list", "--json").json) == 1300
    assert both("queue", "retry", "--all", "--json").json["retried"] == 0
    assert both("queue", "remove", "--all", "--json").json["removed"] == 1300
    assert both("queue", "list", "--json").json == []
    assert both("verify-data").status == 0


def test_what_a_worker_has_in_hand_is_left_alone_and_said(made: Cli) -> None:
    accept(made, "a@one.example")

    async def story(store: Store) -> int:
        await store.claim_due(10)
        # The worker still lives while the operator's command runs.
        import asyncio

        return (await asyncio.to_thread(made, "queue", "remove", "--all", "--json")).json["in_hand"]

    assert with_store(made, story) == 1


def test_queue_show_tells_what_happened_to_each_recipient(both: Cli) -> None:
    message_id = accept(both, "a@one.example")
    claim_all(both, lambda claim: retried(claim, 600))
    (shown,) = both("queue", "show", str(message_id), "--json").json
    assert [event["kind"] for event in shown["events"]] == ["accepted", "attempt"]
    assert "attempt" in both("queue", "show", "--all").out


def test_message_show_has_the_documented_shape(both: Cli) -> None:
    bounce = Bounce(BounceType.PERMANENT, "General", "failed", "5.1.1", "smtp; 550 5.1.1 unknown", "rule")
    message_id = accept(both, "a@one.example")
    claim_all(both, lambda claim: settled(claim, RecipientState.BOUNCED, smtp_response="550 no", bounce=bounce))
    told = both("message", "show", str(message_id), "--json").json
    assert told["message_id"] == str(message_id)
    assert told["source"] == "from@example.com"
    assert told["accepted_at"].endswith("Z")
    assert told["recipients"] == [
        {
            "address": "a@one.example",
            "state": "bounced",
            "held": False,
            "in_doubt": False,
            "attempts": 1,
            "smtp_response": "550 no",
            "bounce_type": "Permanent",
            "bounce_sub_type": "General",
        }
    ]
    assert told["events"][-1]["kind"] == "attempt"
    assert "550 no" in both("message", "show", str(message_id)).out


def test_a_message_id_is_taken_as_it_stands_in_a_mail_too(made: Cli) -> None:
    message_id = accept(made, "a@one.example")
    assert made("message", "show", f"<{message_id}@us-east-1.relay.test>").status == 0
    assert "is not a message id" in made("message", "show", "abc").line
    unknown = str(message_id).replace("0100", "0101", 1)
    assert "there is no message" in made("message", "show", unknown).line
    assert "there is no message" in made("message", "show", str(message_id), "--account", "999999999999").line


def test_message_source_gives_the_bytes(both: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"Subject: \xff\r\n\r\nbody\r\n"
    message_id = accept(both, "a@one.example", content=content, header_length=14)
    stdout = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stdout)
    assert run(["--config", str(both.config), "message", "source", str(message_id)]) == 0
    assert stdout.buffer.getvalue() == content  # type: ignore[attr-defined]


def test_a_body_that_retention_took_is_one_line(made: Cli) -> None:
    message_id = accept(made, "a@one.example")

    async def story(store: Store) -> int:
        return await store.write(lambda tx: tx.change(delete(bodies)))

    assert with_store(made, story) == 1
    assert "not kept any more" in made("message", "source", str(message_id)).line
    result = made("verify-data")
    assert result.status == 1
    assert f"message {message_id}: its body cannot be read" in result.out


def test_messages_are_listed_newest_first_and_by_state(both: Cli) -> None:
    ids = [str(accept(both, f"a@d{number}.example")) for number in range(3)]
    claim_all(both, lambda claim: settled(claim) if claim.domain == "d1.example" else retried(claim, 600))
    assert [each["message_id"] for each in both("message", "list", "--json").json] == ids[::-1]
    assert [each["message_id"] for each in both("message", "list", "--limit", "2", "--json").json] == ids[:0:-1]
    assert [each["message_id"] for each in both("message", "list", "--state", "delivered", "--json").json] == [ids[1]]
    both("account", "create", "--account-id", "444455556666")
    assert both("message", "list", "--account", "444455556666", "--json").json == []
    assert both("message", "list").out.splitlines()[1].startswith("20")


@pytest.mark.parametrize("examined", [1, 3, 100])
def test_a_filter_finds_what_is_far_behind_the_newest(
    made: Cli, monkeypatch: pytest.MonkeyPatch, examined: int
) -> None:
    monkeypatch.setattr(cold, "EXAMINED_AT_ONCE", examined)
    ids = [str(accept(made, f"a@d{number}.example")) for number in range(6)]
    made("queue", "remove", "--domain", "d1.example")
    assert [each["message_id"] for each in made("message", "list", "--state", "cancelled", "--json").json] == [ids[1]]
    assert len(made("message", "list", "--account", ACCOUNT, "--limit", "4", "--json").json) == 4
    assert len(made("message", "list", "--json").json) == 6


def test_every_message_is_listed_although_one_page_has_a_hundred(made: Cli) -> None:
    async def story(store: Store) -> None:
        for number in range(250):
            order = an_order(f"a{number}@d.example", judge=None, account_id=ACCOUNT, claimed=False)
            await store.accept(order)

    with_store(made, story)
    assert len(made("message", "list", "--limit", "0", "--json").json) == 250
    assert len(made("message", "list", "--json").json) == 100


@pytest.mark.parametrize("hostile", ["\x1b[31mred", "line\nfeed", "\x9b1m"])
def test_what_a_sender_wrote_cannot_command_the_terminal(made: Cli, hostile: str) -> None:
    message_id = accept(made, "a@one.example", subject=hostile)
    out = made("message", "show", str(message_id)).out
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert "\nfeed" not in out


@pytest.mark.parametrize("command", ["list", "show", "retry", "remove"])
def test_a_message_that_nobody_knows_is_said(made: Cli, command: str) -> None:
    unknown = "010001a209148dbe-c41641a4-0368-4992-9ffb-207902fd563d-000000"
    result = made("queue", command, "--message", unknown)
    assert result.status == 1
    assert result.line.startswith(f"sesrelay: there is no message {unknown}")

"""After the storm: what was promised is compared with what arrived and with what the relay has written down."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.standins.next_hop import Copy, Mischief, NextHop
from tests.standins.relay import RelayStandIn
from tests.standins.senders import Promises, mark_of

FAST_RETRIES = {"first_minutes": 0.005, "longest_minutes": 0.01}


def eventually(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Returns when the condition holds. AssertionError with ``what`` when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.2)


def settle_down(relay: RelayStandIn, hop: NextHop, seconds: float) -> None:
    """The next hop behaves from now on; returns when the queue is empty and the relay has stopped."""
    hop.mischief = Mischief()
    eventually(lambda: relay.command("queue", "list") == [], seconds, "the queue is empty")
    assert relay.stop() == 0


def copies_by_recipient(copies: list[Copy]) -> Counter[str]:
    """How many copies of its message each recipient got; recipients are named after their message."""
    counted: Counter[str] = Counter()
    for copy in copies:
        mark = mark_of(copy)
        for recipient in copy.recipients:
            assert recipient.startswith(mark), f"{recipient} got the message {mark}"
            counted[recipient] += 1
    return counted


def assert_all_is_well(relay: RelayStandIn, hop: NextHop, promises: Promises) -> None:
    """Every message that got its 250 arrived, the books balance, and each duplicate has its evidence."""
    arrived = copies_by_recipient(hop.copies)
    promised = {recipient for _, recipients in promises.accepted.values() for recipient in recipients}
    lost = promised - arrived.keys()
    assert not lost, f"{len(lost)} of {len(promised)} recipients never got what was promised: {sorted(lost)[:5]}"
    assert not promises.refused, f"refused for good: {promises.refused[:5]}"
    unexpected = {r for r in arrived if r.partition("-")[0] not in promises.accepted.keys() | promises.unknown}
    assert not unexpected, f"refused, and sent all the same: {sorted(unexpected)[:5]}"
    # In one process: a command costs a second of start-up. It fails when the books do not balance.
    _, listed = relay.commands([["verify-data"], ["message", "list", "--limit", "0"]])
    _assert_evidence_of_duplicates(relay, arrived, listed)


def _assert_evidence_of_duplicates(relay: RelayStandIn, arrived: Counter[str], listed: list[dict[str, Any]]) -> None:
    doubled = {recipient for recipient, copies in arrived.items() if copies > 1}
    delivered = {each["address"] for message in listed for each in message["recipients"]}
    assert delivered >= doubled
    ids = [m["message_id"] for m in listed if doubled & {each["address"] for each in m["recipients"]}]
    for message in relay.commands(["message", "show", message_id] for message_id in ids):
        for recipient in message["recipients"]:
            explained = attempts_that_may_have_arrived(message, recipient)
            copies = arrived[recipient["address"]]
            assert copies <= explained, f"{copies} copies, {explained} attempts that may have arrived: {message}"


def attempts_that_may_have_arrived(message: dict[str, Any], recipient: dict[str, Any]) -> int:
    """Of one recipient: those acknowledged, those in doubt, and those that were begun and never settled."""
    rows = [
        event["detail"]
        for event in message["events"]
        if event["kind"] == "attempt" and event["recipient"] == recipient["address"]
    ]
    settled = {row["attempt"] for row in rows}
    may_have = {row["attempt"] for row in rows if row.get("in_doubt") or str(row.get("reply", "")).startswith("250")}
    return len(may_have) + recipient["attempts"] - len(settled)

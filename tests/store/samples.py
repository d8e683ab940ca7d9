"""Accounts and messages for tests of the store."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

from sqlalchemy import insert

from sesrelay.model.account import AccountFacts, LimitState
from sesrelay.model.clock import SECOND, Micros
from sesrelay.model.message import (
    Claim,
    MessageId,
    NewMessage,
    NewRecipient,
    Origin,
    RecipientState,
    Settlement,
    Verdict,
)
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.store import AcceptOrder
from sesrelay.store.schema import access_keys, account_regions, accounts, identities
from sesrelay.store.transaction import Transaction
from tests.clock import START

ACCOUNT = "123456789012"
OTHER = "210987654321"
REGION = "us-east-1"
KEY = "AKIAAAAAAAAAAAAAAAAA"

_unique = itertools.count((os.getpid() << 64) + 1)


def open_account(tx: Transaction, account_id: str = ACCOUNT, region: str = REGION, quota: int = -1) -> None:
    """An account in production, with one key and two identities."""
    tx.change(insert(accounts).values(account_id=account_id, email="o@example.com", created_at=tx.now))
    tx.change(
        insert(account_regions).values(
            account_id=account_id, region=region, opened=1, production=1, quota=quota, rate=5.0, created_at=tx.now
        )
    )
    key = {"account_id": account_id, "user_name": "u", "status": "Active", "master_key_id": "m", "nonce": b"n"}
    tx.change(insert(access_keys).values(access_key_id=f"AKIA{account_id}0000", secret=b"s", **key))
    for name, kind in (("example.com", "Domain"), ("a@example.net", "EmailAddress")):
        row = {"account_id": account_id, "region": region, "name": name, "type": kind, "status": "Success"}
        tx.change(insert(identities).values(row))


def count_quota(units: int):
    """A judge that knows the quota only."""

    def judge(facts: AccountFacts, state: LimitState, now: Micros) -> LimitState:
        used = state.used_24_hours + units
        if 0 <= facts.quota < used:
            raise Refused(Refusal.QUOTA_EXCEEDED)
        return LimitState(state.tokens - units, now, used)

    return judge


def a_message(
    *addresses: str,
    at: Micros = START,
    account_id: str = ACCOUNT,
    region: str = REGION,
    claimed: bool = True,
    captured: bool = False,
    content: bytes = b"Subject: hi\r\n\r\nbody\r\n",
    **changes: object,
) -> NewMessage:
    """A message to these addresses (one, if none are named)."""
    recipients = tuple(
        NewRecipient(number, address, address.rpartition("@")[2], claimed and not captured, captured)
        for number, address in enumerate(addresses or ("to@example.org",))
    )
    message = NewMessage(
        message_id=MessageId.make(0, at, next(_unique).to_bytes(16, "big")),
        account_id=account_id,
        region=region,
        origin=Origin.CLIENT,
        access_key_id=KEY,
        mail_from="from@example.com",
        header_from="from@example.com",
        subject="hi",
        accepted_at=at,
        content=content,
        header_length=15,
        eight_bit=False,
        hops=0,
        body_hash=bytes(32),
        tags="",
        recipients=recipients,
    )
    return message._replace(**changes)


def an_order(*addresses: str, judge: object = ..., units: int | None = None, **changes: object) -> AcceptOrder:
    """An order for a message; changes go to the order or to the message, by name."""
    of_order = {
        name: changes.pop(name) for name in ("invocation_id", "request_hash", "consumes_outbox") if name in changes
    }
    message = a_message(*addresses, **changes)  # type: ignore[arg-type]
    quota_units = len(message.recipients) if units is None else units
    chosen = count_quota(quota_units) if judge is ... else judge
    return AcceptOrder(message, chosen, quota_units, **of_order)  # type: ignore[arg-type]


def settled(claim: Claim, state: RecipientState = RecipientState.DELIVERED, **changes: object) -> Settlement:
    """A claim with a verdict."""
    verdict = Verdict(state, "250 2.0.0 ok", '{"stage": "DATA"}')
    return Settlement(claim, replace(verdict, **changes))  # type: ignore[arg-type]


def retried(claim: Claim, after_seconds: int = 300, **changes: object) -> Settlement:
    """A claim whose attempt failed for now."""
    due = claim.accepted_at + after_seconds * SECOND
    return settled(claim, RecipientState.QUEUED, smtp_response="451 later", next_attempt_at=due, **changes)

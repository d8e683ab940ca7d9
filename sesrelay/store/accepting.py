"""Taking responsibility for messages, a batch at a time: gather, judge in the order of arrival, apply.

The account's rows are locked before anything is judged, and the judge sees the running count of everything taken
before: limits hold exactly, over all processes (LIM-5). A refused order leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from sesrelay.model.account import AccountFacts, LimitState
from sesrelay.model.clock import DAY, MINUTE, Micros, not_back
from sesrelay.model.message import BodyLocation, Claim, MessageId, NewMessage, RecipientState
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.store.effects import ACCEPTED, CAPTURED, SENT, Effects
from sesrelay.store.facts import Key
from sesrelay.store.hot import Hot, Row
from sesrelay.store.schema import ORIGIN_CODES, STATE_CODES

Judge = Callable[[AccountFacts, LimitState, Micros], LimitState]
"""The rules' word on one message: the account's limits after it, or Refused."""

WINDOW_MINUTES: Final = DAY // MINUTE
KEPT: Final = "captured"
"""Kind of the history row of a recipient whose copy is kept here since its acceptance."""
PACED: Final = "paced"
"""Kind of the history row of a recipient that waits because its account's mail is sent at its rate."""
_QUEUED_CODE: Final = STATE_CODES[RecipientState.QUEUED]
_CAPTURED_CODE: Final = STATE_CODES[RecipientState.CAPTURED]


class AcceptOrder(NamedTuple):
    """A message that shall be accepted if the judge says yes."""

    message: NewMessage
    judge: Judge | None
    """None: the relay's own mail, which touches no limits."""
    quota_units: int
    """Recipients that count against the quota."""
    invocation_id: str = ""
    """With the access key: accepted once only (BEY-5)."""
    request_hash: bytes = b""
    consumes_outbox: int = 0
    """This outbox row is deleted in the same transaction; is it gone already: ALREADY_DONE."""


class Accepted(NamedTuple):
    """The message is durable. ``claims``: of the recipients that were claimed for this process."""

    message_id: MessageId
    claims: tuple[Claim, ...]
    replayed: bool = False
    """It had been accepted before, under the same invocation id; this is the id of then."""
    paced: bool = False
    """Some recipients wait in their lanes although they could have been claimed."""


class Placed(NamedTuple):
    """An order whose body is durable already, or goes into the database with it."""

    order: AcceptOrder
    location: BodyLocation
    chunks: tuple[bytes, ...]
    """The content, for the table of bodies; none when it lies in a file or is there already."""


Answer = Accepted | Refused


class _Account:
    """The running state of one (account, region) in a batch."""

    __slots__ = ("facts", "now", "state", "taken", "units", "used_minute")

    def __init__(self, facts: AccountFacts, state: LimitState, now: Micros, used_minute: int) -> None:
        self.facts = facts
        self.state = state
        self.now = now
        self.used_minute = used_minute
        self.units = 0
        self.taken = False


def accept_many(
    hot: Hot,
    batch: Sequence[Placed],
    facts: Callable[[Key, int], AccountFacts | None],
    claimed_by: int | None,
    effects: Effects,
) -> list[Answer]:
    """Accepts what may be; the answers in the order of the batch.

    ``facts(key, version)``: the facts of exactly that version, None when there are none. ``claimed_by``: our number;
    None: nothing is claimed, all is left in the lanes.
    """
    accounts = _gather_accounts(hot, batch, facts, effects.now)
    invocations = _gather_invocations(hot, batch)
    outbox = _gather_outbox(hot, batch)
    due: dict[bytes, tuple[Micros, ...]] = {}
    answers = [_judge(placed, accounts, invocations, outbox, due) for placed in batch]
    if due:
        batch = [_paced(placed, due.get(placed.order.message.message_id), effects.now) for placed in batch]
    taken = sorted(
        (placed for placed, answer in zip(batch, answers, strict=True) if answer is None),
        key=lambda placed: placed.order.message.message_id,
    )
    if taken:
        _apply(hot, taken, claimed_by, effects)
        _apply_limits(hot, accounts)
    return [
        _accepted(placed, claimed_by is not None, placed.order.message.message_id in due) if answer is None else answer
        for placed, answer in zip(batch, answers, strict=True)
    ]


def _paced(placed: Placed, due: tuple[Micros, ...] | None, now: Micros) -> Placed:
    """Recipients whose time has not come wait in their lanes, whoever could have taken them."""
    if due is None:
        return placed
    recipients = tuple(
        one if at <= now or one.captured else one._replace(claimed=False, due_at=at)
        for one, at in zip(placed.order.message.recipients, due, strict=True)
    )
    message = placed.order.message._replace(recipients=recipients)
    return placed._replace(order=placed.order._replace(message=message))


def _gather_accounts(
    hot: Hot, batch: Iterable[Placed], facts: Callable[[Key, int], AccountFacts | None], now: Micros
) -> dict[Key, _Account]:
    keys = {(p.order.message.account_id, p.order.message.region) for p in batch if p.order.judge is not None}
    accounts: dict[Key, _Account] = {}
    if not keys:
        return accounts
    old: list[Key] = []
    ahead: list[Key] = []
    for account_id, region, opened, version, tokens, token_at, used, used_minute in hot.lock_limits(sorted(keys)):
        key = (account_id, region)
        known = facts(key, version) if opened else None
        if known is None:
            continue
        at = not_back(now, token_at)
        minute = not_back(at, used_minute * MINUTE) // MINUTE
        if minute != used_minute:
            old.append(key)
        if minute < used_minute:
            ahead.append(key)
        accounts[key] = _Account(known, LimitState(tokens, token_at, used), at, minute)
    if ahead:
        _bring_back(hot, accounts, ahead)
    if old:
        _roll_window(hot, accounts, old)
    return accounts


def _bring_back(hot: Hot, accounts: dict[Key, _Account], ahead: list[Key]) -> None:
    """The clock was far ahead: what was sent in those minutes was sent just now, or it would count until they come."""
    minute = min(accounts[key].used_minute for key in ahead)
    moved: dict[Key, int] = {}
    for account_id, region, recipients in hot.take_minutes_after(ahead, minute):
        moved[account_id, region] = moved.get((account_id, region), 0) + recipients
    hot.add_minutes([(*key, accounts[key].used_minute, moved[key]) for key in sorted(moved)])


def _roll_window(hot: Hot, accounts: dict[Key, _Account], old: list[Key]) -> None:
    """A new minute: counts again what was sent in the last 24 hours. The minute that is half out still counts."""
    minute = min(accounts[key].used_minute for key in old)
    sums = {(account, region): int(sent) for account, region, sent in hot.sum_minutes(old, minute - WINDOW_MINUTES)}
    for key in old:
        state = accounts[key].state
        accounts[key].state = LimitState(state.tokens, state.token_at, sums.get(key, 0))


def _gather_invocations(hot: Hot, batch: Iterable[Placed]) -> dict[Key, tuple[bytes, bytes]]:
    """(access key, invocation id) -> (request hash, message id) of what was accepted before."""
    keys = {(p.order.message.access_key_id, p.order.invocation_id) for p in batch if p.order.invocation_id}
    if not keys:
        return {}
    found = hot.find_invocations(sorted(keys))
    return {(key, invocation): (bytes(digest), bytes(message)) for key, invocation, digest, message in found}


def _gather_outbox(hot: Hot, batch: Iterable[Placed]) -> set[int]:
    """The outbox rows that mails of this batch are made of; from here on they are deleted."""
    ids = {p.order.consumes_outbox for p in batch if p.order.consumes_outbox}
    return hot.take_outbox([(number,) for number in sorted(ids)]) if ids else set()


def _judge(
    placed: Placed,
    accounts: dict[Key, _Account],
    invocations: dict[Key, tuple[bytes, bytes]],
    outbox: set[int],
    due: dict[bytes, tuple[Micros, ...]],
) -> Answer | None:
    """None: take it. Whatever is taken counts for those that follow. ``due`` learns when paced recipients are sent."""
    order, message = placed.order, placed.order.message
    invocation = (message.access_key_id, order.invocation_id)
    if order.invocation_id and invocation in invocations:
        digest, message_id = invocations[invocation]
        if digest != order.request_hash:
            return Refused(Refusal.INVOCATION_REUSED)
        return Accepted(MessageId(message_id), (), replayed=True)
    if order.consumes_outbox and order.consumes_outbox not in outbox:
        return Refused(Refusal.ALREADY_DONE)
    if order.judge is not None:
        account = accounts.get((message.account_id, message.region))
        if account is None:
            return Refused(Refusal.NOT_SUBSCRIBED)
        try:
            account.state = order.judge(account.facts, account.state, account.now)
        except Refused as refusal:
            return refusal
        if account.state.due:
            due[message.message_id] = account.state.due
        account.units += order.quota_units
        account.taken = True
    if order.invocation_id:
        invocations[invocation] = (order.request_hash, message.message_id)
    outbox.discard(order.consumes_outbox)
    return None


def _apply(hot: Hot, taken: Sequence[Placed], claimed_by: int | None, effects: Effects) -> None:
    bodies: list[Row] = []
    messages: list[Row] = []
    recipients: list[Row] = []
    invocations: list[Row] = []
    for placed in taken:
        order, message = placed.order, placed.order.message
        bodies += [(message.message_id, number, chunk) for number, chunk in enumerate(placed.chunks)]
        messages.append(_message_row(message, placed.location))
        recipients += _recipient_rows(message, claimed_by, effects)
        counters = effects.counters(message.account_id, message.region)
        counters[ACCEPTED] += len(message.recipients)
        counters[SENT] += order.quota_units
        if order.invocation_id:
            invocations.append(
                (message.access_key_id, order.invocation_id, order.request_hash, message.message_id, effects.now)
            )
    hot.insert_bodies(bodies)
    hot.insert_messages(messages)
    hot.insert_recipients(recipients)
    hot.insert_invocations(sorted(invocations))


def _message_row(message: NewMessage, location: BodyLocation) -> Row:
    return (
        message.message_id,
        message.account_id,
        message.region,
        ORIGIN_CODES[message.origin],
        message.access_key_id,
        message.mail_from,
        storable(message.header_from),
        storable(message.subject),
        message.accepted_at,
        len(message.recipients),
        location.segment,
        location.offset,
        location.length,
        location.crc32,
        message.header_length,
        1 if message.eight_bit else 0,
        message.hops,
        message.body_hash,
        message.tags,
    )


def _recipient_rows(message: NewMessage, claimed_by: int | None, effects: Effects) -> list[Row]:
    message_id, account_id, at = message.message_id, message.account_id, message.accepted_at
    rows: list[Row] = []
    for one in message.recipients:
        number, address, domain = one.number, one.address, one.domain
        if one.captured:
            rows.append((message_id, number, account_id, address, domain, _CAPTURED_CODE, 0, None, 0, 1, at))
            effects.history.append((message_id, number, 1, at, KEPT, "{}"))
            effects.counters(account_id, message.region)[CAPTURED] += 1
        elif one.claimed and claimed_by is not None:
            rows.append((message_id, number, account_id, address, domain, _QUEUED_CODE, 1, claimed_by, at, 0, at))
        elif one.due_at:
            due_at = one.due_at
            rows.append((message_id, number, account_id, address, domain, _QUEUED_CODE, 0, None, due_at, 1, at))
            effects.history.append((message_id, number, 1, at, PACED, f'{{"next_attempt_at": {due_at}}}'))
            effects.wait_in_lane(domain, account_id, due_at)
        else:
            rows.append((message_id, number, account_id, address, domain, _QUEUED_CODE, 0, None, at, 0, at))
            effects.wait_in_lane(domain, account_id, at)
    return rows


def _apply_limits(hot: Hot, accounts: dict[Key, _Account]) -> None:
    changed = sorted((key, account) for key, account in accounts.items() if account.taken)
    hot.add_minutes([(*key, account.used_minute, account.units) for key, account in changed if account.units])
    hot.store_limits(
        [
            (*key, account.state.tokens, account.state.token_at, account.state.used_24_hours, account.used_minute)
            for key, account in changed
        ]
    )


def _accepted(placed: Placed, claimed: bool, paced: bool) -> Accepted:
    message = placed.order.message
    if not claimed:
        return Accepted(message.message_id, ())
    return Accepted(
        message.message_id,
        tuple(
            Claim(
                message.message_id,
                recipient.number,
                recipient.address,
                recipient.domain,
                message.account_id,
                message.region,
                message.origin,
                message.mail_from,
                message.header_from,
                message.accepted_at,
                1,
                False,
                message.eight_bit,
                message.hops,
                message.header_length,
                placed.location,
            )
            for recipient in message.recipients
            if recipient.claimed
        ),
        paced=paced,
    )


def storable(text: str) -> str:
    """Text from a message as both databases can hold it: no NUL, nothing that UTF-8 cannot say."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")

"""What an account may send: asked for, granted, denied, set, and taken back; each change is written down and told.

Whoever owns the account hears of it by mail, through an outbox row of the same transaction. An account whose notices
go to the operator is not told of what the operator did by hand, only of answers to its requests.
"""

from __future__ import annotations

import json
from typing import Final

from sesrelay.model.account import AccountStanding
from sesrelay.model.failure import Failed, Failure
from sesrelay.model.limits import (
    Allowance,
    ChangeKind,
    LimitChange,
    LimitRequest,
    RequestStatus,
    Tidings,
    Wish,
)
from sesrelay.rules import limit_requests as rule
from sesrelay.store import accounts, limits, outbox
from sesrelay.store.transaction import Transaction

OWNER_MAIL: Final = "owner-mail"
"""Kind of the outbox rows for mails to an account's own address about its limits."""
_LARGEST: Final = 2**63 - 1
"""What databases take for a number."""
_TOLD: Final = {
    ChangeKind.SET: Tidings.CHANGED,
    ChangeKind.PRODUCTION: Tidings.CHANGED,
    ChangeKind.GRANT: Tidings.GRANTED,
    ChangeKind.UNDO: Tidings.UNDONE,
}


def request(tx: Transaction, account_id: str, region: str, wish: Wish, *, operator: str) -> LimitRequest:
    """Asks for production access or higher limits. Failed: not that way, closed, or a request is open already.

    The owner is told that it waits, and so is the ``operator``, by his own address.
    """
    rule.check_wish(wish)
    now = locked_open(tx, account_id, region)
    waiting = limits.open_request(tx, account_id, region)
    if waiting:
        text = f"request {waiting.request_id} of account {account_id} in {region} is not answered yet"
        raise Failed(Failure.CONFLICT, text)
    made = _request(tx, limits.insert_request(tx, account_id, region, wish))
    facts = {
        "before": allowance(now),
        "after": rule.granted(allowance(now), wish, None, None),
        "request_id": made.request_id,
        "reason": wish.use_case,
    }
    _tell(tx, account_id, region, now.email, Tidings.RECEIVED, **facts)
    if now.email != operator:
        _tell(tx, account_id, region, operator, Tidings.WAITING, **facts)
    return made


def page(
    tx: Transaction, after: int | None, account_id: str | None, region: str | None, status: RequestStatus | None
) -> tuple[list[LimitRequest], int | None]:
    """A page of requests; and what to give as ``after`` next (None: no more)."""
    found = limits.requests(tx, after or 0, account_id, region, status)
    return found, found[-1].request_id if len(found) == limits.PAGE else None


def show_request(tx: Transaction, request_id: int) -> LimitRequest:
    """One request. Failed: there is none such."""
    return _request(tx, request_id)


def grant(tx: Transaction, request_id: int, quota: int | None, rate: float | None) -> LimitRequest:
    """Gives what was asked for, or ``quota`` and ``rate`` instead, and production access.

    A request that was denied may be granted after all. Failed: no such request, or it is granted already.
    """
    rule.check_limits(quota, rate)
    asked, now = _asked(tx, request_id)
    if asked.status is RequestStatus.GRANTED:
        raise Failed(Failure.CONFLICT, f"request {request_id} is granted already")
    after = rule.granted(allowance(now), asked.wish, quota, rate)
    change(tx, now, ChangeKind.GRANT, after, request_id=request_id)
    limits.answer_request(tx, request_id, RequestStatus.GRANTED)
    return _request(tx, request_id)


def deny(tx: Transaction, request_id: int, reason: str) -> LimitRequest:
    """Says no, and why. Failed: no such request, or it has its answer."""
    rule.check_text("reason", reason)
    asked, now = _asked(tx, request_id)
    if asked.status is not RequestStatus.OPEN:
        raise Failed(Failure.CONFLICT, f"request {request_id} has its answer: {asked.status.value}")
    limits.answer_request(tx, request_id, RequestStatus.DENIED, reason)
    _tell(tx, now.account_id, now.region, now.email, Tidings.DENIED, request_id=request_id, reason=reason)
    return _request(tx, request_id)


def set_limits(
    tx: Transaction, account_id: str, region: str, quota: int | None, rate: float | None, *, operator: str = ""
) -> None:
    """Recipients in 24 hours and a second; -1: unlimited; None: as it is. Failed: outside.

    ``operator``: the operator's own address, who need not be told what he does.
    """
    rule.check_limits(quota, rate)
    now = locked(tx, account_id, region)
    after = Allowance(now.production, now.quota if quota is None else quota, now.rate if rate is None else rate)
    change(tx, now, ChangeKind.SET, after, operator=operator)


def set_production(tx: Transaction, account_id: str, region: str, production: bool, *, operator: str = "") -> None:
    """Out of the sandbox, with at least the limits that production starts at; or back, with the sandbox's (LIM-1)."""
    now = locked(tx, account_id, region)
    if now.production != production:
        after = rule.in_production(allowance(now)) if production else rule.SANDBOX
        change(tx, now, ChangeKind.PRODUCTION, after, operator=operator)


def undo(tx: Transaction, account_id: str, region: str, *, operator: str = "") -> LimitChange:
    """Takes the last change back, which is a change too: undone again, it stands as before.

    A request that was granted by it may be granted anew. Failed: nothing was changed yet.
    """
    now = locked(tx, account_id, region)
    last = limits.last_change(tx, account_id, region)
    if last is None:
        raise Failed(Failure.UNKNOWN, f"the limits of account {account_id} in {region} were never changed")
    if last.request_id:
        again = last.kind is ChangeKind.UNDO and _request(tx, last.request_id).status is RequestStatus.UNDONE
        limits.answer_request(tx, last.request_id, RequestStatus.GRANTED if again else RequestStatus.UNDONE)
    change(
        tx,
        now,
        ChangeKind.UNDO,
        last.before,
        request_id=last.request_id,
        undoes=last.change_id,
        operator="" if last.request_id else operator,
    )
    return _last(tx, account_id, region)


def history(tx: Transaction, after: int | None, account_id: str, region: str) -> tuple[list[LimitChange], int | None]:
    """A page of what was changed, the oldest first; and what to give as ``after`` next (None: no more)."""
    found = limits.changes(tx, account_id, region, after or 0)
    return found, found[-1].change_id if len(found) == limits.PAGE else None


def tell_new_address(tx: Transaction, account_id: str, region: str, to: str, address: str) -> None:
    """``to`` was the account's address so far: if somebody else changed it the owner shall know."""
    _tell(tx, account_id, region, to, Tidings.ADDRESS, address=address)


def allowance(now: AccountStanding) -> Allowance:
    """What of an account's standing is its allowance."""
    return Allowance(now.production, now.quota, now.rate)


def locked(tx: Transaction, account_id: str, region: str) -> AccountStanding:
    """The account as it is until the transaction ends."""
    if not accounts.lock_account(tx, account_id):
        raise Failed(Failure.UNKNOWN, f"there is no account {account_id}")
    found = accounts.standing(tx, account_id, region)
    if found is None:
        text = f"account {account_id} has not opened region {region} (account open --region {region})"
        raise Failed(Failure.UNKNOWN, text)
    return found


def locked_open(tx: Transaction, account_id: str, region: str) -> AccountStanding:
    """The same, of an account for which something may be begun. Failed: it is closed, too."""
    now = locked(tx, account_id, region)
    if now.closed:
        text = f"account {account_id} is closed (account open --account {account_id} --region {region})"
        raise Failed(Failure.CONFLICT, text)
    return now


def _asked(tx: Transaction, request_id: int) -> tuple[LimitRequest, AccountStanding]:
    """A request and who asks, as they are until the transaction ends."""
    asked = _request(tx, request_id)
    now = locked(tx, asked.account_id, asked.region)
    return _request(tx, request_id), now


def _request(tx: Transaction, request_id: int) -> LimitRequest:
    found = limits.find_request(tx, request_id) if abs(request_id) <= _LARGEST else None
    if found is None:
        raise Failed(Failure.UNKNOWN, f"there is no request {request_id}")
    return found


def _last(tx: Transaction, account_id: str, region: str) -> LimitChange:
    made = limits.last_change(tx, account_id, region)
    assert made is not None, "it was just written"
    return made


def change(
    tx: Transaction,
    now: AccountStanding,
    kind: ChangeKind,
    after: Allowance,
    *,
    request_id: int = 0,
    undoes: int = 0,
    operator: str = "",
    tidings: Tidings | None = None,
    reason: str = "",
) -> None:
    """Sets it, writes it down, and has the owner told: ``tidings``, or what the kind of change says."""
    before = allowance(now)
    if before == after and not request_id:
        return
    values = {"production": int(after.production), "quota": after.quota, "rate": after.rate}
    accounts.change_region(tx, now.account_id, now.region, **values)
    limits.insert_change(
        tx, now.account_id, now.region, kind, before=before, after=after, request_id=request_id, undoes=undoes
    )
    if now.email != operator:
        facts = {"before": before, "after": after, "request_id": request_id, "reason": reason}
        _tell(tx, now.account_id, now.region, now.email, tidings or _TOLD[kind], **facts)


def _tell(tx: Transaction, account_id: str, region: str, to: str, tidings: Tidings, **facts: object) -> None:
    payload = {"to": to, "tidings": tidings.value, **facts}
    outbox.add(tx, OWNER_MAIL, account_id, region, json.dumps(payload))

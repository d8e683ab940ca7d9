"""Requests for higher limits, and every change of what an account may send in a region."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row, func, insert, select, update

from sesrelay.model.clock import MINUTE, Micros
from sesrelay.model.limits import Allowance, ChangeKind, LimitChange, LimitRequest, MessageType, RequestStatus, Wish
from sesrelay.store.schema import limit_changes, limit_requests, statistics
from sesrelay.store.transaction import Transaction

PAGE: Final = 100
_BETWEEN: Final = ","
"""Message types in their column."""
_QUARTER: Final = 15 * MINUTE


def insert_request(tx: Transaction, account_id: str, region: str, wish: Wish) -> int:
    """A new open request; its number."""
    statement = insert(limit_requests).values(
        account_id=account_id,
        region=region,
        status=RequestStatus.OPEN.value,
        website=wish.website,
        opt_in_url=wish.opt_in_url,
        opt_out_url=wish.opt_out_url,
        privacy_url=wish.privacy_url,
        message_type=_BETWEEN.join(wish.message_types),
        quota=wish.quota,
        rate=wish.rate,
        use_case=wish.use_case,
        created_at=tx.now,
    )
    return int(tx.execute(statement.returning(limit_requests.c.request_id))[0][0])


def find_request(tx: Transaction, request_id: int) -> LimitRequest | None:
    """A request by its number."""
    found = tx.execute(select(limit_requests).where(limit_requests.c.request_id == request_id))
    return _request(found[0]) if found else None


def open_request(tx: Transaction, account_id: str, region: str) -> LimitRequest | None:
    """The request of an account that nobody has answered yet."""
    row = limit_requests.c
    found = tx.execute(
        select(limit_requests).where(
            row.account_id == account_id, row.region == region, row.status == RequestStatus.OPEN.value
        )
    )
    return _request(found[0]) if found else None


def requests(
    tx: Transaction, after: int, account_id: str | None, region: str | None, status: RequestStatus | None
) -> list[LimitRequest]:
    """A page of requests, the oldest first, behind ``after``."""
    row = limit_requests.c
    statement = select(limit_requests).where(row.request_id > after)
    for column, value in ((row.account_id, account_id), (row.region, region), (row.status, status)):
        if value is not None:
            statement = statement.where(column == str(value))
    return [_request(found) for found in tx.execute(statement.order_by(row.request_id).limit(PAGE))]


def answer_request(tx: Transaction, request_id: int, status: RequestStatus, reason: str = "") -> None:
    """What became of a request."""
    values = {"status": status.value, "answered_at": tx.now, "reason": reason}
    tx.change(update(limit_requests).where(limit_requests.c.request_id == request_id).values(**values))


def insert_change(
    tx: Transaction,
    account_id: str,
    region: str,
    kind: ChangeKind,
    *,
    before: Allowance,
    after: Allowance,
    request_id: int,
    undoes: int,
) -> None:
    """An allowance became another just now."""
    tx.change(
        insert(limit_changes).values(
            account_id=account_id,
            region=region,
            at=tx.now,
            kind=kind.value,
            production_before=int(before.production),
            quota_before=before.quota,
            rate_before=before.rate,
            production_after=int(after.production),
            quota_after=after.quota,
            rate_after=after.rate,
            request_id=request_id,
            undoes=undoes,
        )
    )


def changes(tx: Transaction, account_id: str, region: str, after: int = 0) -> list[LimitChange]:
    """A page of an account's changes in a region, the oldest first, behind ``after``."""
    row = limit_changes.c
    statement = select(limit_changes).where(row.account_id == account_id, row.region == region, row.change_id > after)
    return [_change(found) for found in tx.execute(statement.order_by(row.change_id).limit(PAGE))]


def last_change(tx: Transaction, account_id: str, region: str) -> LimitChange | None:
    """The latest change of an account in a region."""
    row = limit_changes.c
    statement = select(limit_changes).where(row.account_id == account_id, row.region == region)
    found = tx.execute(statement.order_by(row.change_id.desc()).limit(1))
    return _change(found[0]) if found else None


def sent_since(tx: Transaction, account_id: str, region: str, since: Micros) -> tuple[int, int, int]:
    """Recipients that count since then: all, those that bounced for good, those that complained."""
    row = statistics.c
    sums = [func.coalesce(func.sum(column), 0) for column in (row.sent, row.hard_bounces, row.complaints)]
    found = tx.execute(
        select(*sums).where(row.account_id == account_id, row.region == region, row.quarter >= since // _QUARTER)
    )
    sent, bounced, complained = map(int, found[0])
    return sent, bounced, complained


def _request(row: Row[Any]) -> LimitRequest:
    wish = Wish(
        website=row.website,
        message_types=tuple(map(MessageType, row.message_type.split(_BETWEEN))),
        use_case=row.use_case,
        quota=row.quota,
        rate=row.rate,
        opt_in_url=row.opt_in_url,
        opt_out_url=row.opt_out_url,
        privacy_url=row.privacy_url,
    )
    return LimitRequest(
        request_id=row.request_id,
        account_id=row.account_id,
        region=row.region,
        status=RequestStatus(row.status),
        wish=wish,
        created_at=row.created_at,
        answered_at=row.answered_at,
        reason=row.reason,
    )


def _change(row: Row[Any]) -> LimitChange:
    return LimitChange(
        change_id=row.change_id,
        account_id=row.account_id,
        region=row.region,
        at=row.at,
        kind=ChangeKind(row.kind),
        before=Allowance(bool(row.production_before), row.quota_before, row.rate_before),
        after=Allowance(bool(row.production_after), row.quota_after, row.rate_after),
        request_id=row.request_id,
        undoes=row.undoes,
    )

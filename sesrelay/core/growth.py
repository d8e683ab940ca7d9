"""Limits that follow how an account sends (LIM-6): who is due for a step, and the step, written down and told as any
other change.
"""

from __future__ import annotations

from typing import Final

from sesrelay.core.limits import allowance, change, locked
from sesrelay.model.account import AccountStanding
from sesrelay.model.limits import Allowance, ChangeKind, Tidings
from sesrelay.rules import growth as rule
from sesrelay.store import accounts, limits
from sesrelay.store.transaction import Transaction

PAGE: Final = 50


def page(tx: Transaction, after: str) -> tuple[list[tuple[str, str]], str | None]:
    """Accounts and regions of a page that are due for a step; and what to give as ``after`` next (None: no more)."""
    ids = accounts.account_ids(tx, after, limit=PAGE)
    everywhere = [now for account_id in ids for now in accounts.standings(tx, account_id)]
    due = [(now.account_id, now.region) for now in everywhere if _step(tx, now, _conduct(tx, now))]
    return due, ids[-1] if len(ids) == PAGE else None


def take_step(tx: Transaction, account_id: str, region: str) -> Allowance | None:
    """What the account may send from now on; None: somebody was faster, or it is not due."""
    now = locked(tx, account_id, region)
    conduct = _conduct(tx, now)
    after = _step(tx, now, conduct)
    if after is not None:
        tidings = Tidings.LOWERED if rule.is_bad(conduct) else Tidings.RAISED
        change(tx, now, ChangeKind.GROWTH, after, tidings=tidings, reason=_figures(conduct))
    return after


def _step(tx: Transaction, now: AccountStanding, conduct: rule.Conduct) -> Allowance | None:
    if now.closed or now.suspended or not now.opened:
        return None
    return rule.step(allowance(now), conduct, tx.now)


def _conduct(tx: Transaction, now: AccountStanding) -> rule.Conduct:
    last = limits.last_change(tx, now.account_id, now.region)
    sent, bounced, complained = limits.sent_since(tx, now.account_id, now.region, tx.now - rule.WINDOW)
    return rule.Conduct(
        used_24_hours=now.used_24_hours,
        sent=sent,
        hard_bounces=bounced,
        complaints=complained,
        changed_at=last.at if last else 0,
        by_hand=last is not None and last.kind is not ChangeKind.GROWTH,
    )


def _figures(conduct: rule.Conduct) -> str:
    return (
        f"In the last 7 days you wrote to {conduct.sent:,} recipients; {conduct.hard_bounces:,} bounced for good "
        f"({conduct.hard_bounces / conduct.sent:.1%}), {conduct.complaints:,} complained "
        f"({conduct.complaints / conduct.sent:.2%})."
    )

"""The memory's shape: every table of schema v1, its keys and its partial indexes, for both databases.

Times are integers, microseconds since 1970 UTC; yes and no are 0 and 1; states and origins are the small numbers of
``STATE_CODES`` and ``ORIGIN_CODES``. SQL never asks the database for the time. The migrations build what stands here;
a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

from sesrelay.model.message import Origin, RecipientState

STATE_CODES: Final[Mapping[RecipientState, int]] = {
    RecipientState.QUEUED: 0,
    RecipientState.CAPTURED: 1,
    RecipientState.DELIVERED: 2,
    RecipientState.BOUNCED: 3,
    RecipientState.SUPPRESSED: 4,
    RecipientState.REJECTED: 5,
    RecipientState.EXPIRED: 6,
    RecipientState.CANCELLED: 7,
}
STATES: Final[Mapping[int, RecipientState]] = {code: state for state, code in STATE_CODES.items()}

ORIGIN_CODES: Final[Mapping[Origin, int]] = {Origin.CLIENT: 0, Origin.RELAY: 1, Origin.SIMULATOR: 2}
ORIGINS: Final[Mapping[int, Origin]] = {code: origin for origin, code in ORIGIN_CODES.items()}

metadata = MetaData()

# SQLite knows 64-bit integers under one name only, and gives out row numbers only for INTEGER.
_Number = BigInteger().with_variant(Integer(), "sqlite")
_ZERO = text("0")
_EMPTY = text("''")


def _key_text(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True, nullable=False)


def _words(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=_EMPTY)


def _number(name: str) -> Column[int]:
    return Column(name, _Number, nullable=False, server_default=_ZERO)


def _flag(name: str) -> Column[int]:
    return Column(name, SmallInteger, nullable=False, server_default=_ZERO)


def _table(name: str, *columns: Column[Any] | Index) -> Table:
    """A table that lies in the order of its primary key (on SQLite: without a row number beside it)."""
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


# Who may send

_OPEN = text("status = 'open'")

accounts = _table(
    "accounts",
    _key_text("account_id"),
    _words("email"),
    _words("password_hash"),
    _flag("closed"),
    _number("created_at"),
)

account_regions = _table(
    "account_regions",
    _key_text("account_id"),
    _key_text("region"),
    _flag("opened"),
    _flag("suspended"),
    _flag("production"),
    _flag("pace"),
    Column("quota", _Number, nullable=False),
    Column("rate", Float(53), nullable=False),
    _number("tokens"),
    _number("token_at"),
    _number("used_24_hours"),
    _number("used_minute"),
    Column("facts_version", _Number, nullable=False, server_default=text("1")),
    _number("created_at"),
)
"""The row that every accepted message locks: limits, and the version of everything acceptance knows of the account."""

sent_minutes = _table(
    "sent_minutes",
    _key_text("account_id"),
    _key_text("region"),
    Column("minute", _Number, primary_key=True, autoincrement=False),
    Column("recipients", _Number, nullable=False),
)
"""Recipients that count against the quota, by minute since 1970 (LIM-2)."""

limit_requests = Table(
    "limit_requests",
    metadata,
    Column("request_id", _Number, primary_key=True, autoincrement=True),
    Column("account_id", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("status", Text, nullable=False),
    _words("website"),
    _words("opt_in_url"),
    _words("opt_out_url"),
    _words("privacy_url"),
    Column("message_type", Text, nullable=False),
    Column("quota", _Number, nullable=False),
    Column("rate", Float(53), nullable=False),
    _words("use_case"),
    _number("created_at"),
    _number("answered_at"),
    _words("reason"),
    Index("limit_requests_open", "account_id", "region", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
    sqlite_autoincrement=True,
)
"""Who asked for production access or higher limits; one open request for an account in a region (LIM-6)."""

limit_changes = Table(
    "limit_changes",
    metadata,
    Column("change_id", _Number, primary_key=True, autoincrement=True),
    Column("account_id", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("at", _Number, nullable=False),
    Column("kind", Text, nullable=False),
    _flag("production_before"),
    Column("quota_before", _Number, nullable=False),
    Column("rate_before", Float(53), nullable=False),
    _flag("production_after"),
    Column("quota_after", _Number, nullable=False),
    Column("rate_after", Float(53), nullable=False),
    _number("request_id"),
    _number("undoes"),
    Index("limit_changes_by_account", "account_id", "region", "change_id"),
    sqlite_autoincrement=True,
)
"""Every change of what an account may send, so that it can be told and undone."""

users = _table(
    "users",
    _key_text("account_id"),
    _key_text("user_name"),
    _words("password_hash"),
    _number("created_at"),
)

user_policies = _table(
    "user_policies",
    _key_text("account_id"),
    _key_text("user_name"),
    _key_text("policy_name"),
    Column("document", Text, nullable=False),
)

groups = _table("groups", _key_text("account_id"), _key_text("group_name"), _number("created_at"))

group_members = _table(
    "group_members",
    _key_text("account_id"),
    _key_text("group_name"),
    _key_text("user_name"),
    Index("group_members_by_user", "account_id", "user_name"),
)

group_policies = _table(
    "group_policies",
    _key_text("account_id"),
    _key_text("group_name"),
    _key_text("policy_name"),
    Column("document", Text, nullable=False),
)

access_keys = _table(
    "access_keys",
    _key_text("access_key_id"),
    Column("account_id", Text, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("master_key_id", Text, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    _number("created_at"),
    Index("access_keys_by_user", "account_id", "user_name"),
)

identities = _table(
    "identities",
    _key_text("account_id"),
    _key_text("region"),
    _key_text("name"),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False),
    _words("token"),
    _number("created_at"),
    _number("verified_at"),
    _number("asked_at"),
    _number("next_check_at"),
    _number("missing_since"),
    _number("trouble_since"),
    _words("settings"),
    Index("identities_to_check", "next_check_at", sqlite_where=text("next_check_at > 0"),
          postgresql_where=text("next_check_at > 0")),
    Index("identities_by_name", "name"),
)  # fmt: skip
"""``settings`` is a JSON object: DKIM, notifications, forwarding; "" with all defaults."""

# What was accepted

messages = _table(
    "messages",
    Column("message_id", LargeBinary, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("region", Text, nullable=False),
    _flag("origin"),
    _words("access_key_id"),
    _words("mail_from"),
    _words("header_from"),
    _words("subject"),
    Column("accepted_at", _Number, nullable=False),
    Column("recipient_count", Integer, nullable=False),
    _words("segment"),
    _number("body_offset"),
    Column("body_length", _Number, nullable=False),
    Column("body_crc32", _Number, nullable=False),
    Column("header_length", Integer, nullable=False),
    _flag("eight_bit"),
    _flag("hops"),
    Column("body_hash", LargeBinary, nullable=False),
    _words("tags"),
    Index("messages_by_segment", "segment", sqlite_where=text("segment <> ''"), postgresql_where=text("segment <> ''")),
)
"""Ids begin with region and time, so new rows go to the end and old ones are a range of the key."""

bodies = Table(
    "bodies",
    metadata,
    Column("message_id", LargeBinary, primary_key=True),
    Column("chunk", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)
"""Bodies that lie in the database: small batches on SQLite, all of them on PostgreSQL."""

_WAITING = text("state = 0 AND claimed_by IS NULL AND held = 0")
_CLAIMED = text("claimed_by IS NOT NULL")
_HELD = text("held = 1")

recipients = _table(
    "recipients",
    Column("message_id", LargeBinary, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("account_id", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("domain", Text, nullable=False),
    _flag("state"),
    _flag("held"),
    _flag("in_doubt"),
    _flag("deaths"),
    Column("attempts", Integer, nullable=False, server_default=_ZERO),
    Column("claimed_by", _Number),
    _number("due_at"),
    Column("sequence", Integer, nullable=False, server_default=_ZERO),
    _number("changed_at"),
    _words("smtp_response"),
    _words("bounce_type"),
    _words("bounce_sub_type"),
    Index("recipients_waiting", "domain", "account_id", "due_at", sqlite_where=_WAITING, postgresql_where=_WAITING),
    Index("recipients_claimed", "claimed_by", sqlite_where=_CLAIMED, postgresql_where=_CLAIMED),
    Index("recipients_held", "account_id", "domain", sqlite_where=_HELD, postgresql_where=_HELD),
)
"""A queued recipient is in exactly one of the three partial indexes; a finished one is in none.

``sequence`` numbers the rows of its history; ``claimed_by`` is the number of an incarnation.
"""

lanes = _table(
    "lanes",
    _key_text("domain"),
    _key_text("account_id"),
    Column("due_at", _Number, nullable=False),
    _number("deficit"),
    Index("lanes_due", "due_at"),
)
"""One row for each (domain, account) with waiting mail, so that a million waiting rows cost a claim nothing."""

incarnations = Table(
    "incarnations",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("node", Text, nullable=False),
    Column("started_at", _Number, nullable=False),
    Column("alive_until", _Number, nullable=False),
    _flag("dead"),
    sqlite_autoincrement=True,
)
"""A worker's life. Numbers are never used again: a claim of an old life stays one."""

history = _table(
    "history",
    Column("message_id", LargeBinary, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", _Number, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
)
"""The story of each recipient; ``number`` -1 is the message itself."""

# What has to be told, and what is counted

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", _Number, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("message_id", LargeBinary, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", _Number, nullable=False),
    Column("due_at", _Number, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=_ZERO),
    Index("outbox_due", "kind", "due_at"),
    sqlite_autoincrement=True,
)

idempotency = _table(
    "idempotency",
    _key_text("access_key_id"),
    _key_text("invocation_id"),
    Column("request_hash", LargeBinary, nullable=False),
    Column("message_id", LargeBinary, nullable=False),
    Column("created_at", _Number, nullable=False),
    Index("idempotency_by_age", "created_at"),
)

statistics = _table(
    "statistics",
    _key_text("account_id"),
    _key_text("region"),
    Column("quarter", _Number, primary_key=True, autoincrement=False),
    _number("accepted"),
    _number("sent"),
    _number("captured"),
    _number("delivered"),
    _number("bounced"),
    _number("suppressed"),
    _number("rejected"),
    _number("expired"),
    _number("cancelled"),
    _number("hard_bounces"),
    _number("complaints"),
)
"""By quarter of an hour since 1970, in recipients. Quarter 0 is the sum of what retention has removed.

``accepted`` counts everything (the books), ``sent`` only what counts against the quota (STAT-1: DeliveryAttempts).
"""

suppressions = _table(
    "suppressions",
    _key_text("region"),
    _key_text("account_id"),
    _key_text("address"),
    Column("reason", Text, nullable=False),
    Column("created_at", _Number, nullable=False),
    Column("expires_at", _Number, nullable=False),
    Column("message_id", LargeBinary),
)
"""``account_id`` "" is the region's list, for all accounts; addresses in lower case (SUP-1)."""

leases = _table(
    "leases",
    _key_text("name"),
    Column("holder", Text, nullable=False),
    Column("term", _Number, nullable=False),
    Column("expires_at", _Number, nullable=False),
)
"""Work that must run once: who holds it, and since how many changes of hands."""

store_state = _table("store_state", _key_text("key"), Column("value", Text, nullable=False))
"""What the store has to know of itself, such as the keyring's check value."""

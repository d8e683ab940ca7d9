"""Schema v1: everything that accepting, delivering and settling need, and the tables of what comes later.

Frozen: what stands here has run on other people's data.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None

NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ZERO: Final = sa.text("0")
EMPTY: Final = sa.text("''")


def upgrade() -> None:
    """Makes all tables."""
    op.create_table(
        "access_keys",
        sa.Column("access_key_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("master_key_id", sa.Text(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", NUMBER, server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("access_key_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("access_keys_by_user", "access_keys", ["account_id", "user_name"], unique=False)
    op.create_table(
        "account_regions",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("opened", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("suspended", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("production", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("quota", NUMBER, nullable=False),
        sa.Column("rate", sa.Float(precision=53), nullable=False),
        sa.Column("tokens", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("token_at", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("used_24_hours", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("used_minute", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("facts_version", NUMBER, server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", NUMBER, server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("password_hash", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("closed", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("created_at", NUMBER, server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("account_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "bodies",
        sa.Column("message_id", sa.LargeBinary(), nullable=False),
        sa.Column("chunk", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "chunk"),
    )
    op.create_table(
        "group_members",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "group_name", "user_name"),
        sqlite_with_rowid=False,
    )
    op.create_index("group_members_by_user", "group_members", ["account_id", "user_name"], unique=False)
    op.create_table(
        "group_policies",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("policy_name", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "group_name", "policy_name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "groups",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("created_at", NUMBER, server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "group_name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "history",
        sa.Column("message_id", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", NUMBER, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "number", "sequence"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency",
        sa.Column("access_key_id", sa.Text(), nullable=False),
        sa.Column("invocation_id", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("message_id", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("access_key_id", "invocation_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("idempotency_by_age", "idempotency", ["created_at"], unique=False)
    op.create_table(
        "identities",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("created_at", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("verified_at", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("asked_at", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("next_check_at", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("missing_since", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("settings", sa.Text(), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "name"),
        sqlite_with_rowid=False,
    )
    op.create_index("identities_by_name", "identities", ["name"], unique=False)
    op.create_index(
        "identities_to_check",
        "identities",
        ["next_check_at"],
        unique=False,
        sqlite_where=sa.text("next_check_at > 0"),
        postgresql_where=sa.text("next_check_at > 0"),
    )
    op.create_table(
        "incarnations",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("started_at", NUMBER, nullable=False),
        sa.Column("alive_until", NUMBER, nullable=False),
        sa.Column("dead", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "lanes",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("due_at", NUMBER, nullable=False),
        sa.Column("deficit", NUMBER, server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("domain", "account_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("lanes_due", "lanes", ["due_at"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("term", NUMBER, nullable=False),
        sa.Column("expires_at", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "messages",
        sa.Column("message_id", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("origin", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("access_key_id", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("mail_from", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("header_from", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("subject", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("accepted_at", NUMBER, nullable=False),
        sa.Column("recipient_count", sa.Integer(), nullable=False),
        sa.Column("segment", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("body_offset", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("body_length", NUMBER, nullable=False),
        sa.Column("body_crc32", NUMBER, nullable=False),
        sa.Column("header_length", sa.Integer(), nullable=False),
        sa.Column("eight_bit", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("hops", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.Text(), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("message_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "messages_by_segment",
        "messages",
        ["segment"],
        unique=False,
        sqlite_where=sa.text("segment <> ''"),
        postgresql_where=sa.text("segment <> ''"),
    )
    op.create_table(
        "outbox",
        sa.Column("outbox_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("message_id", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("due_at", NUMBER, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("outbox_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_due", "outbox", ["kind", "due_at"], unique=False)
    op.create_table(
        "recipients",
        sa.Column("message_id", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("held", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("in_doubt", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("deaths", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("claimed_by", NUMBER, nullable=True),
        sa.Column("due_at", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("sequence", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("changed_at", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("smtp_response", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("bounce_type", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("bounce_sub_type", sa.Text(), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("message_id", "number"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "recipients_claimed",
        "recipients",
        ["claimed_by"],
        unique=False,
        sqlite_where=sa.text("claimed_by IS NOT NULL"),
        postgresql_where=sa.text("claimed_by IS NOT NULL"),
    )
    op.create_index(
        "recipients_held",
        "recipients",
        ["account_id", "domain"],
        unique=False,
        sqlite_where=sa.text("held = 1"),
        postgresql_where=sa.text("held = 1"),
    )
    op.create_index(
        "recipients_waiting",
        "recipients",
        ["domain", "account_id", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 0 AND claimed_by IS NULL AND held = 0"),
        postgresql_where=sa.text("state = 0 AND claimed_by IS NULL AND held = 0"),
    )
    op.create_table(
        "sent_minutes",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("minute", NUMBER, autoincrement=False, nullable=False),
        sa.Column("recipients", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "minute"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "statistics",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("quarter", NUMBER, autoincrement=False, nullable=False),
        sa.Column("accepted", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("sent", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("captured", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("delivered", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("bounced", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("suppressed", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("rejected", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("expired", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("cancelled", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("hard_bounces", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("complaints", NUMBER, server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "quarter"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "store_state",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "suppressions",
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        sa.Column("expires_at", NUMBER, nullable=False),
        sa.Column("message_id", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("region", "account_id", "address"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "user_policies",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("policy_name", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "user_name", "policy_name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "users",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("created_at", NUMBER, server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "user_name"),
        sqlite_with_rowid=False,
    )

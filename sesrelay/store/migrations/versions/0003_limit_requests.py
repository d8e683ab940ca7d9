"""Requests for production access and higher limits, every change of limits, and pacing (LIM-6, BEY-2).

Frozen: what stands here has run on other people's data.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"

NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ZERO: Final = sa.text("0")
EMPTY: Final = sa.text("''")
OPEN: Final = sa.text("status = 'open'")


def upgrade() -> None:
    """Only adds: a program of before goes on beside it, and refuses where this one paces."""
    op.add_column("account_regions", sa.Column("pace", sa.SmallInteger(), server_default=ZERO, nullable=False))
    op.create_table(
        "limit_requests",
        sa.Column("request_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("website", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("opt_in_url", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("opt_out_url", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("privacy_url", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("message_type", sa.Text(), nullable=False),
        sa.Column("quota", NUMBER, nullable=False),
        sa.Column("rate", sa.Float(precision=53), nullable=False),
        sa.Column("use_case", sa.Text(), server_default=EMPTY, nullable=False),
        sa.Column("created_at", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("answered_at", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("reason", sa.Text(), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "limit_requests_open",
        "limit_requests",
        ["account_id", "region"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_table(
        "limit_changes",
        sa.Column("change_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("at", NUMBER, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("production_before", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("quota_before", NUMBER, nullable=False),
        sa.Column("rate_before", sa.Float(precision=53), nullable=False),
        sa.Column("production_after", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("quota_after", NUMBER, nullable=False),
        sa.Column("rate_after", sa.Float(precision=53), nullable=False),
        sa.Column("request_id", NUMBER, server_default=ZERO, nullable=False),
        sa.Column("undoes", NUMBER, server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("change_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("limit_changes_by_account", "limit_changes", ["account_id", "region", "change_id"], unique=False)

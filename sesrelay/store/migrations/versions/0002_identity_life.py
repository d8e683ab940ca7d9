"""Since when the name servers of a domain say nothing (ID-8); domains that nobody looked at are asked about.

Frozen: what stands here has run on other people's data.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"


def upgrade() -> None:
    """Adds a column: nobody has been silent so far. The time of domains left Pending began when they were added."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("identities", sa.Column("trouble_since", number, server_default=sa.text("0"), nullable=False))
    op.execute(
        sa.text(
            "UPDATE identities SET asked_at = created_at, next_check_at = created_at "
            "WHERE type = 'Domain' AND status = 'Pending' AND next_check_at = 0"
        )
    )

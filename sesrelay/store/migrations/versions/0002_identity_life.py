"""Since when the name servers of a domain say nothing: what tells silence from absence (ID-8).

Frozen: what stands here has run on other people's data.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"


def upgrade() -> None:
    """Adds a column; nobody has been silent so far."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("identities", sa.Column("trouble_since", number, server_default=sa.text("0"), nullable=False))

"""From any older schema to this program's, one revision after the other; a new one is added at the end.

A migration first only adds (expand); what is no longer needed goes one release later (contract), so that two versions
of the program can share a database while the nodes of a cluster are renewed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlalchemy import Connection

REVISIONS: Final = ("0001", "0002", "0003")
"""Every revision, oldest first; a test compares them with the files."""


def upgrade(connection: Connection) -> list[str]:
    """Applies what is missing, inside the transaction that the caller began; the revisions that were applied."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(__file__).parent))
    applied: list[str] = []

    def missing(revision: Any, _context: object) -> list[Any]:
        steps: list[Any] = list(scripts._upgrade_revs("head", revision))
        applied.extend(step.revision.revision for step in steps)
        return steps

    context = MigrationContext.configure(connection, opts={"fn": missing, "transactional_ddl": False})
    with Operations.context(context):
        context.run_migrations()
    return applied

"""Columns of `run` that were renamed: `planned_only` to `not_submitted`, `idea` to `documented_only`."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Rename the columns. SQLite (3.25 and later) and PostgreSQL use the same statement."""
    op.execute("ALTER TABLE run RENAME COLUMN planned_only TO not_submitted")
    op.execute("ALTER TABLE run RENAME COLUMN idea TO documented_only")

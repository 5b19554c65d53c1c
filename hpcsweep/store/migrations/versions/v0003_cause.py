"""The cause of a stall."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add `attempt.cause`: NULL for attempts of before, and for other outcomes."""
    op.add_column("attempt", sa.Column("cause", sa.Text(), nullable=True))

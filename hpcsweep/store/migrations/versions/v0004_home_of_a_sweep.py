"""The home folder that a sweep belongs to: two homes may use one store, and name their sweeps alike."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; sweeps of before belong to no known home until they are read again."""
    op.add_column("sweep", sa.Column("home_id", sa.Text(), nullable=True))

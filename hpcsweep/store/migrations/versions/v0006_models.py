"""Shapes of the served models, for the bound of their speed."""

import sqlalchemy as sa
from alembic import op

from hpcsweep.store import types

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; NULL: read by an older version."""
    with op.batch_alter_table("sweep") as batch:
        batch.add_column(sa.Column("models", types.Json(), nullable=True))

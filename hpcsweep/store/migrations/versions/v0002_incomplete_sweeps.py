"""A sweep remembers that its files could not all be read: then nothing is concluded from what is missing."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; NULL: all files were read."""
    with op.batch_alter_table("sweep") as batch:
        batch.add_column(sa.Column("incomplete", sa.Text(), nullable=True))

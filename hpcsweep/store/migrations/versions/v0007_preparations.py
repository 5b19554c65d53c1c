"""Preparations of a sweep, and the submissions that need them."""

import sqlalchemy as sa
from alembic import op

from hpcsweep.store import types

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table and the column; NULL: the submission needs no preparation."""
    with op.batch_alter_table("submission") as batch:
        batch.add_column(sa.Column("needs", types.Json(), nullable=True))
    op.create_table(
        "preparation",
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("walltime_s", sa.Float(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("evidence", types.Json(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submission.id"], name="fk_preparation_submission_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("submission_id", name="pk_preparation"),
    )

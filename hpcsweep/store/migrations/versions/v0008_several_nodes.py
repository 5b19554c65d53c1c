"""Servers on several nodes: their nodes, the node at fault, and phases and facts of each other node."""

import sqlalchemy as sa
from alembic import op

from hpcsweep.store import types

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns and tables. NULL: read by an older version."""
    with op.batch_alter_table("attempt") as batch:
        batch.add_column(sa.Column("nodes", types.Json(), nullable=True))
        batch.add_column(sa.Column("node", sa.Text(), nullable=True))
    op.create_table(
        "rank_phase",
        *_key("rank_phase"),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("start_s", sa.Float(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
    )
    op.create_table(
        "rank_fact",
        *_key("rank_fact"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.Float(), nullable=True),
        sa.Column("word", sa.Text(), nullable=True),
        sa.Column("switch", sa.Boolean(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
    )


def _key(table: str) -> "list[sa.schema.SchemaItem]":
    return [
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt.id"], name=op.f(f"fk_{table}_attempt_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("attempt_id", "seq", name=op.f(f"pk_{table}")),
    ]

"""The first tables."""

import sqlalchemy as sa
from alembic import op

from hpcsweep.store import types

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "sweep",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sweep_dir", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("scheduler", sa.Text(), nullable=False),
        sa.Column("submitted_at", sa.Float(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("axes", types.Json(), nullable=False),
        sa.Column("baseline", types.Json(), nullable=False),
        sa.Column("versions", types.Json(), nullable=False),
        sa.Column("provenance", types.Json(), nullable=False),
        sa.Column("profile", types.Json(), nullable=False),
        sa.Column("definition", types.Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweep")),
        sa.UniqueConstraint("name", name=op.f("uq_sweep_name")),
    )
    op.create_table(
        "ingest_cursor",
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("stamp", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name=op.f("fk_ingest_cursor_sweep_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sweep_id", "path", name=op.f("pk_ingest_cursor")),
    )
    op.create_table(
        "submission",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_array", sa.Boolean(), nullable=False),
        sa.Column("submitted_at", sa.Float(), nullable=True),
        sa.Column("cancelled", types.Json(), nullable=False),
        sa.Column("resources", types.Json(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name=op.f("fk_submission_sweep_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submission")),
        sa.UniqueConstraint("sweep_id", "job", name=op.f("uq_submission_sweep_id_job")),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("variant_id", sa.Text(), nullable=False),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("axes", types.Json(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("gpu_type", sa.Text(), nullable=True),
        sa.Column("nodes", sa.Integer(), nullable=False),
        sa.Column("samples_total", sa.Integer(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("planned_only", sa.Boolean(), nullable=False),
        sa.Column("idea", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("not_run", sa.Text(), nullable=True),
        sa.Column("known_attempts", sa.Integer(), nullable=False),
        sa.Column("submission_id", sa.Integer(), nullable=True),
        sa.Column("array_index", sa.Integer(), nullable=True),
        sa.Column("server", types.Json(), nullable=False),
        sa.Column("workloads", types.Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submission.id"], name=op.f("fk_run_submission_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name=op.f("fk_run_sweep_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("sweep_id", "label", name=op.f("uq_run_sweep_id_label")),
    )
    op.create_table(
        "scheduler_status",
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("array_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("native", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("restarts", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submission.id"], name=op.f("fk_scheduler_status_submission_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("submission_id", "array_index", name=op.f("pk_scheduler_status")),
    )
    op.create_table(
        "attempt",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("restart_count", sa.Integer(), nullable=True),
        sa.Column("engine", sa.Text(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=True),
        sa.Column("time_scale", sa.Float(), nullable=True),
        sa.Column("gpus", types.Json(), nullable=True),
        sa.Column("gpu_name", sa.Text(), nullable=True),
        sa.Column("argv", types.Json(), nullable=True),
        sa.Column("env", types.Json(), nullable=True),
        sa.Column("versions", types.Json(), nullable=True),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("startup_s", sa.Float(), nullable=True),
        sa.Column("unseen_phases", types.Json(), nullable=True),
        sa.Column("last_at", sa.Float(), nullable=True),
        sa.Column("last_t_s", sa.Float(), nullable=True),
        sa.Column("idle_s", sa.Float(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("evidence", types.Json(), nullable=True),
        sa.Column("hint", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("killed", types.Json(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_attempt_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("run_id", "attempt", name=op.f("uq_attempt_run_id_attempt")),
    )
    op.create_table(
        "fact",
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.Float(), nullable=True),
        sa.Column("word", sa.Text(), nullable=True),
        sa.Column("switch", sa.Boolean(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_fact_attempt_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("attempt_id", "seq", name=op.f("pk_fact")),
    )
    op.create_table(
        "ingest_trouble",
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt.id"], name=op.f("fk_ingest_trouble_attempt_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("attempt_id", "offset", name=op.f("pk_ingest_trouble")),
    )
    op.create_table(
        "phase",
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("start_s", sa.Float(), nullable=False),
        sa.Column("budget_s", sa.Float(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_phase_attempt_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("attempt_id", "seq", name=op.f("pk_phase")),
    )
    op.create_table(
        "telemetry",
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("t_s", sa.Float(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=True),
        sa.Column("figures", types.Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt.id"], name=op.f("fk_telemetry_attempt_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("attempt_id", "seq", name=op.f("pk_telemetry")),
    )
    op.create_table(
        "warning",
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("t_s", sa.Float(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_warning_attempt_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("attempt_id", "seq", name=op.f("pk_warning")),
    )
    op.create_table(
        "workload_result",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("left_out", sa.Text(), nullable=True),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("samples_total", sa.Integer(), nullable=False),
        sa.Column("cache_reset", sa.Boolean(), nullable=True),
        sa.Column("started_s", sa.Float(), nullable=True),
        sa.Column("samples_done", sa.Integer(), nullable=False),
        sa.Column("samples_failed", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("first_sent_s", sa.Float(), nullable=True),
        sa.Column("last_end_s", sa.Float(), nullable=True),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("completed", sa.Integer(), nullable=True),
        sa.Column("failed", sa.Integer(), nullable=True),
        sa.Column("failures", types.Json(), nullable=True),
        sa.Column("warnings", types.Json(), nullable=True),
        sa.Column("client_figures", types.Json(), nullable=True),
        sa.Column("server_figures", types.Json(), nullable=True),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt.id"], name=op.f("fk_workload_result_attempt_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workload_result")),
        sa.UniqueConstraint(
            "attempt_id", "workload", "repeat", name=op.f("uq_workload_result_attempt_id_workload_repeat")
        ),
    )
    op.create_table(
        "sample_block",
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("result_id", sa.Integer(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("seq", types.Integers(), nullable=False),
        sa.Column("index", types.Integers(), nullable=False),
        sa.Column("sent_s", types.Floats(), nullable=False),
        sa.Column("prompt_tokens", types.Floats(), nullable=False),
        sa.Column("completion_tokens", types.Floats(), nullable=False),
        sa.Column("cached_tokens", types.Floats(), nullable=False),
        sa.Column("ttft_s", types.Floats(), nullable=False),
        sa.Column("e2e_s", types.Floats(), nullable=False),
        sa.Column("lateness_s", types.Floats(), nullable=False),
        sa.Column("warmup", types.Flags(), nullable=False),
        sa.Column("sample", types.Words(), nullable=False),
        sa.Column("tokens_from", types.Words(), nullable=False),
        sa.Column("finish_reason", types.Words(), nullable=False),
        sa.Column("cold", types.Words(), nullable=False),
        sa.Column("error", types.Words(), nullable=False),
        sa.Column("error_detail", types.Words(), nullable=False),
        sa.Column("itl_count", types.Integers(), nullable=False),
        sa.Column("itl_s", types.ShortFloats(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt.id"], name=op.f("fk_sample_block_attempt_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["result_id"], ["workload_result.id"], name=op.f("fk_sample_block_result_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("attempt_id", "first_seq", name=op.f("pk_sample_block")),
    )
    op.create_index("ix_sample_block_result_id", "sample_block", ["result_id"], unique=False)

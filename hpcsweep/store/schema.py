"""The tables. A change here needs a migration in `migrations/versions`; a test compares the two.

Samples are kept by columns: one row of `sample_block` holds what one ingest found of one workload, an array a field.
A million samples as rows took 9 s to insert and 6 s to read on the 2-core machine where this was measured; as
blocks both take well under a second. Everything else is one row a thing.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from hpcsweep.store.types import Flags, Floats, Integers, Json, ShortFloats, Words

SCHEMA_REVISION = "0008"
"""The revision of `migrations/versions` that these tables are."""

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

SWEEP = Table(
    "sweep",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("sweep_dir", Text, nullable=False),
    Column("experiment", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("cluster", Text, nullable=False),
    Column("scheduler", Text, nullable=False),
    Column("submitted_at", Float, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("axes", Json, nullable=False),
    Column("baseline", Json, nullable=False),
    Column("versions", Json, nullable=False),
    Column("provenance", Json, nullable=False),
    Column("profile", Json, nullable=False),
    Column("definition", Json, nullable=False),  # the resolved experiment
    Column("incomplete", Text),  # why its files could not all be read the last time; NULL: they were
    Column("models", Json),  # model -> plan.bound.deploy.BoundModel as JSON; NULL: read by an older version
    Column("home_id", Text),  # of the HPCSWEEP_HOME that the sweep is in; NULL: read by an older version
)

SUBMISSION = Table(
    "submission",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("sweep_id", ForeignKey("sweep.id", ondelete="CASCADE"), nullable=False),
    Column("job", Integer, nullable=False),
    Column("job_id", Text),
    Column("name", Text, nullable=False),
    Column("is_array", Boolean, nullable=False),
    Column("submitted_at", Float),
    Column("cancelled", Json, nullable=False),
    Column("resources", Json, nullable=False),
    Column("script", Text, nullable=False),
    Column("needs", Json),  # preparation -> number of its submission; NULL: read by an older version
    UniqueConstraint("sweep_id", "job"),
)

PREPARATION = Table(
    "preparation",
    METADATA,
    Column("submission_id", ForeignKey("submission.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, nullable=False),
    Column("walltime_s", Float, nullable=False),
    Column("gpus", Integer, nullable=False),
    # The attempt that counts: one that completed, else the latest; 0: none has begun.
    Column("attempt", Integer, nullable=False),
    Column("host", Text),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("outcome", Text),
    Column("reason", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("evidence", Json, nullable=False),
    Column("exit_code", Integer),
)

SCHEDULER_STATUS = Table(
    "scheduler_status",
    METADATA,
    Column("submission_id", ForeignKey("submission.id", ondelete="CASCADE"), primary_key=True),
    Column("array_index", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("native", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("outcome", Text),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("node", Text),
    Column("restarts", Integer),
)

RUN = Table(
    "run",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("sweep_id", ForeignKey("sweep.id", ondelete="CASCADE"), nullable=False),
    Column("label", Text, nullable=False),
    Column("position", Integer, nullable=False),  # order in sweep.json
    Column("variant_id", Text, nullable=False),
    Column("repeat", Integer, nullable=False),
    Column("axes", Json, nullable=False),
    Column("engine", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("gpu_type", Text),
    Column("nodes", Integer, nullable=False),
    Column("samples_total", Integer, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("not_submitted", Boolean, nullable=False),  # refused before submission, or documented only
    Column("documented_only", Boolean, nullable=False),  # listed in the experiment with a reason, not part of the plan
    Column("outcome", Text),  # known before anything was queued: unsupported, not_run
    Column("reason", Text, nullable=False),
    Column("not_run", Text),  # why the agent did not start this run; NULL: it has not recorded that
    Column("known_attempts", Integer, nullable=False),  # that were there when its latest job was submitted
    Column("submission_id", ForeignKey("submission.id", ondelete="SET NULL")),
    Column("array_index", Integer),
    Column("server", Json, nullable=False),  # spec.server.ServerConfig
    Column("workloads", Json, nullable=False),  # in the order of the experiment: definition._workload
    UniqueConstraint("sweep_id", "label"),
)

ATTEMPT = Table(
    "attempt",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("host", Text),
    Column("pid", Integer),
    Column("job_id", Text),
    Column("restart_count", Integer),
    Column("engine", Text),
    Column("simulated", Boolean),
    Column("time_scale", Float),
    Column("gpus", Json),
    Column("gpu_name", Text),
    Column("argv", Json),
    Column("env", Json),
    Column("versions", Json),
    Column("started_at", Float),
    Column("startup_s", Float),
    Column("unseen_phases", Json),
    Column("last_at", Float),
    Column("last_t_s", Float),
    Column("idle_s", Float),
    Column("outcome", Text),
    Column("phase", Text),  # the one it ended in
    Column("reason", Text),
    Column("decided_by", Text),
    Column("evidence", Json),
    Column("hint", Text),
    Column("exit_code", Integer),
    Column("killed", Json),
    Column("ended_at", Float),
    Column("duration_s", Float),
    Column("cause", Text),  # of outcome stalled
    Column("nodes", Json),  # of a server on several nodes; NULL: read by an older version
    Column("node", Text),  # at fault; NULL: not known
    UniqueConstraint("run_id", "attempt"),
)


def _attempt_key() -> tuple[Column[int], Column[int]]:
    return (
        Column("attempt_id", ForeignKey("attempt.id", ondelete="CASCADE"), primary_key=True),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
    )


PHASE = Table(
    "phase",
    METADATA,
    *_attempt_key(),
    Column("phase", Text, nullable=False),
    Column("start_s", Float, nullable=False),
    Column("budget_s", Float),
    Column("evidence", Text, nullable=False),
)

FACT = Table(
    "fact",
    METADATA,
    *_attempt_key(),
    Column("name", Text, nullable=False),
    Column("number", Float),
    Column("word", Text),
    Column("switch", Boolean),
    Column("unit", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("evidence", Text, nullable=False),
)

RANK_PHASE = Table(
    "rank_phase",
    METADATA,
    *_attempt_key(),
    Column("rank", Integer, nullable=False),  # number of the node in the server
    Column("node", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("start_s", Float, nullable=False),
    Column("evidence", Text, nullable=False),
)

RANK_FACT = Table(
    "rank_fact",
    METADATA,
    *_attempt_key(),
    Column("rank", Integer, nullable=False),
    Column("node", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("number", Float),
    Column("word", Text),
    Column("switch", Boolean),
    Column("unit", Text, nullable=False),
    Column("evidence", Text, nullable=False),
)

WARNING = Table(
    "warning",
    METADATA,
    *_attempt_key(),
    Column("t_s", Float, nullable=False),
    Column("message", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

TELEMETRY = Table(
    "telemetry",
    METADATA,
    *_attempt_key(),
    Column("t_s", Float, nullable=False),
    Column("workload", Text),
    Column("figures", Json, nullable=False),
)

WORKLOAD_RESULT = Table(
    "workload_result",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("attempt_id", ForeignKey("attempt.id", ondelete="CASCADE"), nullable=False),
    Column("workload", Text, nullable=False),
    Column("repeat", Integer, nullable=False),
    Column("left_out", Text),
    Column("client", Text, nullable=False),
    Column("samples_total", Integer, nullable=False),
    Column("cache_reset", Boolean),
    Column("started_s", Float),
    # Sums over the samples so far, warm-up apart: what a status needs without opening a block.
    Column("samples_done", Integer, nullable=False),
    Column("samples_failed", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("first_sent_s", Float),
    Column("last_end_s", Float),
    Column("duration_s", Float),  # NULL: it has not ended
    Column("completed", Integer),
    Column("failed", Integer),
    Column("failures", Json),
    Column("warnings", Json),
    Column("client_figures", Json),
    Column("server_figures", Json),
    UniqueConstraint("attempt_id", "workload", "repeat"),
)

SAMPLE_BLOCK = Table(
    "sample_block",
    METADATA,
    Column("attempt_id", ForeignKey("attempt.id", ondelete="CASCADE"), primary_key=True),
    Column("first_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("result_id", ForeignKey("workload_result.id", ondelete="CASCADE"), nullable=False),
    Column("samples", Integer, nullable=False),
    Column("seq", Integers, nullable=False),
    Column("index", Integers, nullable=False),
    Column("sent_s", Floats, nullable=False),
    Column("prompt_tokens", Floats, nullable=False),
    Column("completion_tokens", Floats, nullable=False),
    Column("cached_tokens", Floats, nullable=False),
    Column("ttft_s", Floats, nullable=False),
    Column("e2e_s", Floats, nullable=False),
    Column("lateness_s", Floats, nullable=False),
    Column("warmup", Flags, nullable=False),
    Column("sample", Words, nullable=False),
    Column("tokens_from", Words, nullable=False),
    Column("finish_reason", Words, nullable=False),
    Column("cold", Words, nullable=False),
    Column("error", Words, nullable=False),
    Column("error_detail", Words, nullable=False),
    Column("itl_count", Integers, nullable=False),
    Column("itl_s", ShortFloats, nullable=False),  # last: a reader that does not want it never touches its pages
)
Index("ix_sample_block_result_id", SAMPLE_BLOCK.c.result_id)

INGEST_CURSOR = Table(
    "ingest_cursor",
    METADATA,
    Column("sweep_id", ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),  # below the sweep's folder
    Column("offset", BigInteger, nullable=False),  # bytes that are read: whole lines only
    Column("stamp", Text, nullable=False),  # inode, size and mtime of a file that is replaced as a whole
)

INGEST_TROUBLE = Table(
    "ingest_trouble",
    METADATA,
    Column("attempt_id", ForeignKey("attempt.id", ondelete="CASCADE"), primary_key=True),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),  # of the line in events.jsonl
    Column("message", Text, nullable=False),
)

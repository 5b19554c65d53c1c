"""The closed lists that every layer shares: phases of an attempt, outcomes, states of a run."""

from enum import Enum


class Phase(str, Enum):
    """A named stretch of an attempt, in the order in which they come."""

    LAUNCH = "launch"
    ENGINE_INIT = "engine_init"
    LOAD_WEIGHTS = "load_weights"
    COMPILE = "compile"
    PROFILE = "profile"
    KV_CACHE = "kv_cache"
    CAPTURE_GRAPHS = "capture_graphs"
    WARMUP = "warmup"
    READY = "ready"
    MEASURE = "measure"
    TEARDOWN = "teardown"


STARTUP_PHASES = tuple(p.value for p in Phase if p not in (Phase.READY, Phase.MEASURE, Phase.TEARDOWN))
"""The phases before the server is ready."""


class OutcomeKind(str, Enum):
    """How an attempt ended: a closed list."""

    COMPLETED = "completed"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_ARGUMENTS = "bad_arguments"
    MODEL_NOT_FOUND = "model_not_found"
    PORT_IN_USE = "port_in_use"
    CRASHED = "crashed"
    STALLED = "stalled"
    STARTUP_TIMEOUT = "startup_timeout"
    REQUEST_TIMEOUT = "request_timeout"
    WALLTIME = "walltime"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    LOST = "lost"
    NOT_RUN = "not_run"


class StallCause(str, Enum):
    """Why an attempt has the outcome `stalled`: a closed list."""

    IDLE = "idle"
    BUSY_WAIT = "busy_wait"
    RANK_STUCK = "rank_stuck"
    REQUESTS_STUCK = "requests_stuck"


class RunState(str, Enum):
    """Where a run stands. `rank` orders them: a late witness never moves a run backwards within one attempt."""

    PLANNED = "planned"
    QUEUED = "queued"
    HELD = "held"
    RUNNING = "running"
    UNKNOWN = "unknown"
    FINISHED = "finished"

    @property
    def final(self) -> bool:
        """Nothing will change it any more, short of a retry."""
        return self is RunState.FINISHED

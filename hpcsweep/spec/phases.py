"""Closed lists that every layer shares: phases of an attempt, outcomes, states of a run, words of the records."""

from enum import Enum


class StrEnum(str, Enum):
    """A closed list of strings. `str(member)` is its value in every version of Python."""

    def __str__(self) -> str:
        return str(self.value)


class Phase(StrEnum):
    """A phase of an attempt. Members are in the order in which phases follow each other."""

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


class OutcomeKind(StrEnum):
    """How an attempt ended."""

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


class StallCause(StrEnum):
    """Why an attempt has the outcome `stalled`."""

    IDLE = "idle"
    BUSY_WAIT = "busy_wait"
    RANK_STUCK = "rank_stuck"
    REQUESTS_STUCK = "requests_stuck"


class RunState(StrEnum):
    """The state of a run."""

    PLANNED = "planned"
    QUEUED = "queued"
    HELD = "held"
    RUNNING = "running"
    UNKNOWN = "unknown"
    FINISHED = "finished"

    @property
    def final(self) -> bool:
        """Return whether only a retry can change this state."""
        return self is RunState.FINISHED


class ColdKind(StrEnum):
    """Why a request may have met a cold server."""

    FIRST_OF_SERVER = "first_of_server"
    FIRST_OF_SHAPE = "first_of_shape"
    FIRST_AFTER_RESET = "first_after_reset"


class TokenSource(StrEnum):
    """Where the token counts of a request come from."""

    USAGE = "usage"
    CHUNKS = "chunks"
    TOKENIZER = "tokenizer"
    NONE = "none"


class CacheUse(StrEnum):
    """What a start took from the compile cache: everything, some of it, or nothing."""

    HIT = "hit"
    PARTIAL = "partial"
    MISS = "miss"


class ErrorCause(StrEnum):
    """Why a request failed. `load.wire.answer.CAUSES` explains each."""

    CONNECT = "connect"
    HTTP_ERROR = "http_error"
    ERROR_IN_STREAM = "error_in_stream"
    CUT = "cut"
    ENDED_EARLY = "ended_early"
    NOT_STREAMED = "not_streamed"
    BAD_ANSWER = "bad_answer"
    NO_TOKENS = "no_tokens"
    WRONG_USAGE = "wrong_usage"
    SHORT = "short"
    TOKEN_TIMEOUT = "token_timeout"
    REQUEST_TIMEOUT = "request_timeout"
    ABORTED = "aborted"
    CLIENT_ERROR = "client_error"

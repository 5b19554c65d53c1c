"""The records of events.jsonl: one JSON object per line, one class per kind.

Every event has two times: `at`, Unix seconds of the node's clock, and `t_s`, seconds since the attempt began. `t_s` is
on the attempt's own clock, which runs `time_scale` times faster when the engine is simulated. Durations are always
differences of `t_s`, never of `at`.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from hpcsweep.spec.base import Record
from hpcsweep.spec.phases import OutcomeKind, Phase, StallCause


class _Event(Record):
    run_id: str
    attempt: int = Field(ge=1)
    seq: int = Field(ge=0, description="0, 1, 2 ... within one attempt; orders events and reveals duplicates")
    at: float = Field(description="Unix seconds, UTC, of the node's clock")
    t_s: float = Field(description="seconds since the attempt began, on the attempt's clock")


class AttemptStarted(_Event):
    """The agent has claimed this attempt's folder."""

    kind: Literal["attempt_started"] = "attempt_started"
    host: str
    nodes: list[str] = Field([], description="of a server on several nodes, that of the agent first; empty: the host")
    pid: int = Field(description="of the agent")
    job_id: str | None = Field(
        None, description="as the scheduler writes it: 12, 12_3, 12[3].server; None: started manually"
    )
    restart_count: int = Field(0, description="requeues of the job, as the scheduler reports them")
    engine: str
    simulated: bool
    time_scale: float = 1.0
    gpus: list[str] = Field([], description="devices of CUDA_VISIBLE_DEVICES; empty: no GPU")
    gpu_name: str | None = None
    argv: list[str] = Field([], description="the server's command")
    env: dict[str, str] = Field({}, description="variables set for the server; never a secret")
    versions: dict[str, str] = Field({}, description="hpcsweep, python, engine, driver ...")


class PhaseEntered(_Event):
    """A phase began, and the one before it ended."""

    kind: Literal["phase_entered"] = "phase_entered"
    phase: Phase
    budget_s: float | None = Field(None, description="None: only the startup budget applies")
    evidence: str = Field("", description="the log line that showed it")


ENGINE_VERSION = "engine_version"
"""Name of the fact with the version in the engine's own log, which counts where another one was found before."""
OTHER_GPU = "other_gpu"
"""Name of the fact that a job has other GPUs than it requested; its value is a sentence."""


class Fact(_Event):
    """A value observed during the attempt: `weights_bytes_per_gpu`, `load_s`, `compile_s`, `kv_cache_tokens` ..."""

    kind: Literal["fact"] = "fact"
    name: str
    value: float | str | bool
    unit: str = Field("", description="s, bytes, tokens ...; empty for text and plain numbers")
    source: str = Field("", description="log, metrics, nvml, cache folder, agent")
    evidence: str = ""


class ServerReady(_Event):
    """The server is healthy, lists the model, and has returned one token."""

    kind: Literal["server_ready"] = "server_ready"
    startup_s: float
    unseen_phases: list[Phase] = Field([], description="phases that did not appear in the log")


class ProgressSeen(_Event):
    """Progress signals since the last such event, at most one event every few seconds."""

    kind: Literal["progress"] = "progress"
    signs: list[str] = Field(
        [],
        description="progress signals: log, answer, io, memory, processes, faults, calls, gpu, cache; "
        "with requests in flight: tokens, kv_cache, chunks, samples, jit, prefill. Older records also have cpu",
    )
    activity: list[str] = Field([], description="cpu, gpu: busy since the last event; not a progress signal by itself")
    idle_s: float = Field(0.0, description="seconds since the last progress signal")
    held_up_s: float = Field(
        0.0, description="real seconds since the last event in which the agent itself did not run (a suspended machine)"
    )


class WorkloadStarted(_Event):
    """The first request of a workload is about to be sent."""

    kind: Literal["workload_started"] = "workload_started"
    workload: str
    repeat: int = 1
    samples_total: int
    client: str = "builtin"
    cache_reset: bool | None = Field(None, description="the prefix cache was empty; None: it cannot be reset")
    closed_loop: bool | None = Field(
        None, description="every request waits for a free slot, none has a due time of its own; None: not recorded"
    )


class SampleDone(_Event):
    """One request and its measured response. Words are plain strings: the store keeps them by the million."""

    kind: Literal["sample"] = "sample"
    workload: str
    repeat: int = 1
    sample: str = Field(description="id of the sample in its dataset")
    index: int = Field(ge=0, description="order of sending within the workload")
    sent_s: float = Field(description="t_s when the kernel had taken the last byte of the request")
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_from: Literal["usage", "chunks", "tokenizer", "none"] = Field("usage", description="a `TokenSource`")
    cached_tokens: int | None = Field(
        None, description="prompt tokens served from the prefix cache; None: not reported"
    )
    ttft_s: float | None = None
    e2e_s: float | None = None
    itl_s: list[float] = Field([], description="gaps between received chunks")
    lateness_s: float = Field(
        0.0, description="seconds between the time at which it could have been sent and its sending"
    )
    finish_reason: str | None = None
    warmup: bool = False
    cold: str | None = Field(None, description="a `ColdKind`; None: warm")
    error: str | None = Field(None, description="an `ErrorCause`; None: success")
    error_detail: str = ""


class WorkloadEnded(_Event):
    """All requests of a workload have ended."""

    kind: Literal["workload_ended"] = "workload_ended"
    workload: str
    repeat: int = 1
    duration_s: float = Field(description="from the first request sent to the end of the last response")
    completed: int
    failed: int
    failures: dict[str, int] = Field({}, description="cause -> number of requests; the sum is `failed`")
    warnings: list[str] = Field([], description="client_limited ...")
    client_figures: dict[str, float] = Field({}, description="loop_lag_p99_s, cpu_s, lateness_p99_s, rss_bytes ...")
    server_figures: dict[str, float] = Field({}, description="differences of /metrics counters, maxima of gauges")


class WorkloadLeftOut(_Event):
    """A workload that is not sent, and the reason."""

    kind: Literal["workload_left_out"] = "workload_left_out"
    workload: str
    reason: str


class Telemetry(_Event):
    """One sample of the server's metrics and its GPUs while a workload runs, about once per second."""

    kind: Literal["telemetry"] = "telemetry"
    workload: str | None = None
    figures: dict[str, float] = Field(description="running, waiting, kv_cache_usage, gpu_power_w ...")


class Warned(_Event):
    """A problem that did not end the attempt."""

    kind: Literal["warning"] = "warning"
    code: str = Field("", description="stable name of the kind of warning; empty: an older record")
    message: str
    detail: str = ""


class AttemptEnded(_Event):
    """The outcome of the attempt: the reason, the phase, and the evidence."""

    kind: Literal["attempt_ended"] = "attempt_ended"
    outcome: OutcomeKind
    phase: Phase | None = None
    code: str = Field("", description="stable name of the reason; empty: an older record")
    reason: str = Field("", description="one sentence")
    cause: StallCause | None = Field(
        None, description="of the outcome `stalled`; None: another outcome, or an older record"
    )
    decided_by: str = Field(
        "", description="the rule that fired: budget startup, budget stall, exit code 1, SIGTERM ..."
    )
    evidence: list[str] = Field([], description="last log lines, the most informative one first")
    exit_code: int | None = Field(None, description="of the server; negative: the number of the signal that killed it")
    hint: str = Field("", description="what to change")
    killed: list[str] = Field([], description="processes that were killed in the teardown")
    node: str | None = Field(None, description="the node at fault; None: the only one, or not known")


class RankPhase(_Event):
    """A phase began on another node of the server. `phase_entered` is that of the first node."""

    kind: Literal["rank_phase"] = "rank_phase"
    rank: int = Field(ge=1, description="number of the node in the server")
    node: str
    phase: Phase
    evidence: str = ""


class RankFact(_Event):
    """A value that the server printed on another node. `fact` is that of the first node."""

    kind: Literal["rank_fact"] = "rank_fact"
    rank: int = Field(ge=1, description="number of the node in the server")
    node: str
    name: str
    value: float | str | bool
    unit: str = ""
    evidence: str = ""


Event = Annotated[
    AttemptStarted
    | PhaseEntered
    | Fact
    | ServerReady
    | ProgressSeen
    | WorkloadStarted
    | SampleDone
    | WorkloadEnded
    | WorkloadLeftOut
    | Telemetry
    | Warned
    | AttemptEnded
    | RankPhase
    | RankFact,
    Field(discriminator="kind"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""The validator of one event of any kind."""

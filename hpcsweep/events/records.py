"""The records of events.jsonl: one JSON object a line, one kind a class.

Every event says when (`at`: Unix seconds of the node's clock) and how far into its attempt (`t_s`: seconds since
the attempt began, on the attempt's own clock, which runs `time_scale` times faster when the engine is simulated).
Durations are always differences of `t_s`, never of `at`.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from hpcsweep.spec.base import Record
from hpcsweep.spec.phases import OutcomeKind, Phase, StallCause


class _Event(Record):
    run_id: str
    attempt: int = Field(ge=1)
    seq: int = Field(ge=0, description="0, 1, 2 ... within one attempt: order and duplicates")
    at: float = Field(description="Unix seconds, UTC, of the node's clock")
    t_s: float = Field(description="seconds since the attempt began, on the attempt's clock")


class AttemptStarted(_Event):
    """The agent has taken this attempt's folder."""

    kind: Literal["attempt_started"] = "attempt_started"
    host: str
    pid: int = Field(description="of the agent")
    job_id: str | None = Field(None, description="as the scheduler says it: 12, 12_3, 12[3].server; None: by hand")
    restart_count: int = Field(0, description="requeues of the job that the scheduler told of")
    engine: str
    simulated: bool
    time_scale: float = 1.0
    gpus: list[str] = Field([], description="what CUDA_VISIBLE_DEVICES named; empty: no GPU")
    gpu_name: str | None = None
    argv: list[str] = Field([], description="the server's command")
    env: dict[str, str] = Field({}, description="what was set for the server; never a secret")
    versions: dict[str, str] = Field({}, description="hpcsweep, python, engine, driver ...")


class PhaseEntered(_Event):
    """A phase begins, and the one before it ends."""

    kind: Literal["phase_entered"] = "phase_entered"
    phase: Phase
    budget_s: float | None = Field(None, description="None: only the startup budget holds")
    evidence: str = Field("", description="the log line that told")


OTHER_GPU = "other_gpu"
"""Name of the fact that a job has other GPUs than it asked for; its value is a sentence."""


class Fact(_Event):
    """Something read on the way: `weights_bytes_per_gpu`, `load_s`, `dynamo_s`, `compile_s`, `kv_cache_tokens` ..."""

    kind: Literal["fact"] = "fact"
    name: str
    value: float | str | bool
    unit: str = Field("", description="s, bytes, tokens ...; empty for words and plain numbers")
    source: str = Field("", description="log, metrics, nvml, cache folder, agent")
    evidence: str = ""


class ServerReady(_Event):
    """Alive, healthy, lists the model, and one token came back."""

    kind: Literal["server_ready"] = "server_ready"
    startup_s: float
    unseen_phases: list[Phase] = Field([], description="phases that the log did not show")


class ProgressSeen(_Event):
    """What moved, at most one every few seconds."""

    kind: Literal["progress"] = "progress"
    signs: list[str] = Field(
        [],
        description="progress since the last one: log, answer, io, memory, processes, faults, calls, gpu, cache; "
        "with requests in flight: tokens, kv_cache, chunks, samples, jit, prefill. Older records have cpu, too",
    )
    activity: list[str] = Field([], description="cpu, gpu: busy since the last one, which alone is no progress")
    idle_s: float = Field(0.0, description="seconds since the last progress")
    held_up_s: float = Field(
        0.0, description="real seconds since the last one in which the agent itself could not look (a frozen machine)"
    )


class WorkloadStarted(_Event):
    """The first request of a workload is about to be sent."""

    kind: Literal["workload_started"] = "workload_started"
    workload: str
    repeat: int = 1
    samples_total: int
    client: str = "builtin"
    cache_reset: bool | None = Field(None, description="the workload found an empty prefix cache; None: not possible")


class SampleDone(_Event):
    """One request and its measured answer."""

    kind: Literal["sample"] = "sample"
    workload: str
    repeat: int = 1
    sample: str = Field(description="id of the sample in its dataset")
    index: int = Field(ge=0, description="order of sending within the workload")
    sent_s: float = Field(description="t_s when the request's last byte was handed to the kernel")
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_from: Literal["usage", "chunks", "tokenizer", "none"] = "usage"
    cached_tokens: int | None = Field(
        None, description="prompt tokens served from the prefix cache, if the engine says"
    )
    ttft_s: float | None = None
    e2e_s: float | None = None
    itl_s: list[float] = Field([], description="gaps between received chunks")
    lateness_s: float = Field(0.0, description="sent later than scheduled by this")
    finish_reason: str | None = None
    warmup: bool = False
    cold: str | None = Field(None, description="first_of_server, first_of_shape, first_after_reset; None: warm")
    error: str | None = Field(None, description="cause of failure, a short closed word; None: success")
    error_detail: str = ""


class WorkloadEnded(_Event):
    """All requests of a workload have ended."""

    kind: Literal["workload_ended"] = "workload_ended"
    workload: str
    repeat: int = 1
    duration_s: float = Field(description="first request sent to last answer's end")
    completed: int
    failed: int
    failures: dict[str, int] = Field({}, description="cause -> number; they add up to `failed`")
    warnings: list[str] = Field([], description="client_limited ...")
    client_figures: dict[str, float] = Field({}, description="loop_lag_p99_s, cpu_s, lateness_p99_s, rss_bytes ...")
    server_figures: dict[str, float] = Field({}, description="differences of /metrics counters, peaks of gauges")


class WorkloadLeftOut(_Event):
    """A workload that is not sent, and why."""

    kind: Literal["workload_left_out"] = "workload_left_out"
    workload: str
    reason: str


class Telemetry(_Event):
    """One look at the server and its GPUs while a workload runs, about once a second."""

    kind: Literal["telemetry"] = "telemetry"
    workload: str | None = None
    figures: dict[str, float] = Field(description="running, waiting, kv_cache_usage, gpu_power_w ...")


class Warned(_Event):
    """Something odd that did not end the attempt."""

    kind: Literal["warning"] = "warning"
    message: str
    detail: str = ""


class AttemptEnded(_Event):
    """The outcome: what ended the attempt, in which phase, and the evidence."""

    kind: Literal["attempt_ended"] = "attempt_ended"
    outcome: OutcomeKind
    phase: Phase | None = None
    reason: str = Field("", description="one sentence for a person")
    cause: StallCause | None = Field(None, description="of outcome stalled; None: another outcome, or an older record")
    decided_by: str = Field("", description="whose rule fired: budget startup, budget stall, exit code 1, SIGTERM ...")
    evidence: list[str] = Field([], description="last log lines, the telling one first")
    exit_code: int | None = Field(None, description="of the server; negative: killed by that signal")
    hint: str = Field("", description="what to change")
    killed: list[str] = Field([], description="processes that had to be killed in the teardown")


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
    | AttemptEnded,
    Field(discriminator="kind"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Validates one event of any kind."""

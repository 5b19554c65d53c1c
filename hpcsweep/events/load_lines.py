"""The lines that a load process writes, as types: records of `events.records` without the fields that the agent adds.

The sending processes write them in their hot loop and must start fast, so they use plain dictionaries and import no
pydantic. A test compares these types with the models.
"""

from typing import Literal, TypedDict

AGENT_FIELDS = ("run_id", "attempt", "seq", "at", "t_s")
"""Fields of an event that the agent adds to a line of the load process."""


class MeasuredFields(TypedDict, total=False):
    """What was measured of one request. Times in seconds of the attempt."""

    sent_s: float
    prompt_tokens: int | None
    completion_tokens: int | None
    tokens_from: str
    cached_tokens: int | None
    ttft_s: float | None
    e2e_s: float | None
    itl_s: list[float]
    lateness_s: float
    finish_reason: str | None
    warmup: bool
    error: str | None
    error_detail: str


class SampleLine(MeasuredFields):
    """The record of one request that has ended (`SampleDone`)."""

    kind: Literal["sample"]
    workload: str
    repeat: int
    sample: str
    index: int
    cold: str | None


class WorkloadStartedLine(TypedDict):
    """The first record of a workload (`WorkloadStarted`)."""

    kind: Literal["workload_started"]
    workload: str
    repeat: int
    samples_total: int
    client: str
    closed_loop: bool


class WorkloadEndedLine(TypedDict):
    """The last record of a workload (`WorkloadEnded`)."""

    kind: Literal["workload_ended"]
    workload: str
    repeat: int
    duration_s: float
    completed: int
    failed: int
    failures: dict[str, int]
    warnings: list[str]
    client_figures: dict[str, float]


class WarningLine(TypedDict):
    """A warning (`Warned`)."""

    kind: Literal["warning"]
    code: str
    message: str
    detail: str


TRAFFIC = "traffic"
"""Kind of `TrafficLine`."""


class TrafficLine(TypedDict):
    """Requests that one sending process has in flight. For the agent only: not an event."""

    kind: Literal["traffic"]
    process: int
    requests: int
    without_token: int
    received_ns: int


def warning_line(code: str, message: str, detail: str = "") -> WarningLine:
    """Return the record of a warning. `code`: the stable name of this kind of warning."""
    return {"kind": "warning", "code": code, "message": message, "detail": detail}

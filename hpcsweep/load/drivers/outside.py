"""Run the load client of another tool: its process, its time limit, and its result as the records of hpcsweep.

Such a tool reports nothing before it has ended, and some wait for hours when a server stalls. It gets the time that all
requests may take by their budgets; then its process group is ended.
"""

import contextlib
import json
import math
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from hpcsweep.containers.base import NodeCommand
from hpcsweep.containers.launch import ContainerLaunch, node_command
from hpcsweep.errors import DatasetError
from hpcsweep.events.load_lines import (
    MeasuredFields,
    SampleLine,
    WorkloadEndedLine,
    WorkloadStartedLine,
    warning_line,
)
from hpcsweep.load.client.clock import Clock
from hpcsweep.load.client.gate import Gate
from hpcsweep.load.client.lines import LineWriter
from hpcsweep.load.config import API_KEY_VARIABLE, LoadConfig
from hpcsweep.load.datasets.base import SampleRequest
from hpcsweep.load.prepare import cold_kinds, limit_of, requests_of
from hpcsweep.spec.phases import ColdKind, ErrorCause, TokenSource

STARTUP_S = 600.0
RELAY_COST = "which adds to every measured time (docs/load.md)"
_GRACE_S = 5.0
_REMOVAL_S = 30.0
_KEY_VARIABLES = ("OPENAI_API_KEY", "GUIDELLM__SPEC__BACKEND__API_KEY")
"""Variables in which the tools read the API key."""


@dataclass(frozen=True)
class ClientWork:
    """A workload for another tool. `folder`: for the tool's files, in the folder of the attempt."""

    config: LoadConfig
    requests: list[SampleRequest]
    cold: list[ColdKind | None]
    folder: Path
    warnings: list[str]

    @property
    def clock(self) -> Clock:
        """Return the clock of the attempt."""
        return Clock(self.config.time_scale, self.config.clock_origin_s)


class ClientSample(MeasuredFields, total=False):
    """What a tool reported of one request. `sample`: its id, where the tool does not keep the order of requests."""

    sample: str


@dataclass(frozen=True)
class ClientResult:
    """The result of the tool: its samples in the order of sending, and `duration_s` as the tool reports it."""

    samples: Iterable[ClientSample]
    duration_s: float
    warnings: tuple[str, ...] = ()


class OutsideClient(ABC):
    """The load client of another tool."""

    name: ClassVar[str]

    @abstractmethod
    def command(self, work: ClientWork) -> list[str]:
        """Write what the tool needs into `work.folder` and return its command.

        Raises EngineError when the tool is not installed, DatasetError when it cannot send this workload.
        """

    def container(self, config: LoadConfig) -> ContainerLaunch | None:
        """Return the container in which the command is executed; None: on the node itself."""
        return None

    @abstractmethod
    def read(self, work: ClientWork) -> ClientResult:
        """Return the tool's result. Raises DatasetError when it is missing or not understood."""

    def run(self, config: LoadConfig) -> int:
        """Run the tool and write the records of the workload. Return 0, or 1 when the tool failed.

        Raises EngineError or DatasetError before the tool starts.
        """
        workload = config.planned.workload
        warmups, measured, warnings = requests_of(config)
        folder = Path(config.work_dir) / f"{self.name}-{workload.name}-{config.repeat}"
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            if config.socket_path is not None:
                warnings.append(
                    f"{self.name} cannot use a Unix socket: a relay of hpcsweep passed its requests on, {RELAY_COST}"
                )
                gate = stack.enter_context(Gate(config.socket_path, _key()))
                config = config.model_copy(update={"base_url": gate.url})
            cold = cold_kinds(config, warmups, measured)[len(warmups) :]
            return self._run(ClientWork(config, measured, cold, folder, warnings))

    def _run(self, work: ClientWork) -> int:
        config, workload, log = work.config, work.config.planned.workload, work.folder / "client.log"
        command = self._executed(config, self.command(work))
        out = LineWriter(sys.stdout.fileno())
        for message in work.warnings:
            out.add(warning_line("dataset", message))
        started: WorkloadStartedLine = {
            "kind": "workload_started",
            "workload": workload.name,
            "repeat": config.repeat,
            "samples_total": len(work.requests),
            "client": self.name,
            "closed_loop": workload.arrival.request_rate is None and workload.arrival.max_concurrency is not None,
        }
        out.add(started)
        out.flush()
        try:
            end = _wait(command.argv, command.environment, log, _limit_s(work))
        finally:
            _remove(command.cleanup)
        result, cause = ClientResult((), 0.0), end.cause
        if cause is None:
            try:
                result = self.read(work)
            except DatasetError as exc:
                cause = ErrorCause.CLIENT_ERROR
                out.add(warning_line(exc.code, exc.message, exc.detail))
        lines = [_line(work, index, sample) for index, sample in enumerate(result.samples)]
        if cause is not None:
            lost: ClientSample = {
                "sent_s": work.clock.t_s(),
                "tokens_from": TokenSource.NONE.value,
                "error": cause.value,
                "error_detail": f"{self.name}: {end.detail}; {_last_lines(log)}"[:300],
            }
            lines = [_line(work, index, lost) for index in range(len(work.requests))]
        failures: dict[str, int] = {}
        for line in lines:
            out.add(line)
            if error := line.get("error"):
                failures[error] = failures.get(error, 0) + 1
        failed = sum(failures.values())
        ended: WorkloadEndedLine = {
            "kind": "workload_ended",
            "workload": workload.name,
            "repeat": config.repeat,
            "duration_s": round(result.duration_s, 6),
            "completed": len(lines) - failed,
            "failed": failed,
            "failures": failures,
            "warnings": list(result.warnings),
            "client_figures": end.figures,
        }
        out.add(ended)
        out.close()
        return 1 if cause is ErrorCause.CLIENT_ERROR else 0

    def _executed(self, config: LoadConfig, command: Sequence[str]) -> NodeCommand:
        """Return what to execute on the node. The files of a container's runtime were written for the server."""
        name = f"{self.name} {config.work_dir} {config.planned.workload.name} {config.repeat}"
        return node_command(self.container(config), command, _environment(), _KEY_VARIABLES, name=name)


@dataclass(frozen=True)
class _End:
    cause: ErrorCause | None  # None: the tool ended with exit code 0
    detail: str
    figures: dict[str, float]


def _wait(argv: Sequence[str], env: Mapping[str, str], log: Path, limit_s: float) -> _End:
    """Run `argv` in its own process group until it ends, SIGTERM arrives, or `limit_s` real seconds have passed."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    deadline_s = time.monotonic() + limit_s
    with log.open("wb") as file:
        process = subprocess.Popen(  # not a new session: the scheduler suspends it with the job
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, preexec_fn=os.setpgrp
        )
        while process.poll() is None and not stopped and time.monotonic() < deadline_s:
            time.sleep(0.05)
        late = process.poll() is None and not stopped
        if process.poll() is None:
            _end_group(process)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {"cpu_s": used.ru_utime + used.ru_stime, "rss_bytes": float(used.ru_maxrss * 1024)}
    if stopped:
        return _End(ErrorCause.ABORTED, "the load was stopped", figures)
    if late:
        return _End(ErrorCause.REQUEST_TIMEOUT, f"still running after {limit_s:.0f} s", figures)
    if process.returncode:
        return _End(ErrorCause.CLIENT_ERROR, f"exit code {process.returncode}", figures)
    return _End(None, "", figures)


def _remove(argv: Sequence[str]) -> None:
    """Execute the command that removes what a container may have left; it fails if nothing is left."""
    if argv:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_REMOVAL_S, check=False)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=_GRACE_S)
        except (subprocess.TimeoutExpired, ProcessLookupError):
            continue


def _key() -> str:
    """Return the API key; for a server without one, a key for the relay only."""
    return os.environ.setdefault(API_KEY_VARIABLE, secrets.token_hex(24))


def _environment() -> dict[str, str]:
    """Return this environment with the API key under the names that the tools read, and without downloads."""
    env = dict(os.environ)
    key = env.pop(API_KEY_VARIABLE, None)
    if key:
        env |= dict.fromkeys(_KEY_VARIABLES, key)
    return env | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def _limit_s(work: ClientWork) -> float:
    """Return the real seconds that the tool's start and all requests may take by their budgets."""
    arrival = work.config.planned.workload.arrival
    rounds = math.ceil(len(work.requests) / limit_of(work.config, len(work.requests)))
    offered_s = len(work.requests) / arrival.request_rate if arrival.request_rate else 0.0
    return STARTUP_S + work.clock.real(offered_s + rounds * work.config.request_timeout_s)


def _line(work: ClientWork, index: int, sample: ClientSample) -> SampleLine:
    """Return the record of one request; what the tool does not report comes from the request."""
    request = work.requests[index] if index < len(work.requests) else None
    cold = work.cold[index] if index < len(work.cold) else None
    line: SampleLine = {
        "kind": "sample",
        "workload": work.config.planned.workload.name,
        "repeat": work.config.repeat,
        "sample": request.sample if request else str(index),
        "index": index,
        "prompt_tokens": request.prompt_tokens if request else None,
        "cold": cold.value if cold else None,
    }
    return {**line, **sample}


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-3:] if line.strip())


def read_json(path: Path, client: str) -> Any:
    """Return the content of a tool's result file. Raises DatasetError."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise DatasetError(
            f"{client}: cannot read its result {path}", code="client_result_unreadable", detail=str(exc)
        ) from exc

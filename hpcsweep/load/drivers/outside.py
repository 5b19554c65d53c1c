"""Running another tool's load client: its process, its time limit, its result as the records of our own.

Such a tool tells nothing before it has ended, and some wait for hours on a stall: it gets as long as the requests may
take by their budgets, then its whole process group is ended.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hpcsweep.errors import DatasetError
from hpcsweep.load.client.clock import Clock
from hpcsweep.load.client.gate import Gate
from hpcsweep.load.client.lines import LineWriter
from hpcsweep.load.config import API_KEY_VARIABLE, LoadConfig
from hpcsweep.load.datasets.base import SampleRequest
from hpcsweep.load.prepare import colds, limit_of, requests_of

STARTUP_S = 600.0
RELAY_COST = "which adds to every time that it measured (docs/load.md)"
_GRACE_S = 5.0


@dataclass(frozen=True)
class ClientWork:
    """A workload for another tool. `folder`: for its files, inside the attempt's."""

    config: LoadConfig
    requests: list[SampleRequest]
    colds: list[str | None]
    folder: Path
    warnings: list[str]

    @property
    def clock(self) -> Clock:
        """The attempt's clock."""
        return Clock(self.config.time_scale, self.config.clock_origin_s)


@dataclass(frozen=True)
class ClientResult:
    """What the tool gave: records without the common fields, by index; `duration_s` on the tool's own account."""

    samples: Iterable[Mapping[str, Any]]
    duration_s: float
    warnings: tuple[str, ...] = ()


def run_outside(
    config: LoadConfig,
    client: str,
    argv_of: Callable[[ClientWork], list[str]],
    read: Callable[[ClientWork], ClientResult],
) -> int:
    """Run the tool and write the records of the workload. 0: done or told to stop; 1: the tool failed.

    `argv_of` writes what the tool needs into the folder and gives its command; `read` reads its result, raising
    DatasetError when there is none.
    """
    workload = config.planned.workload
    warmups, measured, told = requests_of(config)
    folder = Path(config.work_dir) / f"{client}-{workload.name}-{config.repeat}"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if config.socket_path is not None:
            told.append(
                f"{client} cannot use a Unix socket: its requests passed through a relay of hpcsweep, {RELAY_COST}"
            )
            gate = stack.enter_context(Gate(config.socket_path, _key()))
            config = config.model_copy(update={"base_url": gate.url})
        work = ClientWork(config, measured, colds(config, warmups, measured)[len(warmups) :], folder, told)
        return _run(work, client, argv_of, read)


def _run(
    work: ClientWork,
    client: str,
    argv_of: Callable[[ClientWork], list[str]],
    read: Callable[[ClientWork], ClientResult],
) -> int:
    config, told, folder, measured = work.config, work.warnings, work.folder, work.requests
    workload = config.planned.workload
    argv = argv_of(work)
    out = LineWriter(sys.stdout.fileno())
    for message in told:
        out.add({"kind": "warning", "message": message})
    common = {"workload": workload.name, "repeat": config.repeat}
    out.add({"kind": "workload_started", **common, "samples_total": len(measured), "client": client})
    out.flush()
    end = _wait(argv, _environment(), folder / "client.log", _limit_s(work))
    outcome, cause = ClientResult((), 0.0), end.cause
    if cause is None:
        try:
            outcome = read(work)
        except DatasetError as exc:
            cause = "client_error"
            out.add({"kind": "warning", "message": exc.message, "detail": exc.detail})
    records = [_record(work, index, sample) for index, sample in enumerate(outcome.samples)]
    if cause is not None:
        detail = f"{client}: {end.told}; {_last_lines(folder / 'client.log')}"
        lost = {"sent_s": work.clock.t_s(), "tokens_from": "none", "error": cause, "error_detail": detail[:300]}
        records = [_record(work, index, lost) for index in range(len(measured))]
    for record in records:
        out.add({"kind": "sample", **common, **record})
    failures: dict[str, int] = {}
    for record in records:
        if record.get("error"):
            failures[record["error"]] = failures.get(record["error"], 0) + 1
    failed = sum(failures.values())
    out.add(
        {
            "kind": "workload_ended",
            **common,
            "duration_s": round(outcome.duration_s, 6),
            "completed": len(records) - failed,
            "failed": failed,
            "failures": failures,
            "warnings": list(outcome.warnings),
            "client_figures": end.figures,
        }
    )
    out.close()
    return 1 if cause == "client_error" else 0


@dataclass(frozen=True)
class _End:
    cause: str | None  # None: it ended by itself, with 0
    told: str
    figures: dict[str, float]


def _wait(argv: Sequence[str], env: Mapping[str, str], log: Path, limit_s: float) -> _End:
    """Run `argv` in a process group of its own until it ends, SIGTERM comes, or `limit_s` is over."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    deadline_s = time.monotonic() + limit_s
    with log.open("wb") as file:
        process = subprocess.Popen(  # a group, not a session: it must be suspended together with the job
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
        return _End("aborted", "told to stop", figures)
    if late:
        return _End("request_timeout", f"not ended after {limit_s:.0f} s", figures)
    if process.returncode:
        return _End("client_error", f"exit code {process.returncode}", figures)
    return _End(None, "", figures)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=_GRACE_S)
        except (subprocess.TimeoutExpired, ProcessLookupError):
            continue


def _key() -> str:
    """Return the API key; for a server without one, a key for the relay alone."""
    return os.environ.setdefault(API_KEY_VARIABLE, secrets.token_hex(24))


def _environment() -> dict[str, str]:
    """Ours, with the API key under the name that these tools read, and no fetching of models or data."""
    env = dict(os.environ)
    key = env.pop(API_KEY_VARIABLE, None)
    if key:
        env["OPENAI_API_KEY"] = env["GUIDELLM__SPEC__BACKEND__API_KEY"] = key
    return env | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def _limit_s(work: ClientWork) -> float:
    """Real seconds in which all requests end if each keeps its budget, and the tool starts."""
    arrival = work.config.planned.workload.arrival
    rounds = math.ceil(len(work.requests) / limit_of(work.config, len(work.requests)))
    offered_s = len(work.requests) / arrival.request_rate if arrival.request_rate else 0.0
    return STARTUP_S + work.clock.real(offered_s + rounds * work.config.request_timeout_s)


def _record(work: ClientWork, index: int, sample: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one sample; those of the request where the tool does not tell them."""
    request = work.requests[index] if index < len(work.requests) else None
    known = {
        "sample": request.sample if request else str(index),
        "index": index,
        "prompt_tokens": request.prompt_tokens if request else None,
        "cold": work.colds[index] if index < len(work.colds) else None,
    }
    return {**known, **sample}


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-3:] if line.strip())


def read_json(path: Path, client: str) -> Any:
    """The result file of a tool. Raises DatasetError."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise DatasetError(f"{client} left no result that can be read: {path}", detail=str(exc)) from exc

"""Sweep folders as submit and the agents leave them, for tests of the store and for the benchmark."""

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcsweep.node.records import write_json
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.job import ArrayTask, JobSpec, PlannedWorkload, Resources, RunSpec
from hpcsweep.spec.server import EngineSettings, ServerConfig
from hpcsweep.spec.workload import DatasetFacts, DatasetSpec, Workload
from hpcsweep.sweep.layout import SweepFolder
from hpcsweep.sweep.submission import Submission

STARTED_AT = 1_790_000_000.0
STARTUP = (
    ("launch", 0.0, 3600.0, ""),
    ("engine_init", 4.0, None, "Initializing a V1 LLM engine"),
    ("load_weights", 20.0, 900.0, "Starting to load model zai-org/GLM-4.6..."),
    ("compile", 175.0, 1200.0, "Start compiling function"),
    ("kv_cache", 220.0, None, "GPU KV cache size: 1,234,560 tokens"),
    ("warmup", 230.0, None, ""),
)
READY_S = 250.0


@dataclass
class AttemptLines:
    """Writes events of one attempt as the agent does: numbered, stamped, a JSON object a line."""

    run_id: str
    attempt: int = 1
    started_at: float = STARTED_AT
    lines: list[str] = field(default_factory=list)

    def add(self, kind: str, t_s: float, **fields: Any) -> "AttemptLines":
        """One event at `t_s` of the attempt."""
        stamp = {"run_id": self.run_id, "attempt": self.attempt, "seq": len(self.lines)}
        event = stamp | {"at": round(self.started_at + t_s, 6), "t_s": round(t_s, 6), "kind": kind} | fields
        self.lines.append(json.dumps(event, separators=(",", ":")))
        return self

    def started(self, **fields: Any) -> "AttemptLines":
        """The first event."""
        known = {
            "host": "gpu01",
            "pid": 4711,
            "job_id": "12_0",
            "engine": "vllm",
            "simulated": False,
            "gpus": ["0", "1"],
            "gpu_name": "NVIDIA H200",
            "argv": ["vllm", "serve", "zai-org/GLM-4.6", "--port", "8000"],
            "env": {"VLLM_CACHE_ROOT": "/cache/it's here"},
            "versions": {"engine": "0.11.0"},
        }
        return self.add("attempt_started", 0.0, **(known | fields))

    def startup(self, phases: Iterable[tuple[str, float, float | None, str]] = STARTUP) -> "AttemptLines":
        """The phases up to ready, and the facts read on the way."""
        for phase, t_s, budget_s, evidence in phases:
            self.add("phase_entered", t_s, phase=phase, budget_s=budget_s, evidence=evidence)
        self.add("fact", 175.0, name="load_s", value=155.0, unit="s", source="log")
        self.add("fact", 176.0, name="weights_bytes_per_gpu", value=88691404800, unit="bytes", source="log")
        self.add("fact", 221.0, name="attention_backend", value="FLASH_ATTN", source="log")
        self.add("fact", 222.0, name="compile_cache_hit", value=True, source="log")
        self.add("server_ready", READY_S, startup_s=READY_S)
        self.add("phase_entered", READY_S, phase="ready")
        return self.add("phase_entered", READY_S + 1, phase="measure")

    def workload(
        self, name: str, samples: int, *, repeat: int = 1, chunks: int = 16, seed: int = 0, slower: float = 1.0
    ) -> "AttemptLines":
        """A whole workload: one request at a time, every one good. `slower`: factor on every time."""
        rng = random.Random(seed)
        start_s = t_s = READY_S + 2 + 1000 * (repeat - 1)
        self.add("workload_started", t_s, workload=name, repeat=repeat, samples_total=samples, cache_reset=True)
        for index in range(samples):
            t_s = self.sample(name, index, t_s, repeat=repeat, chunks=chunks, rng=rng, slower=slower)
        took_s = round(t_s - start_s, 6)
        return self.add(
            "workload_ended", t_s, workload=name, repeat=repeat, duration_s=took_s, completed=samples, failed=0
        )

    def sample(
        self,
        workload: str,
        index: int,
        sent_s: float,
        *,
        rng: random.Random,
        chunks: int = 16,
        slower: float = 1.0,
        **fields: Any,
    ) -> float:
        """One sample; `t_s` of its end."""
        ttft_s = round(slower * (0.2 + 0.1 * rng.random()), 6)
        gaps = [round(slower * (0.01 + 0.002 * rng.random()), 6) for _ in range(chunks - 1)]
        e2e_s = round(ttft_s + sum(gaps), 6)
        known = {
            "workload": workload,
            "repeat": 1,
            "sample": f"{workload}-{index}",
            "index": index,
            "sent_s": round(sent_s, 6),
            "prompt_tokens": 6100,
            "completion_tokens": chunks,
            "tokens_from": "usage",
            "cached_tokens": None,
            "ttft_s": ttft_s,
            "e2e_s": e2e_s,
            "itl_s": gaps,
            "lateness_s": 0.0,
            "finish_reason": "length",
            "warmup": False,
            "cold": "first_of_server" if index == 0 else None,
            "error": None,
            "error_detail": "",
        }
        self.add("sample", sent_s + e2e_s, **(known | fields))
        return sent_s + e2e_s

    def ended(self, outcome: str = "completed", t_s: float = 3000.0, **fields: Any) -> "AttemptLines":
        """Teardown and the outcome."""
        self.add("phase_entered", t_s - 5, phase="teardown")
        return self.add("attempt_ended", t_s, outcome=outcome, **fields)

    def text(self) -> str:
        """All lines so far."""
        return "".join(line + "\n" for line in self.lines)


@dataclass(frozen=True)
class MadeSweep:
    """A sweep folder in a home."""

    folder: SweepFolder
    labels: tuple[str, ...]

    def attempt_dir(self, label: str, attempt: int = 1) -> Path:
        """The folder of an attempt."""
        return self.folder.path / "runs" / label / f"attempt-{attempt}"

    def lines(self, label: str, attempt: int = 1) -> AttemptLines:
        """A writer of events for an attempt."""
        return AttemptLines(f"{self.folder.name}/{label}", attempt)

    def write(self, label: str, lines: AttemptLines, attempt: int = 1, *, end: str | None = None) -> Path:
        """Make the attempt's folder with these events, and exit.json when `end` names an outcome."""
        folder = self.attempt_dir(label, attempt)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "events.jsonl").write_text(lines.text(), encoding="utf-8")
        if end is not None:
            write_json(folder / "exit.json", {"outcome": end, "reason": "so it was", "evidence": [], "killed": []})
        return folder


def make_sweep(
    home: Path,
    name: str = "exp_runner-0001",
    axes: dict[str, list[str]] | None = None,
    *,
    samples: int = 3,
    submitted: bool = True,
    submitted_at: float = STARTED_AT - 60,
    scheduler: str = "slurm",
) -> MadeSweep:
    """A sweep with a run for every point of the grid, one array job, and no attempt yet."""
    axes = axes if axes is not None else {"ep": ["on", "off"], "eager": ["yes", "no"]}
    folder = SweepFolder(home / "sweeps" / name)
    job_dir = folder.job_dir(0)
    job_dir.mkdir(parents=True)
    points = list(_points(axes))
    labels = ["_".join(f"{axis}-{level}" for axis, level in point.items()) for point in points]
    specs = [_run(name, folder.path, label, point, samples) for label, point in zip(labels, points, strict=True)]
    job = JobSpec(
        sweep=name,
        job=0,
        sweep_dir=str(folder.path),
        name=name,
        scheduler=scheduler,
        resources=Resources(gpus=8, gpu_type="h200", walltime_s=7200),
        array_tasks=[ArrayTask(index=index, runs=[spec]) for index, spec in enumerate(specs)],
        cache_dir=str(home / "cache"),
    )
    (job_dir / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
    (job_dir / "job.sh").write_text("#!/bin/bash\nexec true\n", encoding="utf-8")
    for label in labels:
        (folder.path / "runs" / label).mkdir(parents=True)
    write_json(folder.path / "sweep.json", _document(name, axes, specs, submitted_at, scheduler))
    if submitted:
        mark_submitted(folder, 0, "12", len(specs))
    return MadeSweep(folder, tuple(labels))


def mark_submitted(folder: SweepFolder, job: int, job_id: str, array_tasks: int, cancelled: Iterable[int] = ()) -> None:
    """Write submission.json."""
    submission = Submission(
        job_id=job_id,
        cluster="h200",
        scheduler="slurm",
        submitted_at=STARTED_AT - 60,
        array_tasks=array_tasks,
        cancelled=list(cancelled),
    )
    folder.write_submission(job, submission)


def retry(sweep: MadeSweep, label: str, *, known_attempts: int, job_id: str = "13") -> None:
    """A second job that carries one run of the first again."""
    job_dir = sweep.folder.job_dir(1)
    job_dir.mkdir()
    job = sweep.folder.read_job(0)
    spec = next(run for element in job.array_tasks for run in element.runs if run.label == label)
    again = spec.model_copy(update={"attempt_offset": known_attempts})
    job = job.model_copy(update={"job": 1, "array_tasks": [ArrayTask(index=0, runs=[again])]})
    (job_dir / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
    mark_submitted(sweep.folder, 1, job_id, 1)


def finish(sweep: MadeSweep, *, samples: int, chunks: int = 16) -> None:
    """One completed attempt for every run."""
    for number, label in enumerate(sweep.labels):
        lines = sweep.lines(label).started(job_id=f"12_{number}").startup()
        lines.workload("8k", samples, chunks=chunks, seed=number)
        sweep.write(label, lines.ended(), end="completed")


def _points(axes: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    for levels in itertools.product(*axes.values()):
        yield dict(zip(axes, levels, strict=True))


def _run(sweep: str, sweep_dir: Path, label: str, point: dict[str, str], samples: int) -> RunSpec:
    server = ServerConfig(
        engine="vllm",
        model="zai-org/GLM-4.6",
        settings=EngineSettings(tensor_parallel_size=8, max_model_len=32768),
        env={f"AXIS_{axis.upper()}": level for axis, level in point.items()},
    )
    workload = Workload(name="8k", dataset=DatasetSpec(kind="samples"), max_tokens=512, ignore_eos=False)
    facts = DatasetFacts(requests=samples, files={"8k.json": "ab" * 32})
    large = Workload(name="64k", dataset=DatasetSpec(kind="samples"), max_tokens=512, ignore_eos=False)
    return RunSpec(
        run_id=f"{sweep}/{label}",
        label=label,
        variant_id=server.variant_id,
        axes=point,
        server=server,
        workloads=[
            PlannedWorkload(workload=workload, facts=facts),
            PlannedWorkload(workload=large, facts=DatasetFacts(requests=2), left_out="does not fit"),
        ],
        budgets=Budgets(),
        run_dir=str(sweep_dir / "runs" / label),
        gpus=8,
    )


def _document(
    name: str, axes: dict[str, list[str]], specs: list[RunSpec], submitted_at: float, scheduler: str
) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "sweep": name,
        "experiment": {"name": name.rpartition("-")[0], "notes": ["a note"], "objective": {"metric": "tps"}},
        "title": "GLM-4.6 on 8x H200",
        "cluster": "h200",
        "profile": {"scheduler": scheduler},
        "submitted_at": submitted_at,
        "axes": axes,
        "baseline": {axis: levels[0] for axis, levels in axes.items()},
        "versions": {"hpcsweep": "0.1.0"},
        "provenance": {"git_revision": "0123abcd"},
        "simulated": False,
        "runs": [
            {
                "label": spec.label,
                "variant_id": spec.variant_id,
                "repeat": 1,
                "axes": spec.axes,
                "engine": "vllm",
                "model": "zai-org/GLM-4.6",
                "gpus": 8,
                "job": 0,
                "index": index,
                "not_submitted": False,
                "outcome": None,
                "state_reason": "",
            }
            for index, spec in enumerate(specs)
        ],
        "not_run": [{"title": "FP8 on one node", "axes": {}, "reason": "no FP8 checkpoint at hand"}],
    }

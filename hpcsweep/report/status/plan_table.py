"""A plan before it is submitted: the table of runs, reasons, GPU-hours, and the exact script."""

from typing import IO, Any

from rich.table import Table

from hpcsweep.report.console import make_console, safe_text
from hpcsweep.spec.container import Container
from hpcsweep.spec.file_names import COMMANDS_FILE
from hpcsweep.spec.job import JobSpec
from hpcsweep.sweep.checks import container_of
from hpcsweep.sweep.prepare import Prepared, Rendered
from hpcsweep.terminal_text import printable
from hpcsweep.units import counted, format_duration


def plan_document(prepared: Prepared, rendered: Rendered) -> dict[str, Any]:
    """Return the JSON of `submit --dry-run --json`."""
    document = rendered.document.model_dump(mode="json")
    return {
        "sweep": rendered.name,
        "cluster": prepared.cluster_name,
        "simulated": sorted(prepared.simulated),
        "containers": [
            {"engine": engine, "runtime": container.runtime, "image": container.image}
            for engine, container in _containers(prepared)
        ],
        "gpu_hours_max": rendered.gpu_hours,
        "runs": [run | {"planned_only": run["not_submitted"]} for run in document["runs"]],
        "not_run": document["not_run"],
        "jobs": [
            {
                "job": job.job,
                "array_tasks": len(job.array_tasks),
                "elements": len(job.array_tasks),
                "resources": job.resources.model_dump(),
                "script": f.script,
                "preparation": job.preparation and {"name": job.preparation.name, "creates": job.preparation.creates},
                "commands": f.scripts.get(COMMANDS_FILE),
                "needs": job.needs,
            }
            for job, f in zip(rendered.jobs, rendered.files, strict=True)
        ],
        "warnings": list(prepared.warnings),
    }


def print_plan(prepared: Prepared, rendered: Rendered, stream: IO[str]) -> None:
    """Print the plan as text."""
    console = make_console(stream)
    tasks_of = {
        run.label: f"{job.job}/{element.index}"
        for job in rendered.jobs
        for element in job.array_tasks
        for run in element.runs
    }
    runs = counted(len(prepared.runs), "run")
    table = Table(title=safe_text(f"{rendered.name} on {prepared.cluster_name}: {runs}"), title_justify="left")
    for column in ("run", "job/task", "GPUs", "workloads", "left out"):
        table.add_column(column, overflow="fold", no_wrap=column == "run")
    for run in prepared.runs:
        sent = [p.workload.name for p in run.workloads if p.left_out is None]
        out = [f"{p.workload.name}: n/a: {p.left_out.kind.value}" for p in run.workloads if p.left_out]
        if run.refused is not None:
            sent, out = [], [f"NOT SUBMITTED: {run.refused}"]
        cells = (run.label, tasks_of.get(run.label, "-"), str(run.gpus), ", ".join(sent) or "-", "; ".join(out))
        table.add_row(*map(safe_text, cells))
    console.print(table)
    for name, reason in _left_out(prepared):
        console.print(safe_text(f"{name}: n/a: {reason}"))
    for entry in rendered.document.not_run:
        console.print(safe_text(f"not run: {entry.title}: {entry.reason}"))
    for engine, profile in prepared.simulated.items():
        console.print(safe_text(f"SIMULATED: {engine} is replaced by the simulated engine ({profile.name})"))
    for engine, container in _containers(prepared):
        console.print(safe_text(f"container of {engine}: {container.runtime}, image {container.image}"))
    for warning in prepared.warnings:
        console.print(safe_text(f"warning: {warning}"))
    steps = [job for job in rendered.jobs if job.preparation is not None]
    for step in steps:
        console.print(safe_text(_preparation_line(step, rendered)))
    tasks = sum(len(job.array_tasks) for job in rendered.jobs)
    what = f"{counted(len(rendered.jobs), 'submission')}, {counted(tasks, 'array task')}"
    console.print(f"{what}, at most {rendered.gpu_hours:.1f} GPU-hours (GPUs x walltime)")
    for job, files in zip(rendered.jobs, rendered.files, strict=True):
        for name, text in files.scripts.items():
            stream.write(f"\n--- jobs/{job.job}/{name}\n{printable(text)}")


def _containers(prepared: Prepared) -> list[tuple[str, Container]]:
    """Return (engine, its container) of the runs that are submitted, each once; simulated engines have none."""
    containers: dict[tuple[str, str, str | None], Container] = {}
    for run in prepared.runs:
        engine = run.server.engine
        if run.refused is None and engine not in prepared.simulated:
            container = container_of(run.server, prepared.cluster, prepared.experiment)
            if container is not None:
                containers.setdefault((engine, str(container.runtime), container.image), container)
    return [(engine, container) for (engine, _, _), container in containers.items()]


def _preparation_line(step: JobSpec, rendered: Rendered) -> str:
    name = step.preparation.name if step.preparation is not None else ""
    waiting = [job for job in rendered.jobs if name in job.needs and job.preparation is None]
    runs = counted(sum(len(task.runs) for job in waiting for task in job.array_tasks), "run")
    walltime = format_duration(step.resources.walltime_s)
    return f"preparation {name}: jobs/{step.job}, {counted(step.resources.gpus, 'GPU')}, {walltime}, before {runs}"


def _left_out(prepared: Prepared) -> list[tuple[str, str]]:
    """Return each (workload, reason) that is not sent, once."""
    reasons = {(p.workload.name, p.left_out): None for run in prepared.runs for p in run.workloads if p.left_out}
    return [(name, str(reason)) for name, reason in reasons]

"""`hpcsweep export`: write the recommended configuration, or another one, as a command, script or manifest."""

from pathlib import Path

import click

from hpcsweep.analysis.decision.commands import serve_command
from hpcsweep.analysis.rows import RunRow, SweepRow
from hpcsweep.analysis.summary import analyse
from hpcsweep.api.results import load_rows, write_output
from hpcsweep.cli.context import session
from hpcsweep.cli.output import note, say, warn
from hpcsweep.cli.params import duration_s
from hpcsweep.report.export import KINDS, Service, export_text, find_variant
from hpcsweep.report.formats.llmd_report import KIND as LLMD
from hpcsweep.report.formats.llmd_report import llmd_reports
from hpcsweep.report.serving import MeasuredContainer, measured_launch
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import Resources
from hpcsweep.track.refresh import Session

_DAY_S = 86400.0


@click.command()
@click.argument("variant", metavar="VARIANT")
@click.argument("sweep", required=False)
@click.option(
    "--to", "kind", type=click.Choice((*KINDS, LLMD)), default="command", show_default=True, help="Kind of output."
)
@click.option(
    "--walltime",
    "walltime_s",
    callback=duration_s,
    help="Walltime of the batch script, such as 24h.  [default: that of the measurement]",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.pass_context
def export(
    ctx: click.Context, variant: str, sweep: str | None, kind: str, walltime_s: float | None, output: Path | None
) -> None:
    """Write a configuration for production.

    VARIANT is `best` (the recommended variant), a short name such as E03, or a label from the report. SWEEP defaults to
    the latest sweep. Batch scripts use the cluster profile of the sweep.

    `--to llm-d-report` writes the measurements instead: an llm-d benchmark report (0.2) per run and workload.
    """
    with session(ctx) as opened:
        rows = load_rows(opened, sweep, warn)
        findings = analyse(rows)
        chosen = find_variant(findings, variant)
        if kind == LLMD:
            _write(llmd_reports(findings, chosen), output, f"{chosen.short_name} ({chosen.name}) as {kind}")
            return
        run = next(run for run in rows.runs if run.variant_id == chosen.variant)
        resources, cluster, env_from = _job_of(opened, rows, run)
    measured_in = run.last.fact("container") if run.last is not None else None
    container = None
    if run.last is not None and measured_in is not None:
        container = MeasuredContainer(str(measured_in.value), measured_launch(run.last.attempt_dir))
    service = Service(findings, chosen, serve_command(run), resources, cluster, container, env_from)
    text = export_text(service, kind, walltime_s=walltime_s)
    _write(text, output, f"{chosen.short_name} ({chosen.name}) as {kind}")


def _write(text: str, output: Path | None, what: str) -> None:
    """Write the text to a file; None: to standard output. Raises ReportError."""
    if output is None:
        say(text, nl=False)
        return
    write_output(output, lambda file: file.write(text))
    note(f"{output}: {what}")


def _job_of(opened: Session, sweep: SweepRow, run: RunRow) -> tuple[Resources, Cluster, tuple[str, ...]]:
    """Return resources, cluster profile and `env_from` of the run's job; without a sweep folder, those of the run."""
    if sweep.sweep in opened.home.sweep_names():
        folder = opened.home.sweep(sweep.sweep)
        cluster = opened.cluster(folder)
        position = folder.current_tasks().get(run.run)
        if position is not None:
            job = folder.read_job(position[0])
            return job.resources, cluster, tuple(job.env_from)
    else:
        cluster = Cluster()
    nodes = max(run.nodes, 1)
    return Resources(nodes=nodes, gpus=run.gpus // nodes, gpu_type=run.gpu_type, walltime_s=_DAY_S), cluster, ()

"""`hpcsweep export`: the recommended configuration, or another one, as something to run."""

from pathlib import Path

import click

from hpcsweep import privacy
from hpcsweep.analysis.decision.commands import serve_command
from hpcsweep.analysis.rows import RunRow, SweepRow
from hpcsweep.analysis.summary import analyse
from hpcsweep.cli.commands.report import load_rows
from hpcsweep.cli.context import session
from hpcsweep.cli.output import say
from hpcsweep.cli.params import duration_s
from hpcsweep.errors import ReportError
from hpcsweep.report.export import KINDS, Service, export_text, find_variant
from hpcsweep.report.formats.llmd_report import KIND as LLMD
from hpcsweep.report.formats.llmd_report import llmd_reports
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import Resources
from hpcsweep.track.refresh import Session

_DAY_S = 86400.0


@click.command()
@click.argument("variant", metavar="VARIANT")
@click.argument("sweep", required=False)
@click.option(
    "--to", "kind", type=click.Choice((*KINDS, LLMD)), default="command", show_default=True, help="What to write."
)
@click.option(
    "--walltime",
    "walltime_s",
    callback=duration_s,
    help="Of the batch script, such as 24h.  [default: as the measurement asked for]",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write into this file.")
@click.pass_context
def export(
    ctx: click.Context, variant: str, sweep: str | None, kind: str, walltime_s: float | None, output: Path | None
) -> None:
    """Write a configuration as something to run in production.

    VARIANT is `best` (what the report recommends), or a short name such as E03 or a label of the report. SWEEP: the
    latest one by default. The batch scripts use the cluster profile that the sweep ran under.

    `--to llm-d-report` writes what was measured instead: a benchmark report (0.2) of llm-d for each run and workload.
    """
    with session(ctx) as opened:
        rows = load_rows(opened, sweep)
        findings = analyse(rows)
        chosen = find_variant(findings, variant)
        if kind == LLMD:
            _write(llmd_reports(findings, chosen), output, f"{chosen.short_name} ({chosen.name}) as {kind}")
            return
        run = next(run for run in rows.runs if run.variant_id == chosen.variant)
        resources, cluster = _asked(opened, rows, run)
    service = Service(findings, chosen, serve_command(run), resources, cluster)
    text = export_text(service, kind, walltime_s=walltime_s)
    _write(text, output, f"{chosen.short_name} ({chosen.name}) as {kind}")


def _write(text: str, output: Path | None, what: str) -> None:
    """Write the text to a file, or to standard output where none is named. Raises ReportError."""
    if output is None:
        say(text, nl=False)
        return
    try:
        with privacy.users_umask():
            output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ReportError(f"{output} cannot be written: {exc.strerror}") from exc
    say(f"{output}: {what}", err=True)


def _asked(opened: Session, sweep: SweepRow, run: RunRow) -> tuple[Resources, Cluster]:
    """What the run's job asked for, and the profile it ran under; from the run itself where the folder is gone."""
    label = run.run.removeprefix(f"{run.sweep}/")
    if sweep.sweep in opened.home.sweep_names():
        folder = opened.home.sweep(sweep.sweep)
        cluster = opened.cluster(folder)
        place = folder.current_tasks().get(label)
        if place is not None:
            return folder.read_job(place[0]).resources, cluster
    else:
        cluster = Cluster()
    nodes = max(run.nodes, 1)
    return Resources(nodes=nodes, gpus=run.gpus // nodes, gpu_type=run.gpu_type, walltime_s=_DAY_S), cluster

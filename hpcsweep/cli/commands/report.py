"""`hpcsweep report`: a sweep's findings, in one of the formats."""

import sys
from pathlib import Path

import click

from hpcsweep.analysis.summary import analyse
from hpcsweep.api.results import choose_format, load_rows, no_collection, write_report
from hpcsweep.cli.context import session
from hpcsweep.cli.output import note, warn
from hpcsweep.errors import ReportError
from hpcsweep.report.formats.registry import ReportOptions


@click.command()
@click.argument("sweep", required=False)
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    help="terminal, markdown, json, html, csv (a row per sample), csv-runs (a row per run and workload), or the format "
    "of a plugin.  [default: by the ending of --output, else terminal]",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option(
    "--full/--brief",
    "full",
    default=None,
    help="Every chapter, or the first screen only.  [default: --brief on the terminal, --full for markdown]",
)
@click.pass_context
def report(
    ctx: click.Context, sweep: str | None, format_name: str | None, output: Path | None, full: bool | None
) -> None:
    """Report a sweep: summary, recommendation, startup, effects, every run.

    SWEEP is a name that `hpcsweep status` shows; the default is the latest sweep. New results in the run folders are
    read first, so the report of a running sweep is current.
    """
    try:
        chosen = choose_format(format_name, output, default="terminal")
    except ReportError as exc:
        if exc.code == "unknown_ending":
            raise click.UsageError(f"{exc.message}: add --format") from exc
        raise
    if full is not None and "full" not in chosen.options:
        raise click.UsageError(f"--full and --brief do not apply to the format {chosen.name}")
    options = ReportOptions(full)
    with session(ctx) as opened, no_collection():
        findings = analyse(load_rows(opened, sweep, warn, telemetry=chosen.telemetry))
        if output is not None:
            write_report(chosen, findings, output, options)
            note(f"{output}: {findings.sweep.sweep} as {chosen.name}")
            return
    chosen.write(findings, sys.stdout, options)

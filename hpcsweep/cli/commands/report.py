"""`hpcsweep report`: a sweep's findings, in one of the formats."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from hpcsweep import privacy
from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.rows import SweepRow
from hpcsweep.analysis.summary import analyse
from hpcsweep.cli.context import session
from hpcsweep.cli.output import say
from hpcsweep.errors import ReportError
from hpcsweep.report.formats.registry import DEFAULTS, Format, ReportOptions, format_of_file, get_format
from hpcsweep.track.refresh import Session
from hpcsweep.track.sweep_rows import load_sweep


@click.command()
@click.argument("sweep", required=False)
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    help="terminal, markdown, json, csv (one row a sample), csv-runs, html, or one of a plugin.  "
    "[default: by the ending of --output, else terminal]",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write into this file.")
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
    """Report a sweep: summary, startup, effects, recommendation, every run.

    SWEEP is a name as `hpcsweep status` shows it; without one: the latest sweep. What is new in the run folders is
    read first, so a running sweep can be reported too.
    """
    chosen = _choose(format_name, output)
    if full is not None and "full" not in chosen.options:
        raise click.UsageError(f"--full and --brief do not apply to the format {chosen.name}")
    options = ReportOptions(full)
    with session(ctx) as opened, no_collection():
        findings = analyse(load_rows(opened, sweep, telemetry=chosen.telemetry))
    if output is None:
        chosen.write(findings, sys.stdout, options)
    else:
        write_file(chosen, findings, output, options)
        say(f"{output}: {findings.sweep.sweep} as {chosen.name}", err=True)


def _choose(name: str | None, output: Path | None) -> Format:
    by_ending = format_of_file(output.name) if output is not None and name is None else None
    if output is not None and name is None and by_ending is None:
        raise click.UsageError(f"{output}: no format has this ending; say --format")
    return by_ending or get_format(name or "terminal")


@contextmanager
def no_collection() -> Iterator[None]:
    """Without garbage collection: a sweep of a million samples is all live data, and looking for cycles in it over
    and over took a quarter of the time of a report."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def load_rows(opened: Session, name: str | None, *, telemetry: bool = False) -> SweepRow:
    """A sweep brought up to date; None: the latest one. One without a folder here (imported) is read as it is.

    Raises SpecError or StoreError, with the nearest names, for one that does not exist.
    """
    if name is None or name in opened.home.sweep_names():
        name = opened.home.sweep(name).name
        for trouble in opened.refresh([name]):
            say(f"warning: {trouble}", err=True)
    with opened.store.reading() as connection:
        return load_sweep(connection, name, telemetry=telemetry)


def write_file(chosen: Format, findings: Findings, output: Path, options: ReportOptions = DEFAULTS) -> None:
    """Write beside and rename, so that a reader never sees half a report. Raises ReportError."""
    beside = output.with_name(f".{output.name}.part")
    try:
        with privacy.users_umask(), beside.open("w", encoding="utf-8", newline="") as stream:
            chosen.write(findings, stream, options)
        beside.replace(output)
    except OSError as exc:
        beside.unlink(missing_ok=True)
        raise ReportError(f"{output} cannot be written: {exc.strerror}") from exc

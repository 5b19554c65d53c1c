"""Reports and measured values of a sweep: `hpcsweep.report` and `hpcsweep.load_results`."""

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from hpcsweep import privacy
from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.rows import SweepRow
from hpcsweep.analysis.summary import analyse
from hpcsweep.api.session import open_session, warn
from hpcsweep.errors import ReportError, nearest
from hpcsweep.report.formats.registry import DEFAULTS, FORMATS, Format, ReportOptions, format_of_file, get_format
from hpcsweep.track.refresh import Session
from hpcsweep.track.sweep_rows import load_sweep

if TYPE_CHECKING:
    from pandas import DataFrame

_TEXT_COLUMNS = re.compile(
    r"sweep|run|variant|exp|simulated|engine|model|host|state|outcome|phase|reason|workload|left_out|validity|validity_reasons|"
    r"client|compile_cache|sample|cold|error|tokens_from|finish_reason|axis_.*"
)
_QUOTED = re.compile(r"^'(?=[=+\-@\t\r])")
"""The apostrophe that the CSV formats put before text that a spreadsheet would run as a formula."""


def report(
    sweep: str | None = None,
    *,
    format: str | None = None,
    output: str | Path | None = None,
    full: bool | None = None,
    home: str | Path | None = None,
    store: str | None = None,
) -> str:
    """Return the report of a sweep (None: of the latest one) as text, and write it to the file `output` if given.

    `format`: markdown, html, json, csv, csv-runs, terminal or the format of a plugin; None: by the ending of `output`,
    else markdown. `full`: every chapter (True), or the first screen only (False); None: the format's default. Raises
    ReportError for an unknown format, SpecError or StoreError for a sweep that does not exist.
    """
    path = None if output is None else Path(output)
    chosen = choose_format(format, path, default="markdown")
    stream = StringIO()
    with open_session(home, store) as opened, no_collection():
        findings = analyse(load_rows(opened, sweep, warn, telemetry=chosen.telemetry))
        chosen.write(findings, stream, ReportOptions(full))
        text = stream.getvalue()
        if path is not None:
            write_output(path, lambda file: file.write(text))
    return text


def load_results(
    sweep: str | None = None,
    *,
    rows: Literal["samples", "runs"] = "samples",
    home: str | Path | None = None,
    store: str | None = None,
) -> "DataFrame":
    """Return the measured values of a sweep (None: of the latest one) as a pandas DataFrame.

    `rows`: `samples` for a row per request, `runs` for a row per run and workload with its statistics. The columns are
    those of `--format csv` and `--format csv-runs`, with the levels in `axis_NAME`; times are seconds; missing values
    are NaN in columns of numbers, else empty text. Raises ReportError without pandas (extra `hpcsweep[pandas]`), and
    what `report` raises.
    """
    kinds = {"samples": "csv", "runs": "csv-runs"}
    if rows not in kinds:
        raise ReportError(f"unknown kind of rows: {rows!r}", code="unknown_rows", hint=nearest(rows, kinds))
    try:
        import pandas
    except ImportError as exc:
        raise ReportError(
            "load_results needs pandas, which is not installed",
            code="pandas_missing",
            hint="pip install 'hpcsweep[pandas]'",
        ) from exc
    text = report(sweep, format=kinds[rows], home=home, store=store)
    columns = text[: text.index("\n")].split(",")
    as_text = [name for name in columns if _TEXT_COLUMNS.fullmatch(name)]
    numbers = {name: [""] for name in columns if name not in as_text}
    frame = pandas.read_csv(StringIO(text), dtype=dict.fromkeys(as_text, str), keep_default_na=False, na_values=numbers)
    for name in as_text:
        frame[name] = frame[name].str.replace(_QUOTED, "", regex=True)
    frame["simulated"] = frame["simulated"] == "SIMULATED"
    return frame


def choose_format(name: str | None, output: Path | None, default: str) -> Format:
    """Return the format that is named, else the one of the file's ending, else `default`. Raises ReportError."""
    if name is not None or output is None:
        return get_format(name or default)
    by_ending = format_of_file(output.name)
    if by_ending is None:
        raise ReportError(
            f"no report format has the ending of {output}",
            code="unknown_ending",
            hint=f"give a format: {', '.join(FORMATS.names())}",
        )
    return by_ending


def load_rows(
    opened: Session, name: str | None, on_warning: Callable[[str], None], *, telemetry: bool = False
) -> SweepRow:
    """Return the stored rows of a sweep (None: of the latest one) after reading what is new in its run folders.

    An imported sweep without a folder is read from the store as it is. Raises SpecError or StoreError, with the nearest
    names, for a sweep that does not exist.
    """
    if name is None or name in opened.home.sweep_names():
        name = opened.home.sweep(name).name
        for warning in opened.refresh([name]):
            on_warning(warning)
    with opened.store.reading() as connection:
        return load_sweep(connection, name, telemetry=telemetry)


def write_report(chosen: Format, findings: Findings, output: Path, options: ReportOptions = DEFAULTS) -> None:
    """Write a report to a file. Raises ReportError."""
    write_output(output, lambda file: chosen.write(findings, file, options))


def write_output(output: Path, write: Callable[[IO[str]], object]) -> None:
    """Write a file under a temporary name and rename it, so that no reader sees a part of it. Raises ReportError."""
    if output.exists() and not output.is_file():  # such as /dev/stdout
        with output.open("w", encoding="utf-8", newline="") as stream:
            write(stream)
        return
    part = output.with_name(f".{output.name}.part")
    try:
        with privacy.users_umask(), part.open("w", encoding="utf-8", newline="") as stream:
            write(stream)
        part.replace(output)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise ReportError(f"cannot write {output}: {exc.strerror}", code="output_not_writable") from exc


@contextmanager
def no_collection() -> Iterator[None]:
    """Switch off garbage collection: all data of a report is live, and searching it took a quarter of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()

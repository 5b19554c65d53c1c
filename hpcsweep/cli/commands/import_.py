"""`hpcsweep import`: import results of other tools and recompute them."""

import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from hpcsweep.atomic_files import write_json
from hpcsweep.check.report import recompute_all
from hpcsweep.cli.output import note, say_json
from hpcsweep.errors import HostError, ReportError, SpecError
from hpcsweep.events.log import EVENTS_FILE, EventLog
from hpcsweep.foreign_files import read_regular
from hpcsweep.imports.documents.model import ImportedDocument
from hpcsweep.imports.read_document import read_bytes
from hpcsweep.imports.sweep import imported_sweep
from hpcsweep.report.formats.terminal import write_document
from hpcsweep.report.imported import import_document, import_json
from hpcsweep.store.open import default_home
from hpcsweep.sweep.layout import SWEEP_FILE, Home, SweepFolder
from hpcsweep.sweep.prepare import versions
from hpcsweep.units import format_bytes

_LIMIT_BYTES = 256 << 20
"""Upper bound of results and reports: they are read and parsed in memory."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--as", "name", metavar="NAME", help="Also store them as sweep NAME, for `hpcsweep report` and `compare`."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/import.md).")
@click.pass_context
def import_(ctx: click.Context, files: tuple[Path, ...], name: str | None, as_json: bool) -> None:
    """Import results of other tools and recompute them.

    FILE is JSON or JSONL of `vllm bench serve`, `vllm bench sweep`, `sglang.bench_serving`, GuideLLM, AIPerf,
    GenAI-Perf, llmperf, inference-perf or InferenceX; an llm-d benchmark report; a log, Markdown document or text of a
    web page that contains their printed results; or Markdown tables of samples. `-` reads standard input.

    Each result is recomputed from its own figures. Inconsistencies and omissions are listed.

    Exit codes: 0 results were read, consistent or not (`hpcsweep check` judges); 1 no results were found.
    """
    imported = [read_file(file) for file in files]
    findings = [recompute_all(document) for document in imported]
    if as_json:
        say_json(json.dumps(import_json(imported, findings), indent=1, ensure_ascii=False))
    else:
        write_document(import_document(imported, findings), sys.stdout)
    empty = [document.file for document in imported if not (document.benchmarks or document.sample_tables)]
    if len(empty) == len(imported):
        raise ReportError(
            f"no results in {', '.join(empty)}", code="no_results", hint="docs/import.md lists the supported formats"
        )
    if name is not None:
        home = Home(Path((ctx.obj or {}).get("home") or default_home()).absolute())
        folder, left_out = write_sweep(home, name, imported)
        for text in left_out:
            note(f"not in the sweep: {text}")
        note(f"{folder.path}: `hpcsweep report {folder.name}` shows it")


def write_sweep(home: Home, name: str, imported: Sequence[ImportedDocument]) -> tuple[SweepFolder, tuple[str, ...]]:
    """Write an imported sweep below `home`; return its folder and what was left out.

    sweep.json is written last, so that no reader sees a part of the sweep. Raises SpecError for a bad or used name.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"invalid sweep name: {name!r}",
            code="invalid_sweep_name",
            hint="use at most 80 letters, digits, `.`, `_` and `-`",
        )
    made = imported_sweep(name, imported, time.time(), versions())
    home.make()
    folder = SweepFolder(home.sweeps_dir / name)
    try:
        folder.path.mkdir()
    except FileExistsError as exc:
        raise SpecError(
            f"sweep exists: {name} in {home.path}", code="sweep_exists", hint="choose another name"
        ) from exc
    try:
        for label, events in made.events.items():
            attempt = folder.path / "runs" / label / "attempt-1"
            attempt.mkdir(parents=True)
            with EventLog(attempt / EVENTS_FILE) as log:
                log.append_lines([event.model_dump_json() for event in events])
        write_json(folder.path / SWEEP_FILE, made.sweep.model_dump(mode="json"))
    except OSError as exc:
        raise HostError(f"cannot write {folder.path}: {exc.strerror}", code="sweep_not_writable") from exc
    return folder, made.left_out


def read_file(file: Path) -> ImportedDocument:
    """Read the results in a file; `-`: in standard input. Raises ReportError when it cannot be read."""
    if str(file) == "-":
        data = sys.stdin.buffer.read(_LIMIT_BYTES + 1)
        if len(data) > _LIMIT_BYTES:
            raise ReportError(f"standard input is larger than {format_bytes(_LIMIT_BYTES)}", code="file_too_large")
        return read_bytes(data, "standard input")
    try:
        return read_bytes(read_regular(file, _LIMIT_BYTES, follow=True), str(file))
    except OSError as exc:
        raise ReportError(f"cannot read {file}: {exc.strerror}", code="file_not_readable") from exc

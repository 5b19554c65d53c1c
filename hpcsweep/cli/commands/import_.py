"""`hpcsweep import`: results of other tools, recomputed."""

import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from hpcsweep.atomic_files import write_json
from hpcsweep.check.report import recompute_all
from hpcsweep.cli.output import say, say_json
from hpcsweep.errors import HostError, ReportError, SpecError
from hpcsweep.events.log import EVENTS_FILE, EventLog
from hpcsweep.foreign_files import read_regular
from hpcsweep.imports.documents.model import ImportedDocument
from hpcsweep.imports.documents.read_document import read_bytes
from hpcsweep.imports.sweep import imported_sweep
from hpcsweep.report.formats.terminal import write_document
from hpcsweep.report.imported import import_document, import_json
from hpcsweep.store.open import default_home
from hpcsweep.sweep.layout import SWEEP_FILE, Home, SweepFolder
from hpcsweep.sweep.prepare import versions
from hpcsweep.units import format_bytes

_LIMIT_BYTES = 256 << 20
"""Of results and reports: they are read whole, and taken apart in memory."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--as", "name", metavar="NAME", help="Also write them as a sweep NAME, for `hpcsweep report` and `compare`."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (see docs/import.md).")
@click.pass_context
def import_(ctx: click.Context, files: tuple[Path, ...], name: str | None, as_json: bool) -> None:
    """Read results of other tools, and recompute them.

    FILE: JSON or JSONL of `vllm bench serve`, `vllm bench sweep`, `sglang.bench_serving`, GuideLLM, AIPerf, GenAI-Perf,
    llmperf, inference-perf or InferenceX; a benchmark report of llm-d; a log, a Markdown document or the text of a web
    page with their printed blocks; Markdown tables of samples. `-` reads standard input.

    Every block is recomputed from its own figures. What does not add up, and what was not taken, is listed.

    Exit codes: 0 read, also when something does not add up (`hpcsweep check` judges); 1 nothing could be read.
    """
    found = [read_file(file) for file in files]
    findings = [recompute_all(each) for each in found]
    if as_json:
        say_json(json.dumps(import_json(found, findings), indent=1, ensure_ascii=False))
    else:
        write_document(import_document(found, findings), sys.stdout)
    empty = [each.file for each in found if not (each.benchmarks or each.sample_tables)]
    if len(empty) == len(found):
        raise ReportError(f"no result in {', '.join(empty)}", hint="docs/import.md lists what can be read")
    if name is not None:
        home = Home(Path((ctx.obj or {}).get("home") or default_home()).absolute())
        folder, left_out = write_sweep(home, name, found)
        for text in left_out:
            say(f"not in the sweep: {text}", err=True)
        say(f"{folder.path}: `hpcsweep report {folder.name}` shows it", err=True)


def write_sweep(home: Home, name: str, found: Sequence[ImportedDocument]) -> tuple[SweepFolder, tuple[str, ...]]:
    """Write an imported sweep below `home`; its folder, and what is not in it.

    The definition comes last, so that nobody reads half a sweep. Raises SpecError: the name is taken or no name.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(f"{name!r} is no name of a sweep", hint="letters, digits, `.`, `_` and `-`, at most 80")
    made = imported_sweep(name, found, time.time(), versions())
    home.make()
    folder = SweepFolder(home.sweeps_dir / name)
    try:
        folder.path.mkdir()
    except FileExistsError as exc:
        raise SpecError(f"there is a sweep {name} in {home.path}", hint="choose another name") from exc
    try:
        for label, events in made.events.items():
            attempt = folder.path / "runs" / label / "attempt-1"
            attempt.mkdir(parents=True)
            with EventLog(attempt / EVENTS_FILE) as log:
                log.append_lines([event.model_dump_json() for event in events])
        write_json(folder.path / SWEEP_FILE, made.sweep.model_dump(mode="json"))
    except OSError as exc:
        raise HostError(f"{folder.path} cannot be written: {exc.strerror}") from exc
    return folder, made.left_out


def read_file(file: Path) -> ImportedDocument:
    """What is found in a file that the user named; `-`: standard input. Raises ReportError when it cannot be read."""
    if str(file) == "-":
        data = sys.stdin.buffer.read(_LIMIT_BYTES + 1)
        if len(data) > _LIMIT_BYTES:
            raise ReportError(f"standard input has more than the {format_bytes(_LIMIT_BYTES)} that are read")
        return read_bytes(data, "standard input")
    try:
        return read_bytes(read_regular(file, _LIMIT_BYTES, follow=True), str(file))
    except OSError as exc:
        raise ReportError(f"{file} cannot be read: {exc.strerror}") from exc

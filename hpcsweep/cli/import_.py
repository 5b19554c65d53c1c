"""`hpcsweep import`: results of other tools, recomputed."""

import json
import sys
from pathlib import Path

import click

from hpcsweep.errors import ReportError
from hpcsweep.imports.blocks import Imported
from hpcsweep.imports.check import recompute_all
from hpcsweep.imports.documents import read_bytes
from hpcsweep.report.imported import import_document, import_json
from hpcsweep.report.terminal import write_document


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (see docs/import.md).")
@click.pass_context
def import_(ctx: click.Context, files: tuple[Path, ...], as_json: bool) -> None:
    """Read results of other tools, and recompute them.

    FILE: JSON or JSONL of `vllm bench serve`, `sglang.bench_serving` or GuideLLM; a log, a Markdown document or the
    text of a web page with their printed blocks; Markdown tables of samples. `-` reads standard input.

    Every block is recomputed from its own figures. What does not add up, and what was not taken, is listed.

    Exit codes: 0 read, also when something does not add up (`hpcsweep check` judges); 1 nothing could be read.
    """
    found = [read_file(file) for file in files]
    findings = [recompute_all(each) for each in found]
    if as_json:
        click.echo(json.dumps(import_json(found, findings), indent=1, ensure_ascii=False))
    else:
        write_document(import_document(found, findings), sys.stdout)
    empty = [each.file for each in found if not (each.benchmarks or each.sample_tables)]
    if len(empty) == len(found):
        raise ReportError(f"no result in {', '.join(empty)}", hint="docs/import.md lists what can be read")


def read_file(file: Path) -> Imported:
    """What is found in a file that the user named; `-`: standard input. Raises ReportError when it cannot be read."""
    if str(file) == "-":
        return read_bytes(sys.stdin.buffer.read(), "standard input")
    try:
        return read_bytes(file.read_bytes(), str(file))
    except OSError as exc:
        raise ReportError(f"{file} cannot be read: {exc.strerror}") from exc

"""`hpcsweep explain FILE`: explain why a server or a job failed, from any log, without a sweep or a store."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click

from hpcsweep.errors import ReportError
from hpcsweep.imports.explanation import LogExplanation, RecordedEnd
from hpcsweep.imports.explanation import explain as explain_lines
from hpcsweep.node.records import EXIT_FILE, read_json
from hpcsweep.report.explanation import explanation_document, explanation_json
from hpcsweep.report.formats.terminal import write_document

_PIECE_BYTES = 1 << 16
"""Bytes of a line that are read; the rest of a longer line is skipped."""
_SERVER_LOG, _RUN_FILE = "server.log", "run.json"
_ATTEMPT = re.compile(r"attempt-(\d+)")


@dataclass(frozen=True)
class _Source:
    """The log to explain. `log` None: standard input. `engine`: as recorded; None: not recorded."""

    name: str
    log: Path | None
    engine: str | None = None
    recorded: RecordedEnd | None = None


@click.command()
@click.argument("source", metavar="FILE|FOLDER|-")
@click.option("--engine", metavar="NAME", help="Engine that wrote the log.  [default: detected from the log]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md).")
def explain(source: str, engine: str | None, as_json: bool) -> None:
    """Explain why a server or a job failed, from any log.

    FILE is a log of vLLM, SGLang or TensorRT-LLM, the output of a job, or output of Slurm or PBS (an error of sbatch or
    qsub, `scontrol show job`, `qstat -xf`); `-` reads standard input. FOLDER is the folder of a run or of an attempt.
    No sweep, scheduler or engine is needed.

    \b
    hpcsweep explain slurm-4711.out
    kubectl logs my-server | hpcsweep explain -

    Exit codes: 0 the log was read; 1 it cannot be read.
    """
    chosen = _source(source)
    explanation = _read(chosen, engine or chosen.engine)
    if as_json:
        document = explanation_json(chosen.name, explanation, chosen.recorded)
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
        return
    write_document(explanation_document(chosen.name, explanation, chosen.recorded), sys.stdout)


def _read(source: _Source, engine: str | None) -> LogExplanation:
    if source.log is None:
        return explain_lines(_lines(sys.stdin.buffer), engine)
    try:
        with source.log.open("rb") as stream:
            return explain_lines(_lines(stream), engine)
    except OSError as exc:
        raise ReportError(f"cannot read {source.log}: {exc.strerror or exc}", code="log_not_readable") from exc


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Yield the lines of a stream, each cut at `_PIECE_BYTES`, so that a file of any size takes little memory."""
    first = True
    while piece := stream.readline(_PIECE_BYTES):
        if first and piece.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ReportError("the log is UTF-16", code="log_is_utf16", hint="convert it: iconv -f UTF-16 -t UTF-8")
        first = False
        yield piece.decode("utf-8", "replace")
        while piece and not piece.endswith(b"\n"):
            piece = stream.readline(_PIECE_BYTES)


def _source(name: str) -> _Source:
    """Find the log that `name` means. Raises ReportError with what exists instead."""
    if name == "-":
        return _Source("standard input", None)
    path = Path(name)
    if not path.exists():
        raise ReportError(
            f"no such file or folder: {name}",
            code="log_not_found",
            hint="give a log file, a run folder, or - for standard input",
        )
    return _folder(path) if path.is_dir() else _Source(name, path, *_recorded(path.parent, path.name))


def _folder(path: Path) -> _Source:
    """Return the log in a run folder (of its latest attempt) or in the folder of an attempt."""
    attempts = {int(match[1]): entry for entry in path.iterdir() if (match := _ATTEMPT.fullmatch(entry.name))}
    attempt = attempts[max(attempts)] if attempts else path
    log = attempt / _SERVER_LOG
    if log.exists():
        return _Source(str(attempt), log, *_recorded(attempt, _SERVER_LOG))
    engine, recorded = _recorded(attempt, _SERVER_LOG)
    if recorded is not None:
        return _Source(str(attempt), Path("/dev/null"), engine, recorded)
    logs = sorted(entry.name for entry in path.glob("*.log"))
    hint = f"it contains {', '.join(logs[:6])}" if logs else "a run folder is .hpcsweep/sweeps/SWEEP/runs/RUN"
    raise ReportError(
        f"not the folder of a run or an attempt: {path} has no {_SERVER_LOG}", code="not_a_run_folder", hint=hint
    )


def _recorded(folder: Path, log: str) -> tuple[str | None, RecordedEnd | None]:
    """Return the engine and the verdict that the agent recorded for the attempt in `folder`; None: not recorded."""
    if log != _SERVER_LOG:
        return None, None
    run, end = read_json(folder / _RUN_FILE) or {}, read_json(folder / EXIT_FILE)
    server = run.get("server")
    engine = server.get("engine") if isinstance(server, dict) else None
    if run.get("simulation") is not None:
        engine = "vllm"  # the simulated engine writes vLLM's lines, whichever engine it simulates
    recorded = None
    if end is not None:
        words = {key: str(end.get(key) or "") for key in ("outcome", "phase", "reason", "hint", "decided_by")}
        recorded = RecordedEnd(**{**words, "phase": words["phase"] or None})  # type: ignore[arg-type]
    return (str(engine) if engine else None), recorded

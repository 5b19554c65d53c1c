"""Convert imported results to a sweep that the store can ingest, with one run per configuration.

Sample tables and detailed result files give samples. A block of averages gives only those averages, as figures of the
client without samples, and a warning states that.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath
from typing import Any

from hpcsweep.analysis.columns import SampleRow
from hpcsweep.events.records import (
    AttemptEnded,
    AttemptStarted,
    Event,
    PhaseEntered,
    SampleDone,
    Warned,
    WorkloadEnded,
    WorkloadStarted,
)
from hpcsweep.imports.documents.model import RESULT_FILE, Benchmark, ImportedDocument, Location, SampleTable
from hpcsweep.imports.documents.serve_settings import ServeSettings, argv_of, serve_settings, settings_of
from hpcsweep.imports.results.sample_rows import rows_of
from hpcsweep.spec.phases import OutcomeKind, Phase
from hpcsweep.spec.sweep import IMPORTED_FROM, NotRunEntry, SweepFile, SweepRunEntry

AXIS = "config"
CLIENT = "imported"
HOST = "imported"
_NOTE = "Imported: measured with another tool."
_NOT_IN_A_LABEL = re.compile(r"[^A-Za-z0-9._+=-]+")
_LABEL_LENGTH = 80


@dataclass(frozen=True)
class _ImportedWorkload:
    """One workload of a configuration."""

    name: str
    location: Location
    samples: tuple[SampleRow, ...]
    duration_s: float
    figures: Mapping[str, float]
    warnings: tuple[str, ...]


@dataclass
class _ImportedRun:
    """A run: a block, all sample tables under one heading, or one repeat of a swept configuration.

    `repeat`: the tool's number; None: not stated. `failed`: why it does not have a result.
    """

    label: str
    settings: ServeSettings | None
    argv: tuple[str, ...]
    short: str = ""
    works: list[_ImportedWorkload] = field(default_factory=list)
    failed: str = ""
    repeat: int | None = None


@dataclass(frozen=True)
class ImportedSweep:
    """A sweep.json and, by run label, the events of its attempt. `left_out`: what was not imported, and why."""

    sweep: SweepFile
    events: Mapping[str, tuple[Event, ...]]
    left_out: tuple[str, ...]


def imported_sweep(
    name: str, files: Sequence[ImportedDocument], at: float, versions: Mapping[str, str]
) -> ImportedSweep:
    """Convert `files` to a sweep. `at`: time of the import in Unix seconds, the time stamp of every record."""
    configs: list[_ImportedRun] = []
    left_out: list[str] = []
    seen: dict[object, Location] = {}
    for document in files:
        prefix = f"{PurePath(document.file).stem} " if len(files) > 1 else ""
        once = _once(document, seen, left_out)
        configs += _of_benchmarks(once, prefix, left_out)
        configs += _of_tables(document, prefix, left_out)
    configs = _with_repeats(configs)
    variants = _labels(configs)
    repeats: dict[str, int] = {}
    runs, events = [], {}
    for variant, config in zip(variants, configs, strict=True):
        settings = config.settings
        repeats[variant] = repeats.get(variant, 0) + 1
        label = variant if repeats[variant] == 1 else f"{variant}_rep-{repeats[variant]}"
        runs.append(
            SweepRunEntry(
                label=label,
                variant_id=variant,
                repeat=repeats[variant],
                axes={AXIS: variant},
                engine=settings.engine if settings else "",
                model=settings.model if settings else "",
                gpus=settings.gpus if settings else 0,
            )
        )
        events[label] = tuple(_events(f"{name}/{label}", config, at))
    labels = list(dict.fromkeys(variants))
    baseline = next((label for label in labels if "baseline" in label.lower()), labels[0] if labels else "")
    failures = [(failure.label, failure.text) for document in files for failure in document.failures]
    sweep = SweepFile(
        sweep=name,
        experiment={"name": name, "notes": [_NOTE], "objective": _objective(configs)},
        title=f"Imported from {', '.join(PurePath(document.file).name for document in files)}",
        cluster="imported",
        profile={"scheduler": "local"},
        submitted_at=at,
        axes={AXIS: labels},
        baseline={AXIS: baseline} if baseline else {},
        versions=dict(versions),
        provenance={IMPORTED_FROM: ", ".join(document.file for document in files)},
        runs=runs,
        not_run=[NotRunEntry(title=label, reason=text, outcome=OutcomeKind.FAILED) for label, text in failures],
    )
    return ImportedSweep(sweep, events, tuple(left_out))


def _once(document: ImportedDocument, seen: dict[object, Location], left_out: list[str]) -> Sequence[Benchmark]:
    """Return the benchmarks of a file that are not in an earlier file; a sweep's summary repeats those of its runs."""
    if document.form != RESULT_FILE:
        return document.benchmarks
    benchmarks = []
    for benchmark in document.benchmarks:
        figures = tuple(sorted((name, number.value) for name, number in benchmark.figures.items()))
        key = (benchmark.tool, figures, tuple(sorted(benchmark.settings.items())), benchmark.repeat)
        if key in seen:
            left_out.append(f"{benchmark.location}: {benchmark.label}: duplicate of {seen[key]}")
            continue
        seen[key] = benchmark.location
        benchmarks.append(benchmark)
    return benchmarks


def _of_benchmarks(benchmarks: Sequence[Benchmark], prefix: str, left_out: list[str]) -> Iterator[_ImportedRun]:
    for benchmark in benchmarks:
        duration = benchmark.value("duration")
        swept = bool(benchmark.parameters) or benchmark.repeat is not None
        short = " ".join(part for part in (benchmark.context.short, benchmark.context.comment.lstrip("-")) if part)
        label = prefix + benchmark.label
        if swept:
            label = " ".join(f"{name}={text}" for name, text in benchmark.parameters.items()) or benchmark.label
        config = _ImportedRun(
            label, settings_of(benchmark), argv_of(benchmark.context), prefix + short if short else ""
        )
        config.repeat = benchmark.repeat if swept else None
        if benchmark.has_failed:
            failures = int(benchmark.value("failed") or len(benchmark.samples))
            details = (sample.error_detail for sample in benchmark.samples if sample.error_detail)
            config.failed = f"{failures} of {failures} requests failed" + "".join(
                f": {text}" for text in islice(details, 1)
            )
            config.works.append(
                _ImportedWorkload(
                    _workload(benchmark),
                    benchmark.location,
                    benchmark.samples,
                    duration or 0.0,
                    {"failed": failures},
                    (),
                )
            )
            yield config
            continue
        if not duration or duration <= 0:
            left_out.append(f"{benchmark.location}: {benchmark.label}: the duration is not stated")
            continue
        if not benchmark.samples and "completed" not in benchmark.figures:
            left_out.append(f"{benchmark.location}: {benchmark.label}: the number of requests is not stated")
            continue
        warnings = () if benchmark.samples else ("only averages are available, without single requests",)
        figures = {} if benchmark.samples else {name: number.value for name, number in benchmark.figures.items()}
        config.works.append(
            _ImportedWorkload(_workload(benchmark), benchmark.location, benchmark.samples, duration, figures, warnings)
        )
        yield config


def _with_repeats(configs: Sequence[_ImportedRun]) -> list[_ImportedRun]:
    """Merge the workloads of each repeat into one run, and sort repeats by their numbers."""
    merged: dict[tuple[str, int], _ImportedRun] = {}
    runs: list[_ImportedRun] = []
    for config in configs:
        if config.repeat is None or config.failed:
            runs.append(config)
            continue
        key = (config.label, config.repeat)
        names = {work.name for work in config.works}
        if key in merged and not names & {work.name for work in merged[key].works}:
            merged[key].works += config.works
        else:
            merged[key] = config
            runs.append(config)
    order = {label: at for at, label in enumerate(dict.fromkeys(run.label for run in runs))}
    return sorted(runs, key=lambda run: (order[run.label], run.repeat if run.repeat is not None else -1))


def _workload(benchmark: Benchmark) -> str:
    """Return one name for all blocks with the same requests: what the sweep set, else number and input tokens."""
    if benchmark.workload:
        return _slug(benchmark.workload)
    requests, tokens = benchmark.value("completed"), benchmark.value("total_input_tokens")
    if requests is None or tokens is None:
        return f"requests-{len(benchmark.samples) or int(requests or 0)}"
    failed = benchmark.value("failed") or 0
    return f"requests-{int(requests + failed)}_input-{int(tokens)}"


def _of_tables(document: ImportedDocument, prefix: str, left_out: list[str]) -> Iterator[_ImportedRun]:
    configs: dict[str, _ImportedRun] = {}
    for table in document.sample_tables:
        rows = rows_of(table)
        if len(rows) < len(table.samples):
            left_out.append(f"{table.location}: {table.label}: {len(table.samples) - len(rows)} rows without a time")
        if not rows:
            continue
        label = prefix + table.label
        config = configs.setdefault(label, _ImportedRun(label, _table_settings(table), argv_of(table.context)))
        warnings = ("the table does not state when requests were sent; they are treated as sequential",)
        duration = rows[-1].sent_s + (rows[-1].e2e_s or 0.0)
        config.works.append(_ImportedWorkload(_slug(table.group), table.location, rows, duration, {}, warnings))
    yield from configs.values()


def _table_settings(table: SampleTable) -> ServeSettings | None:
    return serve_settings(argv_of(table.context))


def _slug(text: str) -> str:
    return _NOT_IN_A_LABEL.sub("-", text).strip("-.")[:_LABEL_LENGTH] or "block"


def _objective(configs: Sequence[_ImportedRun]) -> dict[str, str]:
    """Return tokens/s per GPU if there are only averages and every command states its GPUs; otherwise the default."""
    averages = all(not work.samples for config in configs for work in config.works)
    return {"metric": "total_tps_per_gpu"} if averages and all(config.settings for config in configs) else {}


def _labels(configs: Sequence[_ImportedRun]) -> list[str]:
    """Return a folder name for each run, unique except for repeats: the short name if unique, otherwise the label."""
    short = Counter(config.short for config in configs)
    labels: list[str] = []
    taken: dict[str, int] = {}
    of_repeats: dict[str, str] = {}
    for config in configs:
        text = config.short if config.short and short[config.short] == 1 else config.label
        if config.repeat is not None and config.label in of_repeats:
            labels.append(of_repeats[config.label])
            continue
        label = _slug(text)
        number = taken.get(label, 0) + 1
        taken[label] = number
        while number > 1 and f"{label}-{number}" in taken:
            number += 1
        labels.append(label if number == 1 else f"{label}-{number}")
        taken.setdefault(labels[-1], 1)
        if config.repeat is not None:
            of_repeats[config.label] = labels[-1]
    return labels


def _events(run_id: str, config: _ImportedRun, at: float) -> Iterator[Event]:
    """Yield the events of the attempt, as an agent would have written them."""
    seq = 0
    t_s = 0.0

    def stamp() -> dict[str, Any]:
        nonlocal seq
        seq += 1
        return {"run_id": run_id, "attempt": 1, "seq": seq - 1, "at": at, "t_s": t_s}

    engine = config.settings.engine if config.settings else "unknown"
    yield AttemptStarted(**stamp(), host=HOST, pid=0, engine=engine, simulated=False, argv=list(config.argv))
    yield PhaseEntered(**stamp(), phase=Phase.MEASURE)
    if config.failed:  # no figures: a workload of zeros would look like a result
        for work in config.works:
            yield Warned(**stamp(), message=f"imported from {work.location}")
        yield AttemptEnded(
            **stamp(), outcome=OutcomeKind.FAILED, phase=Phase.MEASURE, reason=config.failed, decided_by="import"
        )
        return
    for work in config.works:
        for text in (f"imported from {work.location}", *work.warnings):
            yield Warned(**stamp(), message=text)
        failures: dict[str, int] = {}
        total = len(work.samples) or int(work.figures.get("completed", 0) + work.figures.get("failed", 0))
        yield WorkloadStarted(**stamp(), workload=work.name, samples_total=total, client=CLIENT)
        begin_s = t_s
        for sample in work.samples:
            if sample.error is not None:
                failures[sample.error] = failures.get(sample.error, 0) + 1
            yield _sample(stamp(), work.name, sample, begin_s)
        t_s = begin_s + work.duration_s
        failed = sum(failures.values()) if work.samples else int(work.figures.get("failed", 0))
        yield WorkloadEnded(
            **stamp(),
            workload=work.name,
            duration_s=work.duration_s,
            completed=total - failed,
            failed=failed,
            failures=failures or ({"client_error": failed} if failed else {}),
            client_figures=dict(work.figures),
        )
    yield AttemptEnded(**stamp(), outcome=OutcomeKind.COMPLETED, decided_by="import")


def _sample(stamp: dict[str, Any], workload: str, sample: SampleRow, begin_s: float) -> SampleDone:
    return SampleDone(
        **stamp,
        workload=workload,
        sample=sample.sample,
        index=sample.index,
        sent_s=begin_s + sample.sent_s,
        prompt_tokens=sample.prompt_tokens,
        completion_tokens=sample.completion_tokens,
        tokens_from="none" if sample.error is not None else "usage",
        ttft_s=sample.ttft_s,
        e2e_s=sample.e2e_s,
        itl_s=list(sample.itl_s),
        error=sample.error,
        error_detail=sample.error_detail,
    )

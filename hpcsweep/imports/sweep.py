"""Imported results as a sweep that the store ingests: one run a configuration, nothing invented.

A table of samples and a detailed result file give samples. A block of averages gives the averages that it prints, as
figures of the client without any sample, and is marked as such.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath
from typing import Any

from hpcsweep.analysis.rows import SampleRow
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
from hpcsweep.imports.documents.blocks import RESULT_FILE, Benchmark, Imported, Place, SampleTable
from hpcsweep.imports.documents.serve_settings import ServeSettings, argv_of, serve_settings, settings_of
from hpcsweep.imports.results.sample_rows import rows_of
from hpcsweep.spec.phases import OutcomeKind, Phase
from hpcsweep.spec.sweep import IMPORTED_FROM, NotRunEntry, SweepFile, SweepRunEntry

AXIS = "config"
CLIENT = "imported"
HOST = "imported"
_NOTE = "Imported: measured and written down by others."
_NOT_IN_A_LABEL = re.compile(r"[^A-Za-z0-9._+=-]+")
_LABEL_LENGTH = 80


@dataclass(frozen=True)
class _Work:
    """One workload of a configuration."""

    name: str
    place: Place
    samples: tuple[SampleRow, ...]
    duration_s: float
    figures: Mapping[str, float]
    warnings: tuple[str, ...]


@dataclass
class _Config:
    """One run: a block, all tables of samples under one heading, or one repeat of a swept configuration.

    `repeat`: as the tool numbers it; None: no repeat is stated. `failed`: why it has no result.
    """

    label: str
    settings: ServeSettings | None
    argv: tuple[str, ...]
    short: str = ""
    works: list[_Work] = field(default_factory=list)
    failed: str = ""
    repeat: int | None = None


@dataclass(frozen=True)
class ImportedSweep:
    """sweep.json and, by run label, the events of its one attempt. `left_out`: what could not become a run, and why."""

    sweep: SweepFile
    events: Mapping[str, tuple[Event, ...]]
    left_out: tuple[str, ...]


def imported_sweep(name: str, files: Sequence[Imported], at: float, versions: Mapping[str, str]) -> ImportedSweep:
    """The sweep `name` of everything in `files`; `at`: Unix seconds of the import, the stamp of every record."""
    configs: list[_Config] = []
    left_out: list[str] = []
    seen: dict[object, Place] = {}
    for found in files:
        prefix = f"{PurePath(found.file).stem} " if len(files) > 1 else ""
        once = _once(found, seen, left_out)
        configs += _of_benchmarks(once, prefix, left_out)
        configs += _of_tables(found, prefix, left_out)
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
    failures = [(one.label, one.text) for found in files for one in found.failures]
    sweep = SweepFile(
        sweep=name,
        experiment={"name": name, "notes": [_NOTE], "objective": _objective(configs)},
        title=f"Imported from {', '.join(PurePath(found.file).name for found in files)}",
        cluster="imported",
        profile={"scheduler": "local"},
        submitted_at=at,
        axes={AXIS: labels},
        baseline={AXIS: baseline} if baseline else {},
        versions=dict(versions),
        provenance={IMPORTED_FROM: ", ".join(found.file for found in files)},
        runs=runs,
        not_run=[NotRunEntry(title=label, reason=text, outcome=OutcomeKind.FAILED) for label, text in failures],
    )
    return ImportedSweep(sweep, events, tuple(left_out))


def _once(found: Imported, seen: dict[object, Place], left_out: list[str]) -> Sequence[Benchmark]:
    """Return the benchmarks of a file that no file before it holds too, as a sweep's summary holds its runs."""
    if found.form != RESULT_FILE:
        return found.benchmarks
    kept = []
    for one in found.benchmarks:
        figures = tuple(sorted((name, number.value) for name, number in one.figures.items()))
        key = (one.tool, figures, tuple(sorted(one.settings.items())), one.repeat)
        if key in seen:
            left_out.append(f"{one.place}: {one.label}: the same result as in {seen[key]}")
            continue
        seen[key] = one.place
        kept.append(one)
    return kept


def _of_benchmarks(benchmarks: Sequence[Benchmark], prefix: str, left_out: list[str]) -> Iterator[_Config]:
    for one in benchmarks:
        duration = one.value("duration")
        swept = bool(one.parameters) or one.repeat is not None
        short = " ".join(part for part in (one.context.short, one.context.comment.lstrip("-")) if part)
        label = prefix + one.label
        if swept:
            label = " ".join(f"{name}={text}" for name, text in one.parameters.items()) or one.label
        config = _Config(label, settings_of(one), argv_of(one.context), prefix + short if short else "")
        config.repeat = one.repeat if swept else None
        if one.has_failed:
            lost = int(one.value("failed") or len(one.samples))
            details = (sample.error_detail for sample in one.samples if sample.error_detail)
            config.failed = f"{lost} of {lost} requests failed" + "".join(f": {text}" for text in islice(details, 1))
            config.works.append(_Work(_workload(one), one.place, one.samples, duration or 0.0, {"failed": lost}, ()))
            yield config
            continue
        if not duration or duration <= 0:
            left_out.append(f"{one.place}: {one.label}: it states no duration")
            continue
        if not one.samples and "completed" not in one.figures:
            left_out.append(f"{one.place}: {one.label}: it states no number of requests")
            continue
        told = () if one.samples else ("only averages were kept: no single request is known",)
        figures = {} if one.samples else {name: number.value for name, number in one.figures.items()}
        config.works.append(_Work(_workload(one), one.place, one.samples, duration, figures, told))
        yield config


def _with_repeats(configs: Sequence[_Config]) -> list[_Config]:
    """Return the configurations with the workloads of one repeat in one run, repeats in the order of their numbers."""
    merged: dict[tuple[str, int], _Config] = {}
    kept: list[_Config] = []
    for config in configs:
        if config.repeat is None or config.failed:
            kept.append(config)
            continue
        key = (config.label, config.repeat)
        names = {work.name for work in config.works}
        if key in merged and not names & {work.name for work in merged[key].works}:
            merged[key].works += config.works
        else:
            merged[key] = config
            kept.append(config)
    order = {label: at for at, label in enumerate(dict.fromkeys(one.label for one in kept))}
    return sorted(kept, key=lambda one: (order[one.label], one.repeat if one.repeat is not None else -1))


def _workload(one: Benchmark) -> str:
    """Return one name for blocks with the same requests: what the sweep set, else their number and input tokens."""
    if one.workload:
        return _slug(one.workload)
    requests, tokens = one.value("completed"), one.value("total_input_tokens")
    if requests is None or tokens is None:
        return f"requests-{len(one.samples) or int(requests or 0)}"
    failed = one.value("failed") or 0
    return f"requests-{int(requests + failed)}_input-{int(tokens)}"


def _of_tables(found: Imported, prefix: str, left_out: list[str]) -> Iterator[_Config]:
    configs: dict[str, _Config] = {}
    for one in found.sample_tables:
        rows = rows_of(one)
        if len(rows) < len(one.samples):
            left_out.append(f"{one.place}: {one.label}: {len(one.samples) - len(rows)} rows without a time")
        if not rows:
            continue
        label = prefix + one.label
        config = configs.setdefault(label, _Config(label, _table_settings(one), argv_of(one.context)))
        told = ("the table does not say when requests were sent: taken as one after the other",)
        duration = rows[-1].sent_s + (rows[-1].e2e_s or 0.0)
        config.works.append(_Work(_slug(one.group), one.place, rows, duration, {}, told))
    yield from configs.values()


def _table_settings(one: SampleTable) -> ServeSettings | None:
    return serve_settings(argv_of(one.context))


def _slug(text: str) -> str:
    return _NOT_IN_A_LABEL.sub("-", text).strip("-.")[:_LABEL_LENGTH] or "block"


def _objective(configs: Sequence[_Config]) -> dict[str, str]:
    """Tokens/s of a GPU where there are only averages and every command tells its GPUs; else the default."""
    averages = all(not work.samples for config in configs for work in config.works)
    return {"metric": "total_tps_per_gpu"} if averages and all(config.settings for config in configs) else {}


def _labels(configs: Sequence[_Config]) -> list[str]:
    """Return a folder name for each, different unless they are repeats; the short name where no two have the same."""
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


def _events(run_id: str, config: _Config, at: float) -> Iterator[Event]:
    """The one attempt, as an agent would have written it."""
    seq = 0
    t_s = 0.0

    def stamp() -> dict[str, Any]:
        nonlocal seq
        seq += 1
        return {"run_id": run_id, "attempt": 1, "seq": seq - 1, "at": at, "t_s": t_s}

    engine = config.settings.engine if config.settings else "unknown"
    yield AttemptStarted(**stamp(), host=HOST, pid=0, engine=engine, simulated=False, argv=list(config.argv))
    yield PhaseEntered(**stamp(), phase=Phase.MEASURE)
    if config.failed:  # it has no figure: a workload of zeros would be one
        for work in config.works:
            yield Warned(**stamp(), message=f"imported from {work.place}")
        yield AttemptEnded(
            **stamp(), outcome=OutcomeKind.FAILED, phase=Phase.MEASURE, reason=config.failed, decided_by="import"
        )
        return
    for work in config.works:
        for text in (f"imported from {work.place}", *work.warnings):
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
        lost = sum(failures.values()) if work.samples else int(work.figures.get("failed", 0))
        yield WorkloadEnded(
            **stamp(),
            workload=work.name,
            duration_s=work.duration_s,
            completed=total - lost,
            failed=lost,
            failures=failures or ({"client_error": lost} if lost else {}),
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

"""The first chapters: what was run, the summary of results, the recommendation, what to know before quoting."""

from collections.abc import Iterator

from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.findings import Findings, RunFinding, Variant
from hpcsweep.analysis.findings.compared import Comparison
from hpcsweep.analysis.findings.measured import Cell, Result, SampleSet
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.chapters.caveats import HeldBack
from hpcsweep.report.document import Bullets, Paragraph, Section, Table
from hpcsweep.report.wording import NO_OBJECTIVE, NOTHING, SIMULATED
from hpcsweep.spec.left_out import LeftOut, LeftOutKind
from hpcsweep.spec.sweep import IMPORTED_FROM
from hpcsweep.units import counted

MAX_WHYS = 3
"""Of the reasons why a workload was not sent; they differ in a number."""

FEW_SAMPLES = 5
"""Below this, the samples themselves say more than their percentiles; the detailed results list them."""


def head(findings: Findings, *, brief: bool = False) -> Section:
    """What was run, where and when. `brief`: the notes and versions stand elsewhere."""
    sweep = findings.sweep
    blocks: list[Paragraph | Bullets] = []
    if sweep.simulated:
        which = "Every result" if sweep.all_simulated else "Some results"
        text = f"{SIMULATED}: {which} of this sweep came from the simulated engine and measured nothing real."
        blocks.append(Paragraph(text, strong=True))
    models = dict.fromkeys(variant.model for variant in findings.variants if variant.model)
    engines = dict.fromkeys(variant.engine for variant in findings.variants)
    done = sum(run.measured for run in findings.runs)
    planned = sum(not run.planned_only for run in findings.runs)
    lines = [
        f"Sweep {sweep.sweep} of experiment {sweep.experiment}, submitted {wording.moment(sweep.submitted_at)}",
        f"Cluster {sweep.cluster} ({sweep.scheduler}); model {', '.join(models)}; engine {', '.join(engines)}",
        f"{counted(len(findings.variants), 'variant')} in {counted(planned, 'run')}, of which {done} completed",
        *_hardware(findings),
        f"Objective: {findings.recommendation.objective or NO_OBJECTIVE}",
    ]
    return Section("What was run", (*blocks, Bullets((*lines, *(() if brief else _origin(findings))))))


def _hardware(findings: Findings) -> list[str]:
    """On what the runs ran that really ran here: `Ran on 8 GPUs a run (NVIDIA H200): gpu01`; empty: none did."""
    ran = [run for run in findings.runs if run.counts is not None and not run.simulated]
    if not ran or IMPORTED_FROM in findings.sweep.provenance:
        return []
    gpus = sorted({run.gpus for run in ran})
    kinds = sorted({name for run in ran if (name := run.gpu_name or run.gpu_type)})
    on = "CPUs, without a GPU" if gpus == [0] else f"{', '.join(map(str, gpus))} GPU{'s' * (gpus != [1])} a run"
    nodes = join_names(sorted({run.host for run in ran if run.host}))
    return [f"Ran on {on}" + (f" ({', '.join(kinds)})" if kinds else "") + (f": {nodes}" if nodes else "")]


def origin(findings: Findings) -> Section | None:
    """What `head` leaves out when it is brief; None: nothing."""
    lines = _origin(findings)
    return Section("Notes and provenance", (Bullets(lines),)) if lines else None


def _origin(findings: Findings) -> tuple[str, ...]:
    sweep = findings.sweep
    versions = [f"{name} {value}" for name, value in sweep.provenance.items() if value]
    return (*(["Provenance: " + ", ".join(versions)] if versions else []), *sweep.notes)


def summary(findings: Findings, *, brief: bool = False) -> Section:
    """One row a variant and workload, in the shape of the studies.

    `brief`: no rows for what was not sent, and no word of why a variant failed: the note and other chapters have them.
    """
    by_key = {(result.variant, result.workload): result for result in findings.results}
    against = _warm_comparisons(findings)
    runs: dict[str, list[RunFinding]] = {}
    for run in findings.runs:
        runs.setdefault(run.variant, []).append(run)
    held = HeldBack(result.validity for result in findings.results if result.left_out is None)
    rows = [
        _summary_row(variant, workload, by_key, against, runs.get(variant.variant, []), held, brief)
        for variant in findings.variants
        for workload in _workloads_of(variant, findings, by_key, brief)
    ]
    note = (
        "TPS: mean of completion tokens / end-to-end time over the requests; latency: mean end-to-end seconds. "
        "In brackets the 95% interval, then n and what it counts. All: every successful request; warm: without "
        "the cold first ones."
    )
    if any(c.provisional for c in against.values()):
        note += " Against the baseline: TPS of warm samples; provisional where a single run stands on a side."
    note += held.note + _not_sent(findings)
    columns = (
        "Exp",
        "Config",
        "Dataset",
        "TPS all",
        "TPS warm",
        "Latency (s) warm",
        "Against baseline",
        "Status",
        "Notes",
    )
    return Section("Summary of results", (Table(columns, tuple(rows), note),))


def _not_sent(findings: Findings) -> str:
    """What was left out, by workload and kind of reason, with its arithmetic: no failure."""
    groups: dict[tuple[str, LeftOutKind], dict[str, LeftOut]] = {}
    for result in findings.results:
        if result.left_out is not None:
            reason = LeftOut.parse(result.left_out)
            groups.setdefault((result.workload, reason.kind), {})[result.variant] = reason
    told = []
    for (workload, kind), reasons in groups.items():
        names = join_names([findings.variant(variant).short_name for variant in reasons])
        if len(reasons) == len(findings.variants):
            names = "any variant"
        details = dict.fromkeys(reason.detail for reason in reasons.values() if reason.detail)
        why = "; ".join(list(details)[:MAX_WHYS])
        told.append(f" n/a: {kind.value}: {workload} was not sent to {names}{f' ({why})' if why else ''}.")
    return "".join(told)


def _warm_comparisons(findings: Findings) -> dict[tuple[str, str], Comparison]:
    return {(c.variant, c.workload): c for c in findings.comparisons if c.metric == "tps" and c.condition == "warm"}


def _workloads_of(
    variant: Variant, findings: Findings, by_key: dict[tuple[str, str], Result], brief: bool
) -> list[str | None]:
    """The workloads that have a row; None, for a row without one, where none was sent."""
    known = [name for name in findings.sweep.workloads if (variant.variant, name) in by_key]
    sent: list[str | None] = [name for name in known if by_key[variant.variant, name].left_out is None]
    if brief or not sent:
        return sent or [None]
    return list(known)


def _summary_row(
    variant: Variant,
    workload: str | None,
    by_key: dict[tuple[str, str], Result],
    against: dict[tuple[str, str], Comparison],
    runs: list[RunFinding],
    held: HeldBack,
    brief: bool,
) -> tuple[str, ...]:
    state = wording.status(variant, runs)
    failed = None if brief else next((run for run in runs if not run.measured and run.reason), None)
    notes = ["baseline"] if variant.is_baseline else []
    if workload is None:
        notes += [_in_short(failed.reason)] if failed is not None else []
        return (wording.exp(variant), wording.config(variant), *(NOTHING,) * 5, state, "; ".join(notes))
    result = by_key[variant.variant, workload]
    if result.left_out is not None:
        status = wording.not_applicable(result.left_out)
        return (wording.exp(variant), wording.config(variant), workload, *(NOTHING,) * 4, status, "; ".join(notes))
    warm = result.mean("tps", "warm")
    if warm is None and result.mean("tps", "all") is None and result.mean("output_throughput", "all") is not None:
        notes.append(f"output throughput {wording.figure(result.mean('output_throughput', 'all'), unit=True)}")
    compared = against.get((variant.variant, workload))
    notes += [text for text in (held.of(result.validity),) if text]
    if result.set_aside and result.runs:
        notes.append(f"set aside: {', '.join(result.set_aside)}")
    if failed is not None:
        notes.append(_in_short(failed.reason))
    return (
        wording.exp(variant),
        wording.config(variant),
        workload,
        wording.figure(result.mean("tps", "all")),
        wording.figure(warm),
        wording.figure(result.mean("e2e_s", "warm")),
        NOTHING if compared is None else wording.comparison_in_short(compared),
        state,
        "; ".join(notes),
    )


def _in_short(reason: str) -> str:
    """A reason without its particulars, which the chapter of failed runs has."""
    return reason.partition(": ")[0]


def remarks(findings: Findings) -> Section | None:
    """What to know before quoting a number; None: nothing."""
    items = tuple(remark.text for remark in findings.remarks)
    return Section("Before quoting these numbers", (Bullets(items),)) if items else None


def latency(findings: Findings) -> Section | None:
    """The distributions by cell, where there are enough samples for percentiles to mean something."""
    rows = [row for cell in findings.cells for row in _latency_rows(findings, cell)]
    if not rows:
        return None
    columns = (
        "Exp",
        "Run",
        "Dataset",
        "Metric",
        "Samples",
        "n",
        "Mean",
        "Median",
        "p90",
        "p99",
        "Min",
        "Max",
        "Spread",
    )
    note = "Seconds, and tokens/s for TPS. Percentiles interpolate linearly, as vllm bench serve does. " + _formulas()
    return Section("Latency and speed of single requests", (Table(columns, tuple(rows), note),))


def _formulas() -> str:
    return " ".join(f"{m.title}: {m.meaning}." for m in METRICS.values() if m.of_samples)


def _latency_rows(findings: Findings, cell: Cell) -> Iterator[tuple[str, ...]]:
    if cell.left_out is not None or cell.succeeded < FEW_SAMPLES:
        return
    chosen: tuple[tuple[str, SampleSet], ...] = (
        ("ttft_s", "warm"),
        ("tpot_s", "warm"),
        ("e2e_s", "warm"),
        ("e2e_s", "all"),
        ("tps", "warm"),
        ("tps", "all"),
    )
    for metric, condition in chosen:
        s = cell.summary(metric, condition)
        if s is not None:
            values = (s.mean, s.median, s.p90, s.p99, s.minimum, s.maximum)
            yield (
                wording.exp(findings.variant(cell.variant)),
                cell.label,
                cell.workload,
                METRICS[metric].title,
                wording.CONDITION[condition],
                str(s.n),
                *(wording.number(value) for value in values),
                NOTHING if s.spread is None else f"{s.spread:.1%}",
            )


def throughput(findings: Findings) -> Section | None:
    """Throughputs by variant and workload, over all requests of the workload."""
    rows = []
    held = HeldBack(result.validity for result in findings.results if result.left_out is None)
    names = ("request_throughput", "output_throughput", "total_throughput", "output_tps_per_gpu", "goodput")
    for result in findings.results:
        figures = [result.mean(name, "all") for name in names]
        if any(one is not None for one in figures):
            variant = findings.variant(result.variant)
            cells = (wording.figure(one) for one in figures)
            rows.append(
                (
                    wording.exp(variant),
                    wording.config(variant),
                    result.workload,
                    *cells,
                    held.of(result.validity),
                )
            )
    if not rows:
        return None
    columns = (
        "Exp",
        "Config",
        "Dataset",
        *(f"{METRICS[n].title} ({METRICS[n].unit})" for n in names),
        "Held back by",
    )
    note = "Tokens and requests of the successful requests over the duration of the workload; cold requests included."
    note += held.note
    return Section("Throughput", (Table(columns, tuple(rows), note),))

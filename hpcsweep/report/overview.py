"""The first chapters: what was run, the summary of results, the recommendation, what to know before quoting."""

from collections.abc import Iterator, Sequence

from hpcsweep.analysis.findings import Findings, RunFinding, Variant
from hpcsweep.analysis.findings_compared import Comparison
from hpcsweep.analysis.findings_measured import Cell, Condition, Figure, Result
from hpcsweep.analysis.measures import MEASURES
from hpcsweep.report import wording
from hpcsweep.report.document import Bullets, Code, Paragraph, Section, Table
from hpcsweep.report.wording import NOTHING, SIMULATED

FEW_SAMPLES = 5
"""Below this, the samples themselves say more than their percentiles; the detailed results list them."""


def head(findings: Findings) -> Section:
    """What was run, where and when."""
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
        f"{len(findings.variants)} variants in {planned} runs, of which {done} completed",
        f"Objective: {findings.recommendation.objective}",
    ]
    versions = [f"{name} {value}" for name, value in sweep.provenance.items() if value]
    if versions:
        lines.append("Provenance: " + ", ".join(versions))
    return Section("What was run", (*blocks, Bullets((*lines, *sweep.notes))))


def summary(findings: Findings) -> Section:
    """One row a variant and workload, in the shape of the studies."""
    by_key = {(result.variant, result.workload): result for result in findings.results}
    against = _warm_comparisons(findings)
    runs: dict[str, list[RunFinding]] = {}
    for run in findings.runs:
        runs.setdefault(run.variant, []).append(run)
    rows = [
        _summary_row(variant, workload, by_key, against, runs.get(variant.variant, []))
        for variant in findings.variants
        for workload in _workloads_of(variant, findings, by_key)
    ]
    note = (
        "TPS: mean of completion tokens / end-to-end time over the requests; latency: mean end-to-end seconds. "
        "In brackets the 95% interval, then n and what it counts. `all`: every successful request; `warm`: without "
        "the cold first ones. n/a: the workload does not fit this variant, which is no failure."
    )
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


def _warm_comparisons(findings: Findings) -> dict[tuple[str, str], Comparison]:
    return {(c.variant, c.workload): c for c in findings.comparisons if c.metric == "tps" and c.condition == "warm"}


def _workloads_of(variant: Variant, findings: Findings, by_key: dict[tuple[str, str], Result]) -> Sequence[str | None]:
    """The workloads with a result; one empty row for a variant that has none."""
    own = [workload for workload in findings.sweep.workloads if (variant.variant, workload) in by_key]
    return own or [None]


def _summary_row(
    variant: Variant,
    workload: str | None,
    by_key: dict[tuple[str, str], Result],
    against: dict[tuple[str, str], Comparison],
    runs: list[RunFinding],
) -> tuple[str, ...]:
    state = wording.status(variant, runs)
    failed = next((run for run in runs if not run.measured and run.reason), None)
    notes = ["baseline"] if variant.is_baseline else []
    if workload is None:
        notes += [failed.reason] if failed is not None else []
        return (wording.exp(variant), variant.name, *(NOTHING,) * 5, state, "; ".join(notes))
    result = by_key[variant.variant, workload]
    if result.left_out is not None:
        cells = (workload, *(NOTHING,) * 4, f"n/a: {result.left_out}")
        return (wording.exp(variant), variant.name, *cells, "; ".join(notes))
    warm = result.mean("tps", "warm")
    if warm is None and result.mean("tps", "all") is None and result.mean("output_throughput", "all") is not None:
        notes.append(f"output throughput {wording.figure(result.mean('output_throughput', 'all'), unit=True)}")
    compared = against.get((variant.variant, workload))
    notes += [text for text in (wording.validity_in_short(result.validity),) if text]
    if result.set_aside:
        notes.append(f"set aside: {', '.join(result.set_aside)}")
    if failed is not None:
        notes.append(failed.reason)
    return (
        wording.exp(variant),
        variant.name,
        workload,
        wording.figure(result.mean("tps", "all")),
        wording.figure(warm),
        wording.figure(result.mean("e2e_s", "warm")),
        NOTHING if compared is None else wording.comparison(compared),
        state,
        "; ".join(notes),
    )


def recommendation(findings: Findings) -> Section:
    """The decision, its command, the candidates, and what could change it."""
    advice = findings.recommendation
    if advice.chosen is None:
        title = "No configuration can be recommended"
    else:
        variant = findings.variant(advice.chosen)
        title = f"Recommended: {wording.exp(variant)} ({variant.name})"
    if advice.provisional:
        title = title.replace("Recommended", "Provisionally recommended")
    blocks: list[Paragraph | Bullets | Table | Code] = [
        Paragraph(f"{title}.", strong=True),
        Paragraph(f"Objective: {advice.objective}."),
        Bullets(advice.why),
    ]
    if advice.command:
        blocks.append(Code(advice.command, "bash"))
    for name, text in advice.files.items():
        blocks += [Paragraph(f"with this file beside it, {name}:"), Code(text)]
    if advice.by_workload:
        blocks += [Paragraph("Each workload by itself:"), Bullets(tuple(_by_workload(findings)))]
    blocks.append(_candidates(findings))
    if advice.not_measured:
        blocks += [Paragraph("Not measured, and could change the answer:"), Bullets(advice.not_measured)]
    return Section("Recommended configuration", tuple(blocks))


def _by_workload(findings: Findings) -> Iterator[str]:
    for one in findings.recommendation.by_workload:
        best, chosen = findings.variant(one.best), findings.variant(one.chosen)
        text = f"{one.workload}: {wording.exp(best)} scores best, {wording.figure(one.score, unit=True)}"
        if one.equal:
            text += (
                f"; no difference from {', '.join(wording.exp(findings.variant(name)) for name in one.equal)} was seen"
            )
        if chosen is not best:
            text += f"; {wording.exp(chosen)} is simpler or cheaper"
        yield text


def _candidates(findings: Findings) -> Table:
    advice = findings.recommendation
    rows = []
    for one in advice.candidates:
        variant = findings.variant(one.variant)
        mark = " (chosen)" if one.variant == advice.chosen else ""
        against = "best" if one.variant == advice.best else _against(one.against_best, one.equal_to_best)
        rows.append(
            (
                NOTHING if one.rank is None else str(one.rank),
                wording.exp(variant) + mark,
                variant.name,
                wording.figure(one.score, unit=True),
                against,
                NOTHING if one.chance_best is None else f"{one.chance_best:.0%}",
                one.reason,
            )
        )
    note = (
        f"Score: {advice.objective}. Chance: share of 4,000 draws from the intervals in which the variant comes out "
        "first. No rank: the result is provisional, invalid or missing, as the last column says."
    )
    return Table(("Rank", "Exp", "Config", "Score", "Against best", "Chance", "Held back by"), tuple(rows), note)


def _against(one: Figure | None, equal: bool) -> str:
    if one is None:
        return NOTHING
    return f"{wording.percent(one)}: {'no difference seen' if equal else 'different'}"


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
    note = "Seconds, and tokens/s for TPS. Percentiles interpolate linearly, as `vllm bench serve` does. " + _formulas()
    return Section("Latency and speed of single requests", (Table(columns, tuple(rows), note),))


def _formulas() -> str:
    return " ".join(f"{m.title}: {m.meaning}." for m in MEASURES.values() if m.of_samples)


def _latency_rows(findings: Findings, cell: Cell) -> Iterator[tuple[str, ...]]:
    if cell.left_out is not None or cell.succeeded < FEW_SAMPLES:
        return
    chosen: tuple[tuple[str, Condition], ...] = (
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
                MEASURES[metric].title,
                wording.CONDITION[condition],
                str(s.n),
                *(wording.number(value) for value in values),
                NOTHING if s.spread is None else f"{s.spread:.1%}",
            )


def throughput(findings: Findings) -> Section | None:
    """Throughputs by variant and workload, over all requests of the workload."""
    rows = []
    names = ("request_throughput", "output_throughput", "total_throughput", "output_tps_per_gpu", "goodput")
    for result in findings.results:
        figures = [result.mean(name, "all") for name in names]
        if any(one is not None for one in figures):
            variant = findings.variant(result.variant)
            cells = (wording.figure(one) for one in figures)
            rows.append(
                (wording.exp(variant), variant.name, result.workload, *cells, wording.validity(result.validity))
            )
    if not rows:
        return None
    columns = (
        "Exp",
        "Config",
        "Dataset",
        *(f"{MEASURES[n].title} ({MEASURES[n].unit})" for n in names),
        "Held back by",
    )
    note = "Tokens and requests of the successful requests over the duration of the workload; cold requests included."
    return Section("Throughput", (Table(columns, tuple(rows), note),))

"""The chapter on speed: results by workload, candidates of the objective, throughput, percentiles, front, replicas."""

from collections.abc import Iterable, Iterator

from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.findings import Findings, RunFinding, Variant
from hpcsweep.analysis.findings.compared import Candidate, Comparison
from hpcsweep.analysis.findings.measured import Cell, Result, SampleSet, Validity
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import document, points, wording
from hpcsweep.report import first_screen_text as words
from hpcsweep.report.document import Block, Bullets, Paragraph, Section, Table
from hpcsweep.report.wording import NO_OBJECTIVE, NOTHING

MAX_REASONS = 3
"""Of the reasons why a workload was not sent; they differ in a number."""

FEW_SAMPLES = 5
"""With fewer samples than this, percentiles mean little; the chapter on requests lists the samples."""

_THROUGHPUTS = ("request_throughput", "output_throughput", "total_throughput", "output_tps_per_gpu", "goodput")

_DISTRIBUTIONS: tuple[tuple[str, SampleSet], ...] = (
    ("ttft_s", "warm"),
    ("tpot_s", "warm"),
    ("e2e_s", "warm"),
    ("e2e_s", "all"),
    ("tps", "warm"),
    ("tps", "all"),
)


class Caveats:
    """The caveats of all rows of a table: those that hold for every row are written once, below it."""

    def __init__(self, validities: Iterable[Validity]) -> None:
        codes = [wording.caveat_codes(validity) for validity in validities]
        self._common = [code for code in codes[0] if all(code in own for own in codes)] if len(codes) > 1 else []

    def of(self, validity: Validity) -> str:
        """Return `provisional (limited by the load client)`, without the caveats of the note."""
        if validity.status == "valid":
            return ""
        own = [wording.caveat(code) for code in wording.caveat_codes(validity) if code not in self._common]
        return f"{validity.status} ({', '.join(own)})" if own else validity.status

    @property
    def note(self) -> str:
        """A sentence for below the table; empty: no caveat holds for every row."""
        return f" In every row: {', '.join(wording.caveat(code) for code in self._common)}." if self._common else ""


def speed(findings: Findings) -> list[Section]:
    """Return the chapter with its parts."""
    parts = (
        _results(findings),
        _decision(findings),
        _throughput(findings),
        _bounds(findings),
        _percentiles(findings),
        _front(findings),
        _replicas(findings),
    )
    return [Section("Speed", ()), *(part for part in parts if part is not None)]


def _results(findings: Findings) -> Section:
    """Return one row per variant and workload."""
    by_key = {(result.variant, result.workload): result for result in findings.results}
    against = {(c.variant, c.workload): c for c in findings.comparisons if (c.metric, c.condition) == ("tps", "warm")}
    runs: dict[str, list[RunFinding]] = {}
    for run in findings.runs:
        runs.setdefault(run.variant, []).append(run)
    caveats = Caveats(result.validity for result in findings.results if result.left_out is None)
    rows = [
        _result_row(findings, variant, result, against, runs.get(variant.variant, []), caveats)
        for variant in findings.variants
        for result in _results_of(variant, findings, by_key)
    ]
    note = (
        "TPS: mean of completion tokens / end-to-end time over the samples; latency: mean end-to-end time. Brackets: "
        "95 % CI, then n and what it counts. All: every successful sample; warm: without the cold first requests. "
        "vs baseline: TPS of warm samples."
    )
    if any(comparison.provisional for comparison in against.values()):
        note += " Provisional: one of the sides has a single run."
    note += caveats.note + _not_sent(findings)
    columns = (
        "Variant",
        "Configuration",
        "Workload",
        "TPS, all",
        "TPS, warm",
        "Latency, warm (s)",
        "vs baseline",
        "Outcome",
        "Caveats",
    )
    return Section("Results by variant and workload", (Table(columns, tuple(rows), note, points.results(findings)),), 3)


def _results_of(variant: Variant, findings: Findings, by_key: dict[tuple[str, str], Result]) -> list[Result | None]:
    """Return the results that have a row; None, for a row without one, if no workload was sent."""
    known = [by_key[key] for name in findings.sweep.workloads if (key := (variant.variant, name)) in by_key]
    return [*known] if any(result.left_out is None for result in known) else [None]


def _result_row(
    findings: Findings,
    variant: Variant,
    result: Result | None,
    against: dict[tuple[str, str], Comparison],
    runs: list[RunFinding],
    caveats: Caveats,
) -> tuple[document.Cell, ...]:
    head = (wording.short_name(findings, variant), wording.config(variant))
    outcome = wording.status(runs)
    notes = ["baseline"] if variant.is_baseline else []
    if result is None:
        return (*head, *(NOTHING,) * 5, outcome, "; ".join(notes))
    if result.left_out is not None:
        return (*head, result.workload, *(NOTHING,) * 4, wording.not_applicable(result.left_out), "; ".join(notes))
    codes = wording.caveat_codes(result.validity)
    warm = result.mean("tps", "warm")
    throughput = result.mean("output_throughput", "all")
    if warm is None and result.mean("tps", "all") is None and throughput is not None:
        notes.append(f"output throughput {wording.figure(throughput, with_unit=True)}")
    compared = against.get((variant.variant, result.workload))
    notes += [text for text in (caveats.of(result.validity),) if text]
    if result.set_aside and result.runs:
        notes.append(f"excluded: {', '.join(result.set_aside)}")
    return (
        *head,
        result.workload,
        wording.quantity(result.mean("tps", "all"), metric="tps", caveats=codes),
        wording.quantity(warm, metric="tps", caveats=codes),
        wording.quantity(result.mean("e2e_s", "warm"), metric="e2e_s", caveats=codes),
        NOTHING if compared is None else wording.change(compared.percent, wording.comparison_in_short(compared)),
        outcome,
        "; ".join(notes),
    )


def _not_sent(findings: Findings) -> str:
    """Say which workloads were left out, with the arithmetic. This is not a failure."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in findings.results:
        if result.left_out is not None:
            groups.setdefault((result.workload, wording.left_out_kind(result.left_out)), []).append(result)
    sentences = []
    for (workload, kind), results in groups.items():
        names = join_names([findings.variant(result.variant).short_name for result in results])
        if len(results) == len(findings.variants):
            names = "any variant"
        details = dict.fromkeys(wording.left_out_detail(result.left_out or "") for result in results)
        why = "; ".join([text for text in details if text][:MAX_REASONS])
        sentences.append(f" n/a: {kind}: {workload} was not sent to {names}{f' ({why})' if why else ''}.")
    return "".join(sentences)


def _decision(findings: Findings) -> Section | None:
    """Return the candidates of the objective, each workload by itself, and what was not measured."""
    advice = findings.recommendation
    blocks: list[Block] = [Paragraph(f"Objective: {advice.objective or NO_OBJECTIVE}."), Bullets(advice.why)]
    table = _candidates(findings)
    blocks += [table] if table.rows else []
    if advice.by_workload:
        blocks += [Paragraph("For each workload by itself:"), Bullets(tuple(words.by_workload(findings)))]
    if advice.not_measured:
        blocks += [Paragraph("Not measured, and could change the answer:"), Bullets(advice.not_measured)]
    return Section("Candidates for the objective", tuple(blocks), 3)


def _candidates(findings: Findings) -> Table:
    advice = findings.recommendation
    scored = [candidate for candidate in advice.candidates if candidate.score.value is not None]
    caveats = Caveats(candidate.validity for candidate in scored)
    rows: list[tuple[document.Cell, ...]] = []
    for candidate in scored:
        variant = findings.variant(candidate.variant)
        rank = NOTHING if candidate.rank is None else str(candidate.rank)
        chance = NOTHING if candidate.chance_best is None else f"{candidate.chance_best:.0%}"
        mark = " (recommended)" if candidate.variant == advice.chosen else ""
        rows.append(
            (
                wording.plain_number(candidate.rank, rank),
                wording.short_name(findings, variant) + mark,
                wording.config(variant),
                wording.quantity(
                    candidate.score,
                    metric=advice.metric,
                    caveats=wording.caveat_codes(candidate.validity),
                    with_unit=True,
                ),
                "best" if candidate.variant == advice.best else _against_best(candidate),
                wording.plain_number(candidate.chance_best, chance),
                caveats.of(candidate.validity),
            )
        )
    note = (
        f"Score: {advice.objective}. P(best): share of 4,000 draws from the intervals in which the variant has the "
        "best score."
    )
    if any(candidate.rank is None for candidate in scored):
        note += " Unranked rows: see Caveats."
    note += caveats.note
    absent = [
        findings.variant(candidate.variant).short_name
        for candidate in advice.candidates
        if candidate.score.value is None
    ]
    if absent:
        note += f" No score, because a workload failed or does not fit: {join_names(absent)}."
    return Table(
        ("Rank", "Variant", "Configuration", "Score", "vs best", "P(best)", "Caveats"),
        tuple(rows),
        note,
        points.decision(findings),
    )


def _against_best(candidate: Candidate) -> document.Cell:
    if candidate.against_best is None:
        return NOTHING
    if not candidate.comparable:
        return "not comparable"
    verdict = "not significantly different" if candidate.equal_to_best else "different"
    return wording.change(candidate.against_best, f"{wording.percent(candidate.against_best)}: {verdict}")


def _throughput(findings: Findings) -> Section | None:
    """Return the throughputs by variant and workload, over all requests of the workload."""
    rows: list[tuple[document.Cell, ...]] = []
    caveats = Caveats(result.validity for result in findings.results if result.left_out is None)
    for result in findings.results:
        figures = {name: result.mean(name, "all") for name in _THROUGHPUTS}
        if any(figure is not None for figure in figures.values()):
            codes = wording.caveat_codes(result.validity)
            variant = findings.variant(result.variant)
            rows.append(
                (
                    wording.short_name(findings, variant),
                    wording.config(variant),
                    result.workload,
                    *(wording.quantity(figure, metric=name, caveats=codes) for name, figure in figures.items()),
                    caveats.of(result.validity),
                )
            )
    if not rows:
        return None
    titles = (f"{METRICS[name].title} ({wording.unit(METRICS[name].unit)})" for name in _THROUGHPUTS)
    note = (
        "Tokens and requests of the successful requests, divided by the duration of the workload. Cold requests are "
        f"included.{caveats.note}"
    )
    point = points.against_baseline(findings, "output_throughput", "all")
    columns = ("Variant", "Configuration", "Workload", *titles, "Caveats")
    return Section("Throughput", (Table(columns, tuple(rows), note, point),), 3)


def _bounds(findings: Findings) -> Section | None:
    """Return the share of the bound that each result reaches; None: no bound is known."""
    rows: list[tuple[document.Cell, ...]] = []
    gpus: list[str] = []
    for result in findings.results:
        bound = result.bound
        if bound is None:
            continue
        shares = []
        for metric, condition in points.BOUNDED:
            mean = result.mean(metric, condition)
            share = None if mean is None or mean.value is None else bound.share(metric, mean.value)
            text = NOTHING if share is None else wording.share(share)
            shares.append(wording.plain_number(share, text))
        rows.append(
            (
                wording.short_name(findings, result.variant),
                result.workload,
                *shares,
                wording.plain_number(bound.tpot_s, f"{bound.tpot_s * 1000:.3g} ms", "s", "tpot_s"),
                bound.limiter.value,
            )
        )
        gpus.append(bound.gpu)
    if not rows:
        return None
    note = (
        "Share of the speed at which memory or arithmetic of the GPUs would be fully used "
        f"({', '.join(dict.fromkeys(gpus))}, by data sheet); docs/bounds.md has the formulas. Communication, kernel "
        "launches and the CPU are not counted."
    )
    titles = ("Variant", "Workload", "TPS", "TPOT", "Output throughput", "Least TPOT", "Decode limited by")
    return Section("Share of the hardware bound", (Table(titles, tuple(rows), note, points.bounds(findings)),), 3)


def _percentiles(findings: Findings) -> Section | None:
    """Return the distributions by run and workload, if there are enough samples for percentiles."""
    rows = tuple(row for cell in findings.cells for row in _percentile_rows(findings, cell))
    if not rows:
        return None
    statistics = ("n", "Mean", "Median", "p90", "p99", "Min", "Max", "Spread")
    columns = ("Variant", "Run", "Workload", "Metric", "Samples", *statistics)
    formulas = " ".join(f"{m.title}: {m.meaning}." for m in METRICS.values() if m.of_samples)
    note = (
        "Seconds, and tok/s for TPS. Percentiles are interpolated linearly, as in vllm bench serve. Spread: standard "
        f"deviation / mean. {formulas}"
    )
    return Section(
        "Percentiles of single samples", (Table(columns, rows, note, points.percentiles(findings, FEW_SAMPLES)),), 3
    )


def _percentile_rows(findings: Findings, cell: Cell) -> Iterator[tuple[document.Cell, ...]]:
    if cell.left_out is not None or cell.succeeded < FEW_SAMPLES:
        return
    for metric, condition in _DISTRIBUTIONS:
        s = cell.summary(metric, condition)
        if s is not None:
            values = (s.mean, s.median, s.p90, s.p99, s.minimum, s.maximum)
            spread = NOTHING if s.spread is None else f"{s.spread:.1%}"
            yield (
                wording.short_name(findings, cell.variant),
                cell.label,
                cell.workload,
                METRICS[metric].title,
                wording.CONDITION[condition],
                wording.plain_number(s.n, str(s.n)),
                *(wording.plain_number(v, wording.number(v), METRICS[metric].unit, metric) for v in values),
                wording.plain_number(s.spread, spread),
            )


def _front(findings: Findings) -> Section | None:
    """Return the speed for one user against the throughput per GPU."""
    if not findings.pareto:
        return None
    rows = tuple(
        (
            wording.short_name(findings, point.variant),
            wording.config(findings.variant(point.variant)),
            point.workload,
            wording.quantity(point.tps_per_user, metric="decode_tps"),
            wording.quantity(point.tps_per_gpu, metric="output_tps_per_gpu"),
            "yes"
            if point.dominated_by is None
            else f"no: {wording.short_name(findings, point.dominated_by)} is better in both",
        )
        for point in findings.pareto
    )
    note = "tok/s/user: mean of 1 / TPOT. On the front: no variant is better in both means on this workload."
    columns = ("Variant", "Configuration", "Workload", "tok/s/user", "tok/s/GPU", "On the front")
    return Section("Speed per user and throughput per GPU", (Table(columns, rows, note, points.front(findings)),), 3)


def _replicas(findings: Findings) -> Section | None:
    """Return all variants on the same number of GPUs, as replicas."""
    if not findings.scaling:
        return None
    rows = tuple(
        (
            wording.short_name(findings, result.variant),
            wording.config(findings.variant(result.variant)),
            result.workload,
            wording.plain_number(result.replicas, f"{result.replicas} x {result.gpus}"),
            wording.quantity(result.output_throughput, metric="output_throughput"),
            wording.quantity(result.total_throughput, metric="total_throughput"),
            wording.quantity(result.per_gpu, metric="output_tps_per_gpu"),
        )
        for result in findings.scaling
    )
    figures = ("Output tok/s", "Total tok/s", "Output tok/s/GPU")
    columns = ("Variant", "Configuration", "Workload", "Replicas x GPUs", *figures)
    note = (
        f"Each variant on {findings.scaling[0].gpus_total} GPUs. Computed, not measured: replicas are assumed to share "
        "nothing."
    )
    return Section("On the same number of GPUs", (Table(columns, rows, note, points.replicas(findings)),), 3)

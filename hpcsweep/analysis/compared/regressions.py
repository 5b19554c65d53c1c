"""Comparison of the same variants in two sweeps: over time, versions or clusters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpcsweep.analysis.compared.compare import MetricTables, compare_family
from hpcsweep.analysis.compared.startups_compared import StartupComparison, compare_startups
from hpcsweep.analysis.compared.variants import variant_name
from hpcsweep.analysis.findings.compared import Comparison, Verdict
from hpcsweep.analysis.findings.measured import Cell, SampleSet
from hpcsweep.analysis.measured.cells import build_cells
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.analysis.measured.results import build_results
from hpcsweep.analysis.rows import RunRow, SweepRow
from hpcsweep.spec.phases import OutcomeKind

DEFAULT_METRICS = ("tps", "ttft_s", "e2e_s", "output_throughput")


@dataclass(frozen=True)
class Pair:
    """A variant of both sweeps.

    `lost`: why it is lost, where it completed in the first sweep and in no run of the second; else empty. `startups`
    never count as regressions, because file system caches change them as much as a release does.
    """

    name: str
    comparisons: tuple[Comparison, ...]
    startups: tuple[StartupComparison, ...]
    lost: str
    simulated: bool


@dataclass(frozen=True)
class SweepComparison:
    """Two sweeps. `only_first`, `only_second`: names of the variants of one sweep only."""

    first: str
    second: str
    pairs: tuple[Pair, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    changed_conditions: tuple[str, ...]

    @property
    def judged(self) -> list[Comparison]:
        """Comparisons with a verdict."""
        return [c for pair in self.pairs for c in pair.comparisons if c.p_value is not None]

    def regressions(self, tolerance_percent: float = 0.0) -> list[str]:
        """Return a sentence for each variant that was lost, or is worse by more than the tolerance."""
        sentences = [f"{pair.name}: {pair.lost}" for pair in self.pairs if pair.lost]
        for pair in self.pairs:
            for c in pair.comparisons:
                change = c.percent.value
                if c.verdict is Verdict.WORSE and change is not None and abs(change) > tolerance_percent:
                    sentences.append(f"{pair.name} on {c.workload}: {METRICS[c.metric].title} {change:+.1f}%")
        return sentences


def compare_sweeps(
    first: SweepRow, second: SweepRow, metrics: Sequence[str] = DEFAULT_METRICS, condition: SampleSet = "warm"
) -> SweepComparison:
    """Compare variants with the same levels on the same axes, on workloads of the same name, with the first sweep.

    Verdicts are corrected over all variants and workloads of a metric. The spread between runs is pooled over both
    sweeps.
    """
    old, new = _by_levels(first), _by_levels(second)
    cells = [*_cells(first, "a"), *_cells(second, "b")]
    names = list(dict.fromkeys(cell.variant for cell in cells))
    tables = MetricTables(build_results(cells, names), cells)
    shared = [key for key in old if key in new]
    by_variant: dict[str, list[Comparison]] = {}
    for metric in metrics:
        own: SampleSet = condition if METRICS[metric].of_samples else "all"
        family = []
        for workload in tables.workloads:
            table = tables.get(workload, metric, own)
            pairs = [(f"a/{old[key][0].variant_id}", f"b/{new[key][0].variant_id}") for key in shared]
            family += [(table, a, b) for a, b in pairs if a in table.arms and b in table.arms]
        for comparison in compare_family(family):
            by_variant.setdefault(comparison.variant, []).append(comparison)
    return SweepComparison(
        first=first.sweep,
        second=second.sweep,
        pairs=tuple(
            _pair(old[key], new[key], by_variant, startups)
            for key, startups in zip(shared, compare_startups([(old[key], new[key]) for key in shared]), strict=True)
        ),
        only_first=tuple(_name(runs[0]) for key, runs in old.items() if key not in new),
        only_second=tuple(_name(runs[0]) for key, runs in new.items() if key not in old),
        changed_conditions=tuple(_changed(first, second)),
    )


def _by_levels(sweep: SweepRow) -> dict[tuple[tuple[str, str], ...], list[RunRow]]:
    """Return the runs by the levels of their variant."""
    grouped: dict[tuple[tuple[str, str], ...], list[RunRow]] = {}
    for run in sweep.runs:
        if not run.not_submitted:
            grouped.setdefault(tuple(sorted(run.axes.items())), []).append(run)
    return grouped


def _cells(sweep: SweepRow, prefix: str) -> list[Cell]:
    return [replace(cell, variant=f"{prefix}/{cell.variant}") for cell in build_cells(sweep.runs)]


def _name(run: RunRow) -> str:
    return variant_name(run.axes)


def _pair(
    old: Sequence[RunRow],
    new: Sequence[RunRow],
    by_variant: dict[str, list[Comparison]],
    startups: tuple[StartupComparison, ...],
) -> Pair:
    completed = [any(run.outcome is OutcomeKind.COMPLETED for run in runs) for runs in (old, new)]
    lost = ""
    if completed[0] and not completed[1]:
        last = new[-1]
        outcome = last.state.value if last.outcome is None else last.outcome.value
        lost = f"completed before, now {outcome}" + (f": {last.reason}" if last.reason else "")
    comparisons = tuple(by_variant.get(f"b/{new[0].variant_id}", ()))
    simulated = any(run.simulated for run in (*old, *new))
    return Pair(_name(new[0]), comparisons, startups, lost, simulated)


def _changed(first: SweepRow, second: SweepRow) -> list[str]:
    """Return what else differs between the sweeps and may explain a change."""
    pairs = [("cluster", first.cluster, second.cluster)]
    pairs += [
        (key, first.provenance.get(key, ""), second.provenance.get(key, ""))
        for key in sorted(first.provenance.keys() | second.provenance.keys())
    ]
    for what in ("host", "gpu_name"):
        seen = [
            ", ".join(sorted({str(v) for r in s.runs if r.last is not None and (v := getattr(r.last, what))}))
            for s in (first, second)
        ]
        pairs.append((what.replace("_name", ""), seen[0], seen[1]))
    versions = [
        {f"{name} {value}" for r in s.runs if r.last is not None for name, value in r.last.versions.items()}
        for s in (first, second)
    ]
    pairs.append(("versions", ", ".join(sorted(versions[0])), ", ".join(sorted(versions[1]))))
    return [f"{what}: {old or 'not known'} -> {new or 'not known'}" for what, old, new in pairs if old != new]

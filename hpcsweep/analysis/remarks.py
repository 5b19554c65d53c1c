"""Remarks: what a reader of the tables must know, and might miss."""

from collections.abc import Iterator, Mapping, Sequence

from hpcsweep.analysis.findings import Remark, RunFinding, Variant
from hpcsweep.analysis.findings.compared import Comparison, ScaledResult
from hpcsweep.analysis.findings.measured import Cell, StartupFinding
from hpcsweep.spec.phases import OutcomeKind, Phase

COLD_RATIO = 1.1
"""A cold request is worth a remark when it takes this much longer than the warm median."""

MISLED_PERCENT = 3.0
"""... and a comparison when leaving cold requests out changes it by this many percentage points."""


def build_remarks(
    variants: Sequence[Variant],
    runs: Sequence[RunFinding],
    cells: Sequence[Cell],
    comparisons: Sequence[Comparison],
    scaling: Sequence[ScaledResult],
    startups: Sequence[StartupFinding],
) -> tuple[Remark, ...]:
    """All remarks, those that change a reader's conclusion first."""
    by_id = {variant.variant: variant for variant in variants}
    return (
        *_misled_by_cold(by_id, cells, comparisons),
        *_replicas(by_id, scaling),
        *_cold_cells(cells),
        *_odd_cells(cells),
        *_cold_compiles(runs, startups),
        *_hosts(cells),
        *_leftovers(runs),
    )


def _misled_by_cold(
    by_id: Mapping[str, Variant], cells: Sequence[Cell], comparisons: Sequence[Comparison]
) -> Iterator[Remark]:
    """Where the difference to the baseline is made by a cold request."""
    warm = {
        (c.workload, c.metric, c.reference, c.variant): c.percent.value for c in comparisons if c.condition == "warm"
    }
    slowest: dict[tuple[str, str], float] = {}
    for cell in cells:
        for one in cell.cold:
            if one.e2e_s is not None:
                key = (cell.variant, cell.workload)
                slowest[key] = max(slowest.get(key, 0.0), one.e2e_s)
    for one_comparison in comparisons:
        c = one_comparison
        if c.metric != "tps" or c.condition != "all" or c.percent.value is None:
            continue
        only_warm = warm.get((c.workload, c.metric, c.reference, c.variant))
        if only_warm is None or abs(c.percent.value - only_warm) < MISLED_PERCENT:
            continue
        cold_s = slowest.get((c.variant, c.workload), slowest.get((c.reference, c.workload), 0.0))
        yield Remark(
            "cold_in_average",
            c.variant,
            f"{by_id[c.variant].short_name} on {c.workload}: TPS {c.percent.value:+.1f}% against the baseline over all "
            f"samples, {only_warm:+.1f}% over warm ones: a cold request of {cold_s:.2f} s stands in the average",
        )


def _replicas(by_id: Mapping[str, Variant], scaling: Sequence[ScaledResult]) -> Iterator[Remark]:
    """Where replicas of a smaller variant reach the largest one on the same GPUs."""
    for workload in dict.fromkeys(one.workload for one in scaling):
        here = [one for one in scaling if one.workload == workload and one.output_throughput.value is not None]
        whole = [one for one in here if one.replicas == 1]
        if not whole:
            continue
        best = max(whole, key=lambda one: one.output_throughput.value or 0.0)
        for one in here:
            value, limit = one.output_throughput.value or 0.0, best.output_throughput.value or 0.0
            if one.replicas > 1 and limit and value >= limit:
                yield Remark(
                    "replicas",
                    one.variant,
                    f"{one.replicas} replicas of {by_id[one.variant].short_name} ({one.gpus} GPUs each) would give "
                    f"{100 * (value / limit - 1):+.1f}% output throughput on {workload} against "
                    f"{by_id[best.variant].short_name} on the same {one.gpus_total} GPUs (arithmetic, not measured)",
                )


def _cold_cells(cells: Sequence[Cell]) -> Iterator[Remark]:
    """One remark a kind of cold request, with the slowest."""
    seen = [(cell, one, one.slower_by) for cell in cells for one in cell.cold if one.slower_by is not None]
    for kind in dict.fromkeys(one.kind for _, one, _ in seen):
        slow = [(cell, one, ratio) for cell, one, ratio in seen if one.kind == kind and ratio >= COLD_RATIO]
        if slow:
            cell, worst, ratio = max(slow, key=lambda item: item[2])
            total = sum(one.kind == kind for _, one, _ in seen)
            yield Remark(
                "cold_sample",
                cell.run,
                f"{len(slow)} of {total} {kind.replace('_', ' ')} requests took at least {COLD_RATIO:g} x the warm "
                f"median; slowest: {cell.label}, {cell.workload}, {worst.sample}: {worst.e2e_s:.2f} s, {ratio:.2f} x",
            )


def _odd_cells(cells: Sequence[Cell]) -> Iterator[Remark]:
    for cell in cells:
        where = f"{cell.label}, {cell.workload}"
        for drift in cell.drift:
            if drift.seen:
                yield Remark(
                    "drift",
                    cell.run,
                    f"{where}: {drift.metric} changes by {drift.change.value:+.1f}% from first to last",
                )
        for metric in dict.fromkeys(one.metric for one in cell.outliers):
            far = [one for one in cell.outliers if one.metric == metric]
            worst = max(far, key=lambda one: abs(one.value - one.median))
            yield Remark(
                "outliers",
                cell.run,
                f"{where}: {len(far)} of {cell.succeeded} samples are outliers in {metric}; farthest {worst.sample}: "
                f"{worst.value:.3g} s, median {worst.median:.3g} s",
            )
        if cell.failed and cell.validity.status != "invalid":
            causes = ", ".join(f"{count} {cause}" for cause, count in cell.failures.items())
            what = "1 request" if cell.failed == 1 else f"{cell.failed} requests"
            yield Remark("failed_requests", cell.run, f"{where}: {what} failed ({causes})")


def _cold_compiles(runs: Sequence[RunFinding], startups: Sequence[StartupFinding]) -> Iterator[Remark]:
    """Starts that ended in compile with a cold cache: a warm one might have come through."""
    caches = {one.run: one.compile_cache for one in startups}
    ended = (OutcomeKind.STALLED, OutcomeKind.STARTUP_TIMEOUT, OutcomeKind.WALLTIME)
    cold = [
        run
        for run in runs
        if run.outcome in ended and run.phase is Phase.COMPILE and caches.get(run.run) in (None, "miss")
    ]
    if cold:
        what = "1 run" if len(cold) == 1 else f"{len(cold)} runs"
        yield Remark(
            "cold_compile",
            cold[0].run,
            f"{what} ended in compile with a cold compile cache: a retry with the warmer cache "
            "(on_stall: retry_warm) could change the answer",
        )


def _hosts(cells: Sequence[Cell]) -> Iterator[Remark]:
    """Variants that ran on different nodes: part of a difference may be the node's."""
    hosts = list(dict.fromkeys(cell.host for cell in cells if cell.host and cell.left_out is None))
    if len(hosts) > 1:
        listed = ", ".join(hosts[:6]) + (f" and {len(hosts) - 6} more" if len(hosts) > 6 else "")
        yield Remark("hosts", "", f"the runs used {len(hosts)} nodes ({listed}): a difference may be the node's")


def _leftovers(runs: Sequence[RunFinding]) -> Iterator[Remark]:
    for run in runs:
        if run.killed:
            yield Remark("killed", run.run, f"{run.label}: {len(run.killed)} processes had to be killed at the end")

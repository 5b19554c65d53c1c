"""Remarks: observations that change how a reader should read the tables."""

from collections.abc import Iterator, Mapping, Sequence

from hpcsweep.analysis.findings import Remark, RunFinding, Variant
from hpcsweep.analysis.findings.compared import Comparison, ScaledResult
from hpcsweep.analysis.findings.measured import Cell, StartupFinding, Values
from hpcsweep.spec.phases import OutcomeKind, Phase

COLD_RATIO = 1.1
"""A cold request is reported when it takes at least this many times the warm median."""

MISLED_PERCENT = 3.0
"""A comparison is reported when leaving cold requests out changes it by at least this many percentage points."""

MAX_NODES = 6
"""Nodes named in a remark."""


def build_remarks(
    variants: Sequence[Variant],
    runs: Sequence[RunFinding],
    cells: Sequence[Cell],
    comparisons: Sequence[Comparison],
    scaling: Sequence[ScaledResult],
    startups: Sequence[StartupFinding],
) -> tuple[Remark, ...]:
    """Return all remarks, those that change a reader's conclusion first."""
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
    """Yield the comparisons with the baseline that a cold request changes."""
    warm = {
        (c.workload, c.metric, c.reference, c.variant): c.percent.value for c in comparisons if c.condition == "warm"
    }
    slowest: dict[tuple[str, str], float] = {}
    for cell in cells:
        for request in cell.cold:
            if request.e2e_s is not None:
                key = (cell.variant, cell.workload)
                slowest[key] = max(slowest.get(key, 0.0), request.e2e_s)
    for c in comparisons:
        if c.metric != "tps" or c.condition != "all" or c.percent.value is None:
            continue
        warm_percent = warm.get((c.workload, c.metric, c.reference, c.variant))
        if warm_percent is None or abs(c.percent.value - warm_percent) < MISLED_PERCENT:
            continue
        cold_s = max(slowest.get((arm, c.workload), 0.0) for arm in (c.variant, c.reference))
        yield Remark(
            "cold_in_average",
            c.variant,
            f"{by_id[c.variant].short_name} on {c.workload}: TPS {c.percent.value:+.1f}% against the baseline over all "
            f"samples, {warm_percent:+.1f}% over warm ones; the averages include a {cold_s:.1f} s cold request",
            {"workload": c.workload, "all_percent": c.percent.value, "warm_percent": warm_percent, "cold_s": cold_s},
        )


def _replicas(by_id: Mapping[str, Variant], scaling: Sequence[ScaledResult]) -> Iterator[Remark]:
    """Yield where replicas of a smaller variant reach the largest one on the same GPUs."""
    for workload in dict.fromkeys(result.workload for result in scaling):
        here = [r for r in scaling if r.workload == workload and r.output_throughput.value is not None]
        whole = [result for result in here if result.replicas == 1]
        if not whole:
            continue
        best = max(whole, key=lambda result: result.output_throughput.value or 0.0)
        limit = best.output_throughput.value or 0.0
        for result in here:
            value = result.output_throughput.value or 0.0
            if result.replicas > 1 and limit and value >= limit:
                percent = 100 * (value / limit - 1)
                yield Remark(
                    "replicas",
                    result.variant,
                    f"{result.replicas} replicas of {by_id[result.variant].short_name} ({result.gpus} GPUs each) would "
                    f"give {percent:+.1f}% output throughput on {workload} against {by_id[best.variant].short_name} on "
                    f"the same {result.gpus_total} GPUs (computed, not measured)",
                    {"workload": workload, "replicas": result.replicas, "against": best.variant, "percent": percent},
                )


def _cold_cells(cells: Sequence[Cell]) -> Iterator[Remark]:
    """Yield one remark per kind of cold request, with the slowest."""
    seen = [(cell, request, request.slower_by) for cell in cells for request in cell.cold if request.slower_by]
    for kind in dict.fromkeys(request.kind for _, request, _ in seen):
        of_kind = [item for item in seen if item[1].kind == kind]
        slow = [item for item in of_kind if item[2] >= COLD_RATIO]
        if slow:
            cell, worst, ratio = max(slow, key=lambda item: item[2])
            yield Remark(
                "cold_sample",
                cell.run,
                f"{len(slow)} of {len(of_kind)} {kind.replace('_', ' ')} requests took at least {COLD_RATIO:g}x the "
                f"warm median; slowest: {worst.sample} of {cell.label} on {cell.workload}, {worst.e2e_s:.2f} s "
                f"({ratio:.2f}x)",
                {"kind": kind, "slow": len(slow), "of": len(of_kind), "sample": worst.sample, "ratio": ratio},
            )


def _odd_cells(cells: Sequence[Cell]) -> Iterator[Remark]:
    for cell in cells:
        where = f"{cell.label}, {cell.workload}"
        for drift in cell.drift:
            if drift.seen and drift.change.value is not None:
                change = drift.change.value
                text = f"{where}: {drift.metric} changes by {change:+.1f}% from the first to the last request"
                values: Values = {"workload": cell.workload, "metric": drift.metric, "percent": change}
                yield Remark("drift", cell.run, text, values)
        for metric in dict.fromkeys(outlier.metric for outlier in cell.outliers):
            far = [outlier for outlier in cell.outliers if outlier.metric == metric]
            worst = max(far, key=lambda outlier: abs(outlier.value - outlier.median))
            yield Remark(
                "outliers",
                cell.run,
                f"{where}: {len(far)} of {cell.succeeded} samples are outliers in {metric}; farthest: {worst.sample}, "
                f"{worst.value:.3g} s (median {worst.median:.3g} s)",
                {"workload": cell.workload, "metric": metric, "outliers": len(far), "sample": worst.sample},
            )
        if cell.failed and cell.validity.status != "invalid":
            causes = ", ".join(f"{count} {cause}" for cause, count in cell.failures.items())
            requests = "1 request" if cell.failed == 1 else f"{cell.failed} requests"
            text = f"{where}: {requests} failed ({causes})"
            yield Remark("failed_requests", cell.run, text, {"workload": cell.workload, "failed": cell.failed})


def _cold_compiles(runs: Sequence[RunFinding], startups: Sequence[StartupFinding]) -> Iterator[Remark]:
    """Yield the starts that ended in compile with a cold cache, and might complete with a warm one."""
    caches = {startup.run: startup.compile_cache for startup in startups}
    ended = (OutcomeKind.STALLED, OutcomeKind.STARTUP_TIMEOUT, OutcomeKind.WALLTIME)
    cold = [
        run
        for run in runs
        if run.outcome in ended and run.phase is Phase.COMPILE and caches.get(run.run) in (None, "miss")
    ]
    if cold:
        count = "1 run" if len(cold) == 1 else f"{len(cold)} runs"
        yield Remark(
            "cold_compile",
            cold[0].run,
            f"{count} ended in compile with a cold compile cache; a retry with the warmer cache (on_stall: retry_warm) "
            "may complete",
            {"runs": [run.run for run in cold]},
        )


def _hosts(cells: Sequence[Cell]) -> Iterator[Remark]:
    """Yield a remark where the runs used several nodes, so that part of a difference may come from the node."""
    hosts = list(dict.fromkeys(cell.host for cell in cells if cell.host and cell.left_out is None))
    if len(hosts) > 1:
        more = f" and {len(hosts) - MAX_NODES} more" if len(hosts) > MAX_NODES else ""
        names = ", ".join(hosts[:MAX_NODES]) + more
        text = f"the runs used {len(hosts)} nodes ({names}); part of a difference may come from the node"
        yield Remark("hosts", "", text, {"hosts": hosts})


def _leftovers(runs: Sequence[RunFinding]) -> Iterator[Remark]:
    for run in runs:
        if run.killed:
            text = f"{run.label}: {len(run.killed)} processes had to be killed at the end"
            yield Remark("killed", run.run, text, {"processes": len(run.killed)})

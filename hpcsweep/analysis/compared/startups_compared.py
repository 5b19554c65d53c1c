"""Startup times of the same variants in two sweeps, by the state of the compile cache."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpcsweep.analysis.compared.ratios import basis, joint_df, percent_figure, verdict_of
from hpcsweep.analysis.findings.compared import Verdict
from hpcsweep.analysis.findings.measured import Figure, StartupFinding
from hpcsweep.analysis.measured.metrics import STARTUP_METRICS
from hpcsweep.analysis.measured.results import Estimate
from hpcsweep.analysis.measured.startup import (
    ASSUMED_STARTUP_SPREAD,
    build_startups,
    cache_of,
    startup_estimates,
    startup_figure,
)
from hpcsweep.analysis.rows import RunRow
from hpcsweep.analysis.stats.distribution import holm


@dataclass(frozen=True)
class StartupComparison:
    """One startup time of a variant, in the second sweep against the first.

    `first`, `second`: means over starts. `caches`: the state of the compile cache for the starts of each sweep (hit,
    miss or off, joined by commas; empty: no part in it, or not known). `reason`: why not comparable, else empty.
    `p_value`, `p_adjusted` (by Holm over all variants of the metric) None: not comparable.
    """

    metric: str
    first: Figure
    second: Figure
    caches: tuple[str, str]
    percent: Figure
    verdict: Verdict
    reason: str
    p_value: float | None
    p_adjusted: float | None
    simulated: bool


@dataclass(frozen=True)
class _Starts:
    """The starts of one variant in one sweep, and their hardware."""

    key: str
    starts: tuple[StartupFinding, ...]
    hardware: frozenset[str]

    def met(self, cache: str | None, metric: str) -> list[StartupFinding]:
        """Return the starts with this state of the compile cache."""
        return [start for start in self.starts if cache_of(start, metric) == cache]


def compare_startups(
    pairs: Sequence[tuple[Sequence[RunRow], Sequence[RunRow]]],
) -> list[tuple[StartupComparison, ...]]:
    """Compare, for each pair of variants (runs in the first sweep, in the second), every startup time that both have.

    Starts are compared with starts in the same state of the compile cache. Where both sweeps have no state in common,
    the means are given without a verdict. The spread between starts is pooled over both sweeps.
    """
    sides = [(_starts(f"a{n}", old), _starts(f"b{n}", new)) for n, (old, new) in enumerate(pairs)]
    everything = [start for both in sides for side in both for start in side.starts]
    compared: list[list[StartupComparison]] = [[] for _ in sides]
    for metric in STARTUP_METRICS:
        known = startup_estimates(everything, metric)
        drafts = [(n, draft) for n, (old, new) in enumerate(sides) for draft in _drafts(metric, old, new, known)]
        adjusted = iter(holm([draft.p_value for _, draft in drafts if draft.p_value is not None]))
        for n, draft in drafts:
            compared[n].append(draft if draft.p_value is None else _judged(draft, next(adjusted)))
    return [tuple(of) for of in compared]


def _starts(key: str, runs: Sequence[RunRow]) -> _Starts:
    starts = tuple(replace(start, variant=key) for start in build_startups(runs))
    names = {_hardware(run) for run in runs if run.last is not None}
    return _Starts(key, starts, frozenset(name for name in names if name))


def _hardware(run: RunRow) -> str:
    if run.simulated or (run.last is not None and run.last.simulated):
        return "simulated"
    gpu_name = run.last.gpu_name if run.last is not None else None
    return gpu_name or run.gpu_type or ("" if run.gpus else "no GPU")


def _drafts(
    metric: str, old: _Starts, new: _Starts, known: dict[tuple[str, str | None], Estimate]
) -> list[StartupComparison]:
    """Return a comparison for each state of the cache in both sweeps, else one without a verdict; none: no times."""
    states = [[cache for key, cache in known if key == side.key] for side in (old, new)]
    if not states[0] or not states[1]:
        return []
    problem = ""
    if old.hardware and new.hardware and old.hardware != new.hardware:
        problem = f"{', '.join(sorted(old.hardware))} against {', '.join(sorted(new.hardware))}"
    shared = [cache for cache in states[0] if cache in states[1]]
    if not problem and not shared:
        names = [", ".join(cache or "not known" for cache in of) for of in states]
        problem = f"compile cache: {names[0]} against {names[1]}"
    if problem:
        return [_draft(metric, old.starts, new.starts, problem)]
    return [
        _draft(
            metric,
            old.met(cache, metric),
            new.met(cache, metric),
            estimates=(known[old.key, cache], known[new.key, cache]),
        )
        for cache in shared
    ]


def _draft(
    metric: str,
    old: Sequence[StartupFinding],
    new: Sequence[StartupFinding],
    problem: str = "",
    estimates: tuple[Estimate, Estimate] | None = None,
) -> StartupComparison:
    first, second = startup_figure(metric, old), startup_figure(metric, new)
    ratio = (second.value or math.nan) / (first.value or math.nan)
    n = first.n + second.n
    simulated = first.simulated or second.simulated
    percent = Figure(100 * (ratio - 1), "%", n, "starts", simulated=simulated)
    p_value = None
    if estimates is not None:
        percent, p_value = percent_figure(
            math.log(ratio),
            math.hypot(*(estimate.se for estimate in estimates)),
            joint_df(estimates),
            n=n,
            of="starts",
            condition="all",
            method=basis(any(estimate.assumed for estimate in estimates), ASSUMED_STARTUP_SPREAD),
            simulated=simulated,
        )
    return StartupComparison(
        metric,
        first,
        second,
        (_caches(metric, old), _caches(metric, new)),
        percent,
        Verdict.NOT_COMPARABLE,
        problem,
        p_value,
        None,
        simulated,
    )


def _caches(metric: str, starts: Sequence[StartupFinding]) -> str:
    return ", ".join(dict.fromkeys(cache for start in starts if (cache := cache_of(start, metric))))


def _judged(draft: StartupComparison, p_adjusted: float) -> StartupComparison:
    verdict = verdict_of(draft.metric, draft.percent, p_adjusted)
    return replace(draft, verdict=verdict, p_adjusted=p_adjusted)

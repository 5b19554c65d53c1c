"""Startup of every run by phase, and what a warm compile cache is worth."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hpcsweep.analysis.findings.measured import CacheEffect, Figure, PhaseFinding, StartupFinding
from hpcsweep.analysis.measured.cells import label_of
from hpcsweep.analysis.measured.metrics import METRICS, STARTUP_METRICS
from hpcsweep.analysis.measured.results import Estimate, Observation, estimate, pool
from hpcsweep.analysis.rows import AttemptRow, PhaseRow, RunRow
from hpcsweep.analysis.stats.distribution import describe
from hpcsweep.spec.phases import STARTUP_PHASES, Phase

ASSUMED_STARTUP_SPREAD = 0.10
"""Relative standard deviation between two starts of one variant, where none was repeated: page caches, file systems."""

STARTUP_ERROR_S = 0.5
"""Standard error of a single startup time, beside the spread: readiness is asked for once a second."""

SHORTEST_JUDGED_S = 1.0
"""Below this a time says how busy the machine was at that moment: hundredths of a second double for nothing."""


def build_startups(runs: Sequence[RunRow]) -> tuple[StartupFinding, ...]:
    """The startup of the attempt that counts, of every run that was started."""
    return tuple(_startup(run, run.last) for run in runs if run.last is not None)


def _startup(run: RunRow, attempt: AttemptRow) -> StartupFinding:
    phases = tuple(_phase(row, attempt) for row in attempt.phases)
    return StartupFinding(
        run=run.run,
        label=label_of(run),
        variant=run.variant_id,
        attempt=attempt.attempt,
        startup_s=attempt.startup_s,
        load_s=_seconds(attempt, phases, "load_s", Phase.LOAD_WEIGHTS),
        compile_s=_seconds(attempt, phases, "compile_s", Phase.COMPILE),
        gpu_memory_bytes=_number(attempt, "weights_bytes_per_gpu"),
        kv_cache_tokens=_number(attempt, "kv_cache_tokens"),
        compile_cache=_cache(attempt),
        phases=tuple(phase for phase in phases if phase.phase.value in STARTUP_PHASES),
        outcome=attempt.outcome,
        ended_in=attempt.phase if attempt.startup_s is None else None,
        simulated=run.simulated or attempt.simulated,
    )


def _phase(row: PhaseRow, attempt: AttemptRow) -> PhaseFinding:
    """A phase that was cut by the end of the attempt lasts up to that end; None where that end is not known."""
    cut = attempt.startup_s is None and attempt.phase is row.phase and row.phase.value in STARTUP_PHASES
    end_s = attempt.duration_s if row.end_s is None else row.end_s
    return PhaseFinding(
        phase=row.phase,
        start_s=row.start_s,
        duration_s=None if end_s is None else max(end_s - row.start_s, 0.0),
        ended=row.end_s is not None and not cut,
        budget_s=row.budget_s,
        evidence=row.evidence,
    )


def _number(attempt: AttemptRow, name: str) -> float | None:
    fact = attempt.fact(name)
    is_number = fact is not None and isinstance(fact.value, (int, float)) and not isinstance(fact.value, bool)
    return float(fact.value) if fact is not None and is_number else None


def _seconds(attempt: AttemptRow, phases: Sequence[PhaseFinding], fact: str, phase: Phase) -> float | None:
    """The engine's own figure, else the length of the phase; None: neither was seen to its end."""
    told = _number(attempt, fact)
    if told is not None:
        return told
    lengths = [p.duration_s for p in phases if p.phase is phase and p.ended and p.duration_s is not None]
    return sum(lengths) if lengths else None


def _cache(attempt: AttemptRow) -> str | None:
    fact = attempt.fact("compile_cache")
    if fact is not None:
        return str(fact.value)
    if _number(attempt, "graphs_compiled"):
        return "miss"
    return "hit" if _number(attempt, "graphs_from_cache") else None


def cache_effects(startups: Sequence[StartupFinding]) -> tuple[CacheEffect, ...]:
    """Startup time of each variant that was started both with a cold and with a warm compile cache."""
    found = []
    ready: dict[str, list[StartupFinding]] = {}
    for one in startups:
        if one.startup_s is not None:
            ready.setdefault(one.variant, []).append(one)
    for variant, own in ready.items():
        cold = [one for one in own if one.compile_cache == "miss"]
        warm = [one for one in own if one.compile_cache == "hit"]
        if cold and warm:
            found.append(CacheEffect(variant, startup_figure("startup_s", cold), startup_figure("startup_s", warm)))
    return tuple(found)


def startup_figure(metric: str, startups: Sequence[StartupFinding]) -> Figure:
    """The mean over starts that have this figure."""
    values = [value for one in startups if (value := getattr(one, metric)) is not None]
    simulated = any(one.simulated for one in startups)
    if not values:
        return Figure(None, METRICS[metric].unit, 0, "starts", simulated=simulated, note="not seen")
    one = describe(np.array([values]))[0]
    return Figure(
        one.mean,
        METRICS[metric].unit,
        one.n,
        "starts",
        low=one.low,
        high=one.high,
        method="" if one.low is None else "t over starts, on the logarithmic scale",
        simulated=simulated,
        note="no interval from one start" if one.low is None else "",
    )


class StartupTimes:
    """The startups of a sweep by variant, and how well each time is known."""

    def __init__(self, startups: Sequence[StartupFinding]) -> None:
        self._startups = startups
        self._by_variant: dict[str, list[StartupFinding]] = {}
        for one in startups:
            self._by_variant.setdefault(one.variant, []).append(one)
        self._estimates = {metric: startup_estimates(startups, metric) for metric in STARTUP_METRICS}
        self._compiled = {one.variant for one in startups if one.compile_s is not None}
        self._caches = list(dict.fromkeys(one.compile_cache for one in startups))
        self.simulated = any(one.simulated for one in startups)

    def figure(self, variant: str) -> Figure:
        """The mean time to ready of a variant, over its starts."""
        return startup_figure("startup_s", self._by_variant.get(variant, ()))

    def mean_s(self, variant: str) -> float:
        """The same as a number of seconds; infinite where it never was ready."""
        value = self.figure(variant).value
        return math.inf if value is None else value

    def best_known(self, variant: str) -> Estimate | None:
        """The time to ready, by the state of the compile cache in which it was seen most often; None: never."""
        known = [one for cache in self._caches if (one := self._at("startup_s", variant, cache)) is not None]
        return max(known, key=lambda one: one.runs) if known else None

    def pairs(self, metric: str, first: str, second: str) -> dict[str | None, tuple[Estimate, Estimate]]:
        """Both variants' times by the state of the compile cache; None: it plays no part for them.

        A variant that compiled nothing stands beside the other in every state in which that one was seen.
        """
        found = {}
        for cache in dict.fromkeys((None, *self._caches)):
            a, b = self._at(metric, first, cache), self._at(metric, second, cache)
            if cache is not None and a is None and first not in self._compiled:
                a = self._at(metric, first, None)
            elif cache is not None and b is None and second not in self._compiled:
                b = self._at(metric, second, None)
            if a is not None and b is not None:
                found[cache] = (a, b)
        return found

    def _at(self, metric: str, variant: str, cache: str | None) -> Estimate | None:
        return self._estimates[metric].get((variant, cache))


def cache_of(startup: StartupFinding, metric: str) -> str | None:
    """What the compile cache was to a startup time: hit, miss or off; None: it plays no part, or is not known."""
    return None if metric == "load_s" else startup.compile_cache


def startup_estimates(startups: Sequence[StartupFinding], metric: str) -> dict[tuple[str, str | None], Estimate]:
    """How well a startup time is known, by variant and state of the compile cache (times do not mix over it).

    Of the attempts in which it is at least `SHORTEST_JUDGED_S`. `STARTUP_ERROR_S` is in every error.
    """
    seen: dict[tuple[str, str | None], list[Observation]] = {}
    for one in startups:
        value = getattr(one, metric)
        if value is not None and SHORTEST_JUDGED_S <= value < math.inf:
            seen.setdefault((one.variant, cache_of(one, metric)), []).append(Observation(value, None, 1))
    spread = pool(seen.values(), ASSUMED_STARTUP_SPREAD)
    estimates = {key: estimate(observations, spread, of_samples=False) for key, observations in seen.items()}
    return {key: _with_error(one) for key, one in estimates.items() if one is not None}


def _with_error(one: Estimate) -> Estimate:
    return replace(one, se=math.hypot(one.se, STARTUP_ERROR_S / one.value / math.sqrt(one.runs)))

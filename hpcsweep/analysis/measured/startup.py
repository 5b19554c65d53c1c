"""Startup times of every run by phase, and the effect of the compile cache."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hpcsweep.analysis.findings.measured import CacheEffect, Figure, NodeStart, PhaseFinding, StartupFinding
from hpcsweep.analysis.measured.metrics import METRICS, STARTUP_METRICS
from hpcsweep.analysis.measured.results import Estimate, Observation, estimate, pool
from hpcsweep.analysis.rows import AttemptRow, FactRow, NodePart, PhaseRow, RunRow
from hpcsweep.analysis.stats.distribution import describe
from hpcsweep.spec.phases import STARTUP_PHASES, CacheUse, Phase

ASSUMED_STARTUP_SPREAD = 0.10
"""Relative standard deviation between two starts of one variant where none was repeated (page caches, file systems)."""

STARTUP_ERROR_S = 0.5
"""Standard error of a single startup time in addition to the spread: readiness is polled once per second."""

SHORTEST_JUDGED_S = 1.0
"""Shorter times are not judged: hundredths of a second double whenever the machine is busy."""


def build_startups(runs: Sequence[RunRow]) -> tuple[StartupFinding, ...]:
    """Return the startup of the attempt that counts, for every run that was started."""
    return tuple(_startup(run, run.last) for run in runs if run.last is not None)


def _startup(run: RunRow, attempt: AttemptRow) -> StartupFinding:
    phases = tuple(_phase(row, attempt) for row in attempt.phases)
    return StartupFinding(
        run=run.run,
        label=run.run,
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
        nodes=_nodes(attempt),
    )


def _nodes(attempt: AttemptRow) -> tuple[NodeStart, ...]:
    """Return the start of each node of a server on several nodes, that of the front end first; empty: one node."""
    if len(attempt.nodes) < 2:
        return ()
    ours = NodePart(0, attempt.nodes[0], attempt.phases, attempt.facts)
    return tuple(
        NodeStart(
            node=part.node,
            load_s=_number_in(part.facts, "load_s"),
            compile_s=_number_in(part.facts, "compile_s"),
            weights_bytes_per_gpu=_number_in(part.facts, "weights_bytes_per_gpu"),
            kv_cache_bytes=_number_in(part.facts, "kv_cache_bytes"),
            last_phase=next((p.phase for p in reversed(part.phases) if p.phase.value in STARTUP_PHASES), None),
        )
        for part in (ours, *attempt.parts)
    )


def _phase(row: PhaseRow, attempt: AttemptRow) -> PhaseFinding:
    """Return a phase; one that the attempt ended in lasts until that end (None: not known)."""
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
    return _number_in(attempt.facts, name)


def _number_in(facts: Sequence[FactRow], name: str) -> float | None:
    fact = next((fact for fact in reversed(facts) if fact.name == name), None)
    is_number = fact is not None and isinstance(fact.value, (int, float)) and not isinstance(fact.value, bool)
    return float(fact.value) if fact is not None and is_number else None


def _seconds(attempt: AttemptRow, phases: Sequence[PhaseFinding], fact: str, phase: Phase) -> float | None:
    """Return the engine's own figure, else the length of the phase; None: neither is complete."""
    reported = _number(attempt, fact)
    if reported is not None:
        return reported
    lengths = [p.duration_s for p in phases if p.phase is phase and p.ended and p.duration_s is not None]
    return sum(lengths) if lengths else None


def _cache(attempt: AttemptRow) -> str | None:
    fact = attempt.fact("compile_cache")
    if fact is not None:
        return str(fact.value)
    if _number(attempt, "graphs_compiled"):
        return CacheUse.MISS.value
    return CacheUse.HIT.value if _number(attempt, "graphs_from_cache") else None


def cache_effects(startups: Sequence[StartupFinding]) -> tuple[CacheEffect, ...]:
    """Return the startup times of each variant that started both with a cold and with a warm compile cache."""
    ready: dict[str, list[StartupFinding]] = {}
    for startup in startups:
        if startup.startup_s is not None:
            ready.setdefault(startup.variant, []).append(startup)
    effects = []
    for variant, own in ready.items():
        cold = [startup for startup in own if startup.compile_cache == CacheUse.MISS]
        warm = [startup for startup in own if startup.compile_cache == CacheUse.HIT]
        if cold and warm:
            effects.append(CacheEffect(variant, startup_figure("startup_s", cold), startup_figure("startup_s", warm)))
    return tuple(effects)


def startup_figure(metric: str, startups: Sequence[StartupFinding]) -> Figure:
    """Return the mean over the starts that have this figure."""
    values = [value for startup in startups if (value := getattr(startup, metric)) is not None]
    simulated = any(startup.simulated for startup in startups)
    unit = METRICS[metric].unit
    if not values:
        return Figure(None, unit, 0, "starts", simulated=simulated, note="not measured")
    mean = describe(np.array([values]))[0]
    return Figure(
        mean.mean,
        unit,
        mean.n,
        "starts",
        low=mean.low,
        high=mean.high,
        method="" if mean.low is None else "t over starts, on the logarithmic scale",
        simulated=simulated,
        note="no interval from one start" if mean.low is None else "",
    )


class StartupTimes:
    """The startup times of a sweep by variant, with the error of each."""

    def __init__(self, startups: Sequence[StartupFinding]) -> None:
        self._by_variant: dict[str, list[StartupFinding]] = {}
        for startup in startups:
            self._by_variant.setdefault(startup.variant, []).append(startup)
        self._estimates = {metric: startup_estimates(startups, metric) for metric in STARTUP_METRICS}
        self._compiled = {startup.variant for startup in startups if startup.compile_s is not None}
        self._caches = list(dict.fromkeys(startup.compile_cache for startup in startups))
        self.simulated = any(startup.simulated for startup in startups)

    def figure(self, variant: str) -> Figure:
        """Return the mean startup time of a variant over its starts."""
        return startup_figure("startup_s", self._by_variant.get(variant, ()))

    def mean_s(self, variant: str) -> float:
        """Return the mean startup time in seconds; infinite where the variant never became ready."""
        value = self.figure(variant).value
        return math.inf if value is None else value

    def best_known(self, variant: str) -> Estimate | None:
        """Return the startup time for the state of the compile cache with the most starts; None: never ready."""
        known = [value for cache in self._caches if (value := self._at("startup_s", variant, cache)) is not None]
        return max(known, key=lambda value: value.runs) if known else None

    def pairs(self, metric: str, first: str, second: str) -> dict[str | None, tuple[Estimate, Estimate]]:
        """Return both variants' times by the state of the compile cache; None: the cache plays no part.

        A variant that compiles nothing is paired with the other variant in each state in which that one started.
        """
        paired = {}
        for cache in dict.fromkeys((None, *self._caches)):
            a, b = self._at(metric, first, cache), self._at(metric, second, cache)
            if cache is not None and a is None and first not in self._compiled:
                a = self._at(metric, first, None)
            elif cache is not None and b is None and second not in self._compiled:
                b = self._at(metric, second, None)
            if a is not None and b is not None:
                paired[cache] = (a, b)
        return paired

    def _at(self, metric: str, variant: str, cache: str | None) -> Estimate | None:
        return self._estimates[metric].get((variant, cache))


def cache_of(startup: StartupFinding, metric: str) -> str | None:
    """Return the state of the compile cache for a startup time: hit, miss or off; None: no part in it, or not known."""
    return None if metric == "load_s" else startup.compile_cache


def startup_estimates(startups: Sequence[StartupFinding], metric: str) -> dict[tuple[str, str | None], Estimate]:
    """Return the mean of a startup time with its error, by variant and state of the compile cache.

    Times below `SHORTEST_JUDGED_S` are left out. Every error includes `STARTUP_ERROR_S`.
    """
    groups: dict[tuple[str, str | None], list[Observation]] = {}
    for startup in startups:
        value = getattr(startup, metric)
        if value is not None and SHORTEST_JUDGED_S <= value < math.inf:
            groups.setdefault((startup.variant, cache_of(startup, metric)), []).append(Observation(value, None, 1))
    spread = pool(groups.values(), ASSUMED_STARTUP_SPREAD)
    estimates = {key: estimate(observations, spread, of_samples=False) for key, observations in groups.items()}
    return {key: _with_error(value) for key, value in estimates.items() if value is not None}


def _with_error(value: Estimate) -> Estimate:
    return replace(value, se=math.hypot(value.se, STARTUP_ERROR_S / value.value / math.sqrt(value.runs)))

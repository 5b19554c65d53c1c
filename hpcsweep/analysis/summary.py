"""The entry point of the analysis: the findings of a sweep from its rows."""

from collections.abc import Sequence

from hpcsweep.analysis.compared.compare import MetricTable, MetricTables, compare_family
from hpcsweep.analysis.compared.effects import build_axes
from hpcsweep.analysis.compared.interactions import build_interactions
from hpcsweep.analysis.compared.pareto import pareto_front, scale_to_equal_gpus
from hpcsweep.analysis.compared.variant_index import VariantIndex
from hpcsweep.analysis.compared.variants import build_runs, build_variants, find_baseline, sweep_facts
from hpcsweep.analysis.compared.waterfall import build_waterfall
from hpcsweep.analysis.decision.choice import decide
from hpcsweep.analysis.decision.next_step import next_steps
from hpcsweep.analysis.decision.objective import Goal, read_goal
from hpcsweep.analysis.decision.recommend import recommend
from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.findings.compared import Comparison
from hpcsweep.analysis.findings.measured import SampleSet
from hpcsweep.analysis.measured.bounds import with_bounds
from hpcsweep.analysis.measured.cells import build_cells
from hpcsweep.analysis.measured.costs import build_costs
from hpcsweep.analysis.measured.metrics import METRICS, RUN_METRICS
from hpcsweep.analysis.measured.results import build_results
from hpcsweep.analysis.measured.startup import StartupTimes, build_startups, cache_effects
from hpcsweep.analysis.remarks import build_remarks
from hpcsweep.analysis.rows import SweepRow

COMPARED = ("tps", "ttft_s", "tpot_s", "e2e_s", "output_throughput", "total_throughput")
"""Metrics on which every variant is compared with the baseline."""


def analyse(sweep: SweepRow) -> Findings:
    """Return all findings of a sweep. Pure: the same rows give the same findings, to the last digit."""
    baseline = find_baseline(sweep)
    variants = build_variants(sweep, baseline)
    runs = build_runs(sweep.runs)
    cells = with_bounds(build_cells(sweep.runs), sweep.runs, sweep.models)
    results = build_results(cells, [variant.variant for variant in variants])
    tables = MetricTables(results, cells)
    goal = read_goal(sweep.objective, tables.measured)
    comparisons = _against_baseline(tables, baseline, goal)
    startups = build_startups(sweep.runs)
    times = StartupTimes(startups)
    index = VariantIndex(variants, sweep.axes, sweep.baseline)
    main = _main_tables(tables, goal)
    decision = decide(goal, tables, variants, times)
    scaling = scale_to_equal_gpus(results, variants)
    return Findings(
        sweep=sweep_facts(sweep, baseline, tables.workloads),
        variants=variants,
        runs=runs,
        cells=cells,
        results=results,
        comparisons=comparisons,
        axes=build_axes(index, runs, _effect_tables(tables, goal), comparisons, times),
        interactions=build_interactions(index, main),
        waterfalls=tuple(w for table in main if (w := build_waterfall(table, index, variants)) is not None),
        scaling=scaling,
        pareto=pareto_front(results, variants),
        startups=startups,
        cache_effects=cache_effects(startups),
        costs=build_costs(sweep.runs, sweep.preparations),
        recommendation=recommend(goal, decision, tables, variants, sweep.runs, runs, times, sweep.axes),
        remarks=build_remarks(variants, runs, cells, comparisons, scaling, startups),
        next_steps=next_steps(goal, decision, variants, sweep.runs),
        index={variant.variant: variant for variant in variants},
    )


def _conditions(metric: str) -> tuple[SampleSet, ...]:
    return ("all", "warm") if METRICS[metric].of_samples else ("all",)


def _metrics(goal: Goal) -> list[str]:
    """Return the metrics of the objective that a workload has, and the compared ones."""
    own = [term.metric for term in goal.terms if term.workload is not None]
    return list(dict.fromkeys([*own, *COMPARED]))


def _against_baseline(tables: MetricTables, baseline: str | None, goal: Goal) -> tuple[Comparison, ...]:
    """Compare every variant with the baseline, in one family per metric and sample set over all workloads.

    A workload that one of the two left out has no comparison; the results have it as n/a.
    """
    comparisons: list[Comparison] = []
    if baseline is None:
        return ()
    for metric in _metrics(goal):
        for condition in _conditions(metric):
            family = []
            for workload in tables.workloads:
                table = tables.get(workload, metric, condition)
                sent = [name for name, arm in table.arms.items() if arm.result.left_out is None]
                if baseline in sent:
                    family += [(table, baseline, name) for name in sent if name != baseline]
            comparisons += compare_family(family)
    return tuple(comparisons)


def _main_tables(tables: MetricTables, goal: Goal) -> list[MetricTable]:
    """Return the table of the objective's metric for each workload; warm TPS where the objective is a startup time."""
    on_load = goal.metric in RUN_METRICS or METRICS[goal.metric].of_samples
    metric = goal.metric if on_load else "tps"
    condition: SampleSet = goal.condition if METRICS[metric].of_samples else "all"
    return [tables.get(workload, metric, condition) for workload in tables.workloads]


def _effect_tables(tables: MetricTables, goal: Goal) -> Sequence[MetricTable]:
    return [
        tables.get(workload, metric, condition)
        for metric in _metrics(goal)
        for condition in _conditions(metric)
        for workload in tables.workloads
    ]

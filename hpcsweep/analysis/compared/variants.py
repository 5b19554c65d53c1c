"""The variants and runs of a sweep, by name."""

import re
from collections.abc import Mapping, Sequence

from hpcsweep.analysis.findings import FactFinding, RunFinding, SweepFacts, Variant
from hpcsweep.analysis.rows import RunRow, SweepRow
from hpcsweep.spec.axes import BUILTIN_AXES
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.units import parse_tokens

MAX_LISTED = 12

_TOKEN_SETTINGS = ("max_model_len", "max_num_batched_tokens")
_SHORT = re.compile(r"\d+k")


def level_name(axis: str, level: str) -> str:
    """Return a level for display: a number of tokens in both forms, `32k (32768)`, anything else unchanged."""
    builtin = BUILTIN_AXES.get(axis)
    if builtin is not None and builtin.setting in _TOKEN_SETTINGS and _SHORT.fullmatch(level):
        return f"{level} ({parse_tokens(level)})"
    return level


def variant_name(axes: Mapping[str, str]) -> str:
    """Return a variant for display: `ep=on, eager=yes, len=32k (32768)`."""
    return ", ".join(f"{axis}={level_name(axis, level)}" for axis, level in axes.items()) or "the only variant"


def join_names(names: Sequence[str]) -> str:
    """Return `E01, E02 and 997 more`: at most `MAX_LISTED` names, so that the sentence remains readable."""
    more = len(names) - MAX_LISTED
    between = "; " if any("," in name for name in names) else ", "
    return between.join(names) if more < 2 else f"{between.join(names[:MAX_LISTED])} and {more:,} more"


def find_baseline(sweep: SweepRow) -> str | None:
    """Return the variant with the baseline's level on every axis of the sweep; None: it is not among the runs."""
    for run in sweep.runs:
        if run.not_submitted or not (run.axes and sweep.baseline):
            continue
        if all(sweep.baseline.get(axis, level) == level for axis, level in run.axes.items()):
            return run.variant_id
    return None


def build_variants(sweep: SweepRow, baseline: str | None) -> tuple[Variant, ...]:
    """Return the variants in the order of their first run, without those documented as not run."""
    grouped: dict[str, list[RunRow]] = {}
    for run in sweep.runs:
        if run.not_submitted:
            continue
        grouped.setdefault(run.variant_id, []).append(run)
    base = grouped[baseline][0].axes if baseline is not None else sweep.baseline
    width = max(2, len(str(len(grouped))))
    return tuple(
        Variant(
            variant=variant_id,
            short_name=f"E{number:0{width}d}",
            label=runs[0].run if len(runs) == 1 else variant_label(runs[0].axes, variant_id),
            name=variant_name(runs[0].axes) if runs[0].axes else runs[0].run,
            axes=runs[0].axes,
            changed=tuple(a for a, level in runs[0].axes.items() if base.get(a, level) != level),
            is_baseline=variant_id == baseline,
            gpus=runs[0].gpus,
            engine=runs[0].engine,
            model=runs[0].model,
            runs=tuple(run.run for run in runs),
            completed=sum(run.outcome is OutcomeKind.COMPLETED for run in runs),
            simulated=any(run.simulated for run in runs),
        )
        for number, (variant_id, runs) in enumerate(grouped.items(), 1)
    )


def variant_label(axes: Mapping[str, str], variant_id: str) -> str:
    """Return `ep-on_eager-yes_len-32k`: the name of its run folders without the number of the repeat."""
    return "_".join(f"{axis}-{level}" for axis, level in axes.items()) or variant_id


def build_runs(runs: Sequence[RunRow]) -> tuple[RunFinding, ...]:
    """Return one finding per run, from the attempt that counts."""
    return tuple(_run(run) for run in runs)


def _run(run: RunRow) -> RunFinding:
    last = run.last
    facts = {} if last is None else {fact.name: FactFinding(fact.value, fact.unit, fact.source) for fact in last.facts}
    return RunFinding(
        run=run.run,
        label=run.run,
        variant=run.variant_id,
        repeat=run.repeat,
        axes=run.axes,
        state=run.state,
        outcome=run.outcome,
        phase=None if last is None else last.phase,
        reason=run.reason or ("" if last is None else last.reason),
        cause=None if last is None else last.cause,
        decided_by="" if last is None else last.decided_by,
        evidence=() if last is None else last.evidence,
        hint="" if last is None else last.hint,
        planned_only=run.not_submitted,
        job=run.job,
        host=run.node if last is None else last.host or run.node,
        gpu_name=None if last is None else last.gpu_name,
        gpu_type=run.gpu_type,
        gpus=run.gpus,
        nodes=run.nodes,
        engine=run.engine if last is None else last.engine,
        model=run.model,
        attempts=len(run.attempts),
        counts=None if last is None else last.attempt,
        duration_s=None if last is None else last.duration_s,
        queued_s=run.queued_s,
        exit_code=None if last is None else last.exit_code,
        argv=() if last is None else last.argv,
        env={} if last is None else last.env,
        versions={} if last is None else last.versions,
        facts=facts,
        warnings=() if last is None else last.warnings,
        killed=() if last is None else last.killed,
        attempt_dir="" if last is None else last.attempt_dir,
        simulated=run.simulated or (last is not None and last.simulated),
    )


def sweep_facts(sweep: SweepRow, baseline: str | None, workloads: Sequence[str]) -> SweepFacts:
    """Return the facts of the sweep; `simulated`: at least one run is."""
    marked = [run.simulated or (run.last is not None and run.last.simulated) for run in sweep.runs]
    return SweepFacts(
        sweep=sweep.sweep,
        experiment=sweep.experiment,
        title=sweep.title,
        submitted_at=sweep.submitted_at,
        cluster=sweep.cluster,
        scheduler=sweep.scheduler,
        axes=sweep.axes,
        baseline=sweep.baseline,
        baseline_variant=baseline,
        workloads=tuple(workloads),
        notes=sweep.notes,
        provenance=sweep.provenance,
        scripts=sweep.scripts,
        sweep_dir=sweep.sweep_dir,
        simulated=sweep.simulated or any(marked),
        all_simulated=bool(marked) and all(m for m, run in zip(marked, sweep.runs, strict=True) if run.attempts),
    )

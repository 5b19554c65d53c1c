"""Variants on the same number of GPUs, and the Pareto front of speed per user and throughput per GPU."""

from collections.abc import Sequence
from dataclasses import replace

from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.compared import ParetoPoint, ScaledResult
from hpcsweep.analysis.findings.measured import Figure, Result

_REPLICAS = "replicas are assumed to share nothing; not measured"


def scale_to_equal_gpus(results: Sequence[Result], variants: Sequence[Variant]) -> tuple[ScaledResult, ...]:
    """Return each result as replicas on as many GPUs as the largest variant has; empty when all have the same number.

    GPUs that are left over after the last whole replica are idle.
    """
    gpus = {variant.variant: variant.gpus for variant in variants}
    measured = [r for r in results if r.left_out is None and r.validity.status != "invalid" and gpus[r.variant]]
    sizes = {gpus[result.variant] for result in measured}
    if len(sizes) < 2:
        return ()
    total = max(sizes)
    scaled = []
    for result in measured:
        output = result.mean("output_throughput", "all")
        both = result.mean("total_throughput", "all")
        if output is None or both is None:
            continue
        own = gpus[result.variant]
        replicas = total // own
        scaled.append(
            ScaledResult(
                variant=result.variant,
                workload=result.workload,
                gpus=own,
                replicas=replicas,
                gpus_total=total,
                output_throughput=_replicated(output, replicas),
                total_throughput=_replicated(both, replicas),
                per_gpu=output.scaled(replicas / total, "tokens/s/GPU"),
            )
        )
    return tuple(scaled)


def _replicated(figure: Figure, replicas: int) -> Figure:
    """Return the throughput of `replicas` independent servers."""
    total = figure.scaled(replicas, figure.unit)
    return replace(total, note=_REPLICAS) if replicas > 1 else total


def pareto_front(results: Sequence[Result], variants: Sequence[Variant]) -> tuple[ParetoPoint, ...]:
    """Return one point per result that has both figures.

    A point is dominated when another is at least as good in both figures and better in one. Points are compared by
    their means; the comparisons show which differences are significant.
    """
    gpus = {variant.variant: variant.gpus for variant in variants}
    front = []
    for workload in dict.fromkeys(result.workload for result in results):
        points = []
        for result in results:
            user = result.mean("decode_tps", "warm") or result.mean("decode_tps", "all")
            gpu = result.mean("output_tps_per_gpu", "all")
            usable = result.workload == workload and result.left_out is None and result.validity.status != "invalid"
            if usable and gpus[result.variant] and user is not None and gpu is not None:
                points.append((result.variant, user, gpu))
        dominated = _dominators([(user.value or 0.0, gpu.value or 0.0) for _, user, gpu in points])
        for (variant, user, gpu), other in zip(points, dominated, strict=True):
            front.append(ParetoPoint(variant, workload, user, gpu, None if other is None else points[other][0]))
    return tuple(front)


def _dominators(points: Sequence[tuple[float, float]]) -> list[int | None]:
    """Return, for each point, the index of a point that dominates it, or None on the front. O(n log n)."""
    dominators: list[int | None] = [None] * len(points)
    best: int | None = None
    for index in sorted(range(len(points)), key=lambda p: (-points[p][0], -points[p][1])):
        if best is not None and points[index] != points[best] and points[best][1] >= points[index][1]:
            dominators[index] = best
        else:
            best = index
    return dominators

"""Variants on the same number of GPUs, and the front between speed for one user and throughput of a GPU."""

from collections.abc import Sequence
from dataclasses import replace

from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.compared import ParetoPoint, ScaledResult
from hpcsweep.analysis.findings.measured import Figure, Result

_REPLICAS = "replicas are assumed to share nothing; not measured"


def scale_to_equal_gpus(results: Sequence[Result], variants: Sequence[Variant]) -> tuple[ScaledResult, ...]:
    """Each result on as many GPUs as the largest variant has, as replicas; empty when all have the same number.

    A variant whose GPUs do not divide that number leaves the rest idle.
    """
    gpus = {variant.variant: variant.gpus for variant in variants}
    measured = [r for r in results if r.left_out is None and r.validity.status != "invalid" and gpus[r.variant]]
    sizes = {gpus[result.variant] for result in measured}
    if len(sizes) < 2:
        return ()
    total = max(sizes)
    found = []
    for result in measured:
        output = result.mean("output_throughput", "all")
        both = result.mean("total_throughput", "all")
        if output is None or both is None:
            continue
        own = gpus[result.variant]
        replicas = total // own
        found.append(
            ScaledResult(
                variant=result.variant,
                workload=result.workload,
                gpus=own,
                replicas=replicas,
                gpus_total=total,
                output_throughput=times(output, replicas, "tokens/s"),
                total_throughput=times(both, replicas, "tokens/s"),
                per_gpu=times(output, replicas / total, "tokens/s/GPU"),
            )
        )
    return tuple(found)


def times(figure: Figure, factor: float, unit: str) -> Figure:
    """The figure of `factor` replicas."""
    value, low, high = (None if x is None else x * factor for x in (figure.value, figure.low, figure.high))
    return replace(figure, value=value, low=low, high=high, unit=unit, note=_REPLICAS if factor > 1 else figure.note)


def pareto_front(results: Sequence[Result], variants: Sequence[Variant]) -> tuple[ParetoPoint, ...]:
    """One point a result that has both figures. Dominated: another is at least as good in both, better in one.

    Points are judged by their means; whether two of them can be told apart is for the comparisons to say.
    """
    gpus = {variant.variant: variant.gpus for variant in variants}
    found = []
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
            found.append(ParetoPoint(variant, workload, user, gpu, None if other is None else points[other][0]))
    return tuple(found)


def _dominators(points: Sequence[tuple[float, float]]) -> list[int | None]:
    """For each point the index of one that dominates it; None: it is on the front. In n log n steps."""
    found: list[int | None] = [None] * len(points)
    best: int | None = None
    for place in sorted(range(len(points)), key=lambda p: (-points[p][0], -points[p][1])):
        if best is not None and points[place] != points[best] and points[best][1] >= points[place][1]:
            found[place] = best
        else:
            best = place
    return found

"""Determine whether a GPU computes, or only waits at full utilization. Pure.

NVML's `utilization.gpu` is the share of time in which any kernel was resident: a collective that waits for a dead peer
keeps it at 100 %. Its `utilization.memory` is the share of time in which the GPU's memory was read or written: a
kernel that spins on a flag hardly touches it, and its power stays flat.
"""

from collections.abc import Mapping
from dataclasses import dataclass

MEMORY_TRAFFIC_PERCENT = 2.0
POWER_CHANGE = 0.10
UTILIZATION_PERCENT = 1.0
MEMORY_CHANGE_BYTES = 16 << 20


@dataclass(frozen=True)
class GpuSample:
    """One GPU at one moment, in percent, watts and bytes; None: the driver does not report it."""

    utilization: float | None = None
    memory_traffic: float | None = None
    power_w: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class GpuSignals:
    """`progress`: a GPU computes or its memory is filled. `activity`: a kernel is resident, which may be waiting."""

    progress: bool
    activity: bool


def gpu_signals(before: Mapping[str, GpuSample], after: Mapping[str, GpuSample]) -> GpuSignals:
    """Compare two samples of a job's GPUs by UUID, one by one: one GPU may load while seven wait."""
    pairs = [(before.get(uuid, GpuSample()), now) for uuid, now in after.items()]
    return GpuSignals(
        progress=any(_computes(then, now) for then, now in pairs),
        activity=any(_busy(now) for _, now in pairs),
    )


def _busy(now: GpuSample) -> bool:
    return now.utilization is not None and now.utilization >= UTILIZATION_PERCENT


def _computes(then: GpuSample, now: GpuSample) -> bool:
    if abs(_difference(then.memory_bytes, now.memory_bytes)) >= MEMORY_CHANGE_BYTES:
        return True
    if not _busy(now):
        return False
    if now.memory_traffic is not None and now.memory_traffic >= MEMORY_TRAFFIC_PERCENT:
        return True
    if then.power_w and now.power_w and _busy(then):
        return abs(now.power_w - then.power_w) >= POWER_CHANGE * then.power_w
    return False


def _difference(then: float | None, now: float | None) -> float:
    return now - then if then is not None and now is not None else 0.0

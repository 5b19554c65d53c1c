"""Thinning of many samples for plots: which ones are drawn, and how many there were."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcsweep.analysis.columns import Flags, Floats

Indexes = NDArray[np.intp]

_TAIL = (0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True, eq=False)
class Curve:
    """An empirical distribution, drawn as steps: a `share` of the `n` values is at most `value`."""

    n: int
    value: Floats
    share: Floats


def thin(count: int, at_most: int, keep: Sequence[int] = ()) -> Indexes:
    """Return at most `at_most` of `count` indexes in order, evenly spaced, including the first and the last.

    Those in `keep` (cold, failed, outliers) are added to that number, because readers look for them.
    """
    if count <= at_most:
        return np.arange(count)
    spaced = np.linspace(0, count - 1, max(at_most, 2)).round().astype(np.intp)
    return np.unique(np.concatenate([spaced, np.array(keep, dtype=np.intp)]))


def cumulative(values: Floats, at_most: int) -> Curve | None:
    """Return the distribution of the finite values, thinned by rank to `at_most` steps; None: all are missing.

    The ranks of p90, p95, p99 and p99.9 are added, because readers look for them.
    """
    ordered = np.sort(values[np.isfinite(values)])
    n = len(ordered)
    if not n:
        return None
    indexes = thin(n, at_most, [math.ceil(rank * n) - 1 for rank in _TAIL] if n > at_most else ())
    return Curve(n, ordered[indexes], (indexes + 1) / n)


def peaks(values: Floats, stretches: int) -> list[int]:
    """Return the index of the largest value of each stretch, so that thinning keeps every peak; NaN is skipped."""
    indexes = []
    for part in np.array_split(np.arange(len(values)), max(stretches, 1)):
        if len(part) and not np.isnan(values[part]).all():
            indexes.append(int(part[np.nanargmax(values[part])]))
    return indexes


def marked_indexes(*flags: Flags) -> list[int]:
    """Return the indexes at which any of the flags is set."""
    return [int(index) for index in np.flatnonzero(np.logical_or.reduce(flags))] if flags else []

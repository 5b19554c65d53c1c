"""What a plot may draw of many samples: a part of them, chosen by rule, and how many there were."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcsweep.analysis.columns import Flags, Floats

Places = NDArray[np.intp]

_TAIL = (0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True, eq=False)
class Curve:
    """An empirical distribution: `share` of the `n` values is at most `value`. Drawn as steps."""

    n: int
    value: Floats
    share: Floats


def thin(count: int, at_most: int, keep: Sequence[int] = ()) -> Places:
    """Ordered places of at most `at_most` of `count` things, evenly spaced with the first and the last among them.

    Those in `keep` (cold, failed, far out) come on top of that number: they are what a reader looks for.
    """
    if count <= at_most:
        return np.arange(count)
    spaced = np.linspace(0, count - 1, max(at_most, 2)).round().astype(np.intp)
    return np.unique(np.concatenate([spaced, np.array(keep, dtype=np.intp)]))


def cumulative(values: Floats, at_most: int) -> Curve | None:
    """The distribution of the finite values, thinned by rank to `at_most` steps; None: there is no such value.

    A few ranks of the slow tail come on top: p90, p95, p99 and p99.9 are what a distribution is read for.
    """
    ordered = np.sort(values[np.isfinite(values)])
    n = len(ordered)
    if not n:
        return None
    places = thin(n, at_most, [math.ceil(rank * n) - 1 for rank in _TAIL] if n > at_most else ())
    return Curve(n, ordered[places], (places + 1) / n)


def peaks(values: Floats, stretches: int) -> list[int]:
    """The place of the largest value of each stretch, so that thinning a series hides no peak; NaN is passed over."""
    found = []
    for part in np.array_split(np.arange(len(values)), max(stretches, 1)):
        if len(part) and not np.isnan(values[part]).all():
            found.append(int(part[np.nanargmax(values[part])]))
    return found


def marked_places(*flags: Flags) -> list[int]:
    """Places at which any of the flags is up."""
    return [int(place) for place in np.flatnonzero(np.logical_or.reduce(flags))] if flags else []

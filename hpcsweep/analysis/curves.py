"""What a plot may draw of many samples: a part of them, chosen by rule, and how many there were."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcsweep.analysis.columns import Flags, Floats

Places = NDArray[np.intp]


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
    """The distribution of the finite values, thinned by rank to `at_most` steps; None: there is no such value."""
    ordered = np.sort(values[np.isfinite(values)])
    n = len(ordered)
    if not n:
        return None
    places = thin(n, at_most)
    return Curve(n, ordered[places], (places + 1) / n)


def marked_places(*flags: Flags) -> list[int]:
    """Places at which any of the flags is up."""
    return [int(place) for place in np.flatnonzero(np.logical_or.reduce(flags))] if flags else []

"""The layout of the map of a sweep: which axes are rows and which are columns, and what is folded to fit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from hpcsweep.analysis.findings import Findings

MAX_CELLS = 400
"""A larger map is folded to the two axes that change most."""

MAX_COLUMNS = 16
MAX_ROWS = 24
"""Of a folded map; neighbouring levels share a row or column if an axis has more."""

WIDEST = 30
TALLEST = 60
"""A map with more columns or rows is folded too, even if it has few cells."""

ROW_AXES = 2
"""Axes that become groups of rows before any is nested in the columns."""

Place = tuple[str, ...]
"""The variants of one cell: none, one, or several if the map is folded."""


@dataclass(frozen=True)
class MapAxis:
    """An axis of the map. `levels`: as shown; `merged`: how many levels of the sweep one of them has at most."""

    name: str
    levels: tuple[str, ...]
    merged: int = 1


@dataclass(frozen=True)
class Layout:
    """Axes as rows and columns, the outermost first. `folded`: axes that are not shown.

    `places`: by row and column, in the order of the product of the levels.
    """

    rows: tuple[MapAxis, ...]
    columns: tuple[MapAxis, ...]
    folded: tuple[str, ...]
    places: tuple[tuple[Place, ...], ...]

    @property
    def is_folded(self) -> bool:
        """Whether cells may have several variants."""
        return bool(self.folded) or any(axis.merged > 1 for axis in (*self.rows, *self.columns))


def lay_out(findings: Findings, influence: Mapping[str, float]) -> Layout | None:
    """Choose rows and columns; None: no axis is varied, or variants do not have a level on each varied axis.

    `influence`: of each axis, to choose those that are shown if not all of them fit.
    """
    levels = _varied(findings)
    if not levels or any(axis not in variant.axes for axis in levels for variant in findings.variants):
        return None
    rows, columns = choose_axes({axis: len(names) for axis, names in levels.items()})
    height, width = (math.prod(len(levels[axis]) for axis in side) for side in (rows, columns))
    if height * width > MAX_CELLS or width > WIDEST or height > TALLEST:
        rows, columns = _most_influential(levels, influence)
        row_groups = {axis: _merge(levels[axis], MAX_ROWS) for axis in rows}
        column_groups = {axis: _merge(levels[axis], MAX_COLUMNS) for axis in columns}
    else:
        row_groups = {axis: [(level,) for level in levels[axis]] for axis in rows}
        column_groups = {axis: [(level,) for level in levels[axis]] for axis in columns}
    return Layout(
        rows=tuple(_map_axis(axis, groups) for axis, groups in row_groups.items()),
        columns=tuple(_map_axis(axis, groups) for axis, groups in column_groups.items()),
        folded=tuple(axis for axis in levels if axis not in (*rows, *columns)),
        places=_places(findings, row_groups, column_groups),
    )


def _varied(findings: Findings) -> dict[str, tuple[str, ...]]:
    """Return the axes on which the variants differ, with the levels that they have."""
    having = {axis: {variant.axes.get(axis) for variant in findings.variants} for axis in findings.sweep.axes}
    levels = {
        axis: tuple(level for level in levels if level in having[axis]) for axis, levels in findings.sweep.axes.items()
    }
    return {axis: names for axis, names in levels.items() if len(names) > 1}


def choose_axes(sizes: Mapping[str, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the axes of the rows and those of the columns, each in the order of the sweep, from axis -> levels.

    The axis with most levels becomes the columns, up to two others the rows; each further axis is nested on the side
    with fewer cells.
    """
    by_size = sorted(sizes, key=lambda axis: -sizes[axis])
    columns = by_size[:1]
    rows: list[str] = []
    for axis in by_size[1:]:
        shorter = math.prod(sizes[name] for name in rows) <= math.prod(sizes[name] for name in columns)
        (rows if len(rows) < ROW_AXES or shorter else columns).append(axis)
    return tuple(axis for axis in sizes if axis in rows), tuple(axis for axis in sizes if axis in columns)


def _most_influential(
    levels: Mapping[str, Sequence[str]], influence: Mapping[str, float]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the axes of rows and columns of a folded map."""
    shown = sorted(levels, key=lambda axis: -influence.get(axis, 0.0))[:2]
    return choose_axes({axis: len(names) for axis, names in levels.items() if axis in shown})


def _merge(levels: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Return at most so many groups of neighbouring levels."""
    size = math.ceil(len(levels) / most)
    return [tuple(levels[i : i + size]) for i in range(0, len(levels), size)]


def _map_axis(axis: str, groups: Sequence[tuple[str, ...]]) -> MapAxis:
    names = tuple(group[0] if len(group) == 1 else f"{group[0]}–{group[-1]}" for group in groups)
    return MapAxis(axis, names, max(map(len, groups)))


def _places(
    findings: Findings,
    rows: Mapping[str, Sequence[tuple[str, ...]]],
    columns: Mapping[str, Sequence[tuple[str, ...]]],
) -> tuple[tuple[Place, ...], ...]:
    number = {
        axis: {level: i for i, group in enumerate(groups) for level in group}
        for axis, groups in (*rows.items(), *columns.items())
    }
    by_key: dict[tuple[int, ...], list[str]] = {}
    for variant in findings.variants:
        key = tuple(number[axis][variant.axes[axis]] for axis in (*rows, *columns))
        by_key.setdefault(key, []).append(variant.variant)
    row_keys = list(product(*(range(len(groups)) for groups in rows.values())))
    column_keys = list(product(*(range(len(groups)) for groups in columns.values())))
    return tuple(tuple(tuple(by_key.get((*row, *column), ())) for column in column_keys) for row in row_keys)

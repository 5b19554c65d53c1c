"""Compute the points of a sweep: one level for every axis."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpcsweep.errors import PlanError, SpecError
from hpcsweep.spec.axes import BUILTIN_AXES, CustomAxis, Level, builtin_level, custom_levels, read_level
from hpcsweep.spec.axis_names import axis_name
from hpcsweep.spec.base import nearest
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.renamed import DeprecationNote
from hpcsweep.units import counted

MOST_RUNS = 10_000
"""Upper bound on the number of runs, to catch typos in the grid."""

Point = Mapping[str, Level]
"""A level for every axis of the experiment."""


@dataclass(frozen=True)
class Selection:
    """The part of an experiment that the command line selects.

    `grid`: the axes to vary, None: all of them. `levels`: axis -> levels that replace those of the file.
    `fix`: axis -> its only level. `one_at_a_time`: each point differs from the baseline in at most one axis.
    """

    grid: tuple[str, ...] | None = None
    levels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fix: Mapping[str, str] = field(default_factory=dict)
    one_at_a_time: bool = False
    repeats: int | None = None

    def with_current_names(self) -> "Selection":
        """Return the same selection with axes that were given by an old name under their current ones."""
        return replace(
            self,
            grid=None if self.grid is None else tuple(axis_name(axis) for axis in self.grid),
            levels={axis_name(axis): levels for axis, levels in self.levels.items()},
            fix={axis_name(axis): level for axis, level in self.fix.items()},
        )

    @property
    def deprecation_notes(self) -> tuple[DeprecationNote, ...]:
        """Return a note for each old name of an axis."""
        names = dict.fromkeys((*(self.grid or ()), *self.levels, *self.fix))
        return tuple(DeprecationNote(name, axis_name(name)) for name in names if axis_name(name) != name)


@dataclass(frozen=True)
class Grid:
    """The axes of a sweep with their levels, the baseline, and the points in order."""

    axes: Mapping[str, tuple[Level, ...]]
    baseline: Point
    points: tuple[Point, ...]
    excluded: tuple[tuple[Point, str], ...] = ()


def expand(experiment: Experiment, selection: Selection) -> Grid:
    """Return the points of `experiment` under `selection`, last axis fastest, with the rules of the file applied.

    Raises SpecError for an unknown axis or level, and PlanError if no points or too many are left.
    """
    selection = selection.with_current_names()
    _check_names(experiment, selection)
    file_levels = {axis: _file_levels(experiment, axis) for axis in experiment.axes}
    chosen = {
        axis: _distinct([read_level(experiment.axes, axis, raw) for raw in raws])
        for axis, raws in selection.levels.items()
    }
    fixed = {axis: read_level(experiment.axes, axis, raw) for axis, raw in selection.fix.items()}
    baseline = _baseline(experiment, file_levels, chosen, fixed)
    varied = [axis for axis in dict.fromkeys(selection.grid or {**file_levels, **chosen}) if axis not in fixed]
    axes: dict[str, tuple[Level, ...]] = {}
    for axis, level in baseline.items():
        axes[axis] = tuple(chosen.get(axis) or file_levels[axis]) if axis in varied else (level,)
    _check_size(experiment, selection, axes)
    points = list(_one_at_a_time(axes, baseline, varied) if selection.one_at_a_time else _product(axes, varied))
    kept, excluded = _apply_rules(experiment, points)
    if not kept:
        raise PlanError(
            f"experiment {experiment.name}: all {len(points)} points of the grid are excluded",
            code="empty_grid",
            hint="check `exclude` and `only` in the file, and --set and --levels",
        )
    return Grid(axes, baseline, tuple(kept), tuple(excluded))


def _check_size(experiment: Experiment, selection: Selection, axes: Mapping[str, Sequence[Level]]) -> None:
    sizes = [len(levels) for levels in axes.values()]
    repeats = selection.repeats or experiment.repeats
    runs = (1 + sum(sizes) - len(sizes) if selection.one_at_a_time else math.prod(sizes)) * repeats
    if runs > MOST_RUNS:
        varied = " x ".join(f"{axis} {len(levels)}" for axis, levels in axes.items() if len(levels) > 1)
        raise PlanError(
            f"experiment {experiment.name}: {runs:,} runs exceed the limit of {MOST_RUNS:,}: "
            f"{varied or 'one variant'}, {counted(repeats, 'repeat')}",
            code="too_many_runs",
            hint="vary fewer axes (--grid), fewer levels (--levels), or one at a time (--one-at-a-time)",
        )


def _check_names(experiment: Experiment, selection: Selection) -> None:
    for option, names in (("--grid", selection.grid or ()), ("--levels", selection.levels), ("--set", selection.fix)):
        for axis in names:
            if axis in experiment.axes:
                continue
            if axis not in BUILTIN_AXES:
                known = [*experiment.axes, *(a for a in BUILTIN_AXES if a not in experiment.axes)]
                raise SpecError(f"{option}: unknown axis {axis!r}", code="unknown_axis", hint=nearest(axis, known))
            if option == "--grid" and axis not in selection.levels:
                raise SpecError(
                    f"--grid: experiment {experiment.name} has no levels for axis {axis!r}",
                    code="axis_without_levels",
                    hint=f"add --levels {axis}=LEVEL,LEVEL; its own axes: {', '.join(experiment.axes)}",
                )
    twice = [axis for axis in selection.fix if axis in (selection.grid or ()) or axis in selection.levels]
    if twice:
        raise SpecError(
            f"--set {twice[0]}={selection.fix[twice[0]]}: this axis is also varied by --grid or --levels",
            code="axis_set_and_varied",
        )


def _file_levels(experiment: Experiment, axis: str) -> list[Level]:
    spec = experiment.axes[axis]
    if isinstance(spec, CustomAxis):
        return _distinct(custom_levels(axis, spec))
    return _distinct([builtin_level(axis, raw) for raw in spec])


def _distinct(levels: Sequence[Level]) -> list[Level]:
    """Return the levels without duplicates: `8k` and `8192` are the same."""
    return list({level.label: level for level in levels}.values())


def _baseline(
    experiment: Experiment,
    file_levels: Mapping[str, list[Level]],
    chosen: Mapping[str, list[Level]],
    fixed: Mapping[str, Level],
) -> dict[str, Level]:
    baseline: dict[str, Level] = {}
    for axis in {**file_levels, **experiment.baseline, **chosen, **fixed}:
        if axis in fixed:
            baseline[axis] = fixed[axis]
        elif axis in experiment.baseline:
            baseline[axis] = read_level(experiment.axes, axis, experiment.baseline[axis])
        else:
            baseline[axis] = (file_levels.get(axis) or chosen[axis])[0]
        offered = chosen.get(axis)
        if offered and baseline[axis].label not in {level.label for level in offered}:
            baseline[axis] = offered[0]  # the levels of the command line do not contain the file's baseline
    return baseline


def _product(axes: Mapping[str, tuple[Level, ...]], varied: Sequence[str]) -> Iterator[Point]:
    order = [*(a for a in varied if a in axes), *(a for a in axes if a not in varied)]
    for levels in itertools.product(*(axes[axis] for axis in order)):
        point = dict(zip(order, levels, strict=True))
        yield {axis: point[axis] for axis in axes}  # the names of runs do not depend on the order of --grid


def _one_at_a_time(axes: Mapping[str, tuple[Level, ...]], baseline: Point, varied: Sequence[str]) -> Iterator[Point]:
    yield dict(baseline)
    for axis in varied:
        for level in axes[axis]:
            if level.label != baseline[axis].label:
                yield {**baseline, axis: level}


def _apply_rules(experiment: Experiment, points: Sequence[Point]) -> tuple[list[Point], list[tuple[Point, str]]]:
    exclude = [read_rule(experiment, rule) for rule in experiment.exclude]
    only = [read_rule(experiment, rule) for rule in experiment.only]
    kept: list[Point] = []
    excluded: list[tuple[Point, str]] = []
    for point in points:
        hit = next((rule for rule in exclude if _matches(rule, point)), None)
        if hit is not None:
            excluded.append((point, f"excluded by the rule {_rule_text(hit)}"))
        elif only and not any(_matches(rule, point) for rule in only):
            excluded.append((point, f"not among `only`: {'; '.join(_rule_text(rule) for rule in only)}"))
        else:
            kept.append(point)
    return kept, excluded


def read_rule(experiment: Experiment, rule: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return axis -> labels of the levels that a rule of the file names, such as an entry of `exclude`."""
    read: dict[str, set[str]] = {}
    for axis, raws in rule.items():
        values = raws if isinstance(raws, list) else [raws]
        read[axis] = {read_level(experiment.axes, axis, raw).label for raw in values}
    return read


def _matches(rule: Mapping[str, set[str]], point: Point) -> bool:
    return all(axis in point and point[axis].label in labels for axis, labels in rule.items())


def _rule_text(rule: Mapping[str, set[str]]) -> str:
    return ", ".join(f"{axis}={'|'.join(sorted(labels))}" for axis, labels in rule.items())

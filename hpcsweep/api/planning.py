"""Plan a sweep without submitting it: `hpcsweep.plan`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, TypedDict

from hpcsweep.api.session import open_session
from hpcsweep.errors import SpecError
from hpcsweep.plan.grid import Selection
from hpcsweep.report.status.plan_table import plan_document, print_plan
from hpcsweep.submit.factory import make_backend
from hpcsweep.sweep.prepare import Prepared, Rendered, Request, prepare, render_sweep

Level = str | int | float | bool
"""A level of an axis, as an experiment file has it: `True` and `"on"` are the same level of a switch."""


class PlanOptions(TypedDict, total=False):
    """The keyword arguments of `plan`."""

    cluster: str | None
    grid: Sequence[str] | None
    levels: Mapping[str, Iterable[Level]] | None
    set: Mapping[str, Level] | None
    one_at_a_time: bool
    repeats: int | None
    runs_per_job: int
    max_parallel: int | None
    template_dir: str | Path | None
    script: str | Path | None
    home: str | Path | None
    store: str | None


@dataclass(frozen=True)
class Plan:
    """A sweep that has been planned and checked, and not submitted. `print(plan)` shows it as `--dry-run` does."""

    prepared: Prepared = field(repr=False)
    home: Path | None = None
    store: str | None = None

    @property
    def cluster(self) -> str:
        """Name of the cluster profile."""
        return self.prepared.cluster_name

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs that would be submitted, in order."""
        return tuple(run.label for run in self.prepared.runs if not run.refused)

    @property
    def refused(self) -> Mapping[str, str]:
        """Name of each run that would not be submitted -> the reason."""
        return {run.label: run.refused for run in self.prepared.runs if run.refused}

    @property
    def simulated(self) -> tuple[str, ...]:
        """Names of the engines that the simulated engine would stand in for."""
        return tuple(sorted(self.prepared.simulated))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Remarks about the plan that do not prevent its submission."""
        return self.prepared.warnings

    @property
    def gpu_hours(self) -> float:
        """Upper bound of the GPU-hours: GPUs x walltime of all jobs."""
        return self.rendered.gpu_hours

    @property
    def scripts(self) -> tuple[str, ...]:
        """Text of the batch script of each submission."""
        return tuple(files.script for files in self.rendered.files)

    @property
    def document(self) -> dict[str, Any]:
        """The plan as plain values: what `hpcsweep submit --dry-run --json` prints (docs/json.md)."""
        document: dict[str, Any] = json.loads(json.dumps(plan_document(self.prepared, self.rendered)))
        return document

    @cached_property
    def rendered(self) -> Rendered:
        """All files of the sweep under the name that it would get now; nothing is written."""
        experiment = self.prepared.experiment.name
        with open_session(self.home, self.store) as opened:
            backend = make_backend(self.prepared.cluster, opened.home, self.prepared.parallel)
            above = opened.highest_number_elsewhere(experiment)
            name = f"{experiment}-{max(opened.home.next_number(experiment), above + 1):04d}"
            folder = str(opened.home.sweeps_dir / name)
            return render_sweep(self.prepared, name, folder, str(opened.home.cache_dir), backend.template)

    def __str__(self) -> str:
        """Return the table of runs and the scripts."""
        stream = StringIO()
        print_plan(self.prepared, self.rendered, stream)
        return stream.getvalue()


def plan(
    experiment: str | Path,
    *,
    cluster: str | None = None,
    grid: Sequence[str] | None = None,
    levels: Mapping[str, Iterable[Level]] | None = None,
    set: Mapping[str, Level] | None = None,
    one_at_a_time: bool = False,
    repeats: int | None = None,
    runs_per_job: int = 1,
    max_parallel: int | None = None,
    template_dir: str | Path | None = None,
    script: str | Path | None = None,
    home: str | Path | None = None,
    store: str | None = None,
) -> Plan:
    """Plan an experiment: read its file, expand the grid, and check everything that can be checked before submission.

    `experiment`: a file, the name of `./experiments/NAME.yaml`, or an experiment that ships with hpcsweep. `cluster`:
    name of a cluster profile. `grid`: the axes to vary, None: all. `levels`: axis -> levels that replace those of the
    file. `set`: axis -> the level it is held at. `one_at_a_time`: from the baseline, vary one axis at a time.
    `repeats`: runs of each variant. `runs_per_job`: runs executed one after another in each job.
    `max_parallel`: the most array tasks that run at once. `template_dir`: your own templates. `script`: your own batch
    script. `home`, `store`: as `--home` and `--store`. Raises HpcsweepError.
    """
    if grid is not None and not list(grid):
        raise SpecError("grid: no axis given", code="grid_empty", hint="leave it out to vary all axes")
    for name, number in (("runs_per_job", runs_per_job), ("max_parallel", max_parallel), ("repeats", repeats)):
        if number is not None and number < 1:
            raise SpecError(f"{name} must be at least 1: {number}", code="not_positive")
    selection = Selection(
        grid=None if grid is None else tuple(grid),
        levels={axis: tuple(map(_level, values)) for axis, values in (levels or {}).items()},
        fix={axis: _level(value) for axis, value in (set or {}).items()},
        one_at_a_time=one_at_a_time,
        repeats=repeats,
    )
    request = Request(
        str(experiment), cluster, selection, runs_per_job, max_parallel, _path(template_dir), _path(script)
    )
    return Plan(prepare(request), _path(home), store)


def _level(value: Level) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)

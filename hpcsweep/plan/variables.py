"""Read a variant from environment variables, as `qsub -v` or `sbatch --export` set them for a plain job. Pure.

The inverse of the exports of a run: HPCSWEEP_AXIS_EP=on, or the names that scripts use for the engine's own settings,
such as ENFORCE_EAGER=no, ENABLE_EP=yes, MAX_MODEL_LEN=32768.
"""

import difflib
import re
from collections.abc import Mapping

from hpcsweep.errors import SpecError
from hpcsweep.plan.grid import Selection, expand
from hpcsweep.spec.axes import BUILTIN_AXES, read_level
from hpcsweep.spec.axis_names import RENAMED_AXES
from hpcsweep.spec.base import nearest
from hpcsweep.spec.experiment import Experiment

AXIS_PREFIX = "HPCSWEEP_AXIS_"
NAME_VARIABLE = "EXP_NAME"

SETTING_VARIABLES: Mapping[str, str] = {
    **{
        axis.setting.upper(): name
        for name, axis in BUILTIN_AXES.items()
        if axis.setting not in ("model", "engine", "image")
    },
    "ENABLE_EP": "ep",
    "ENABLE_EXPERT_PARALLEL": "ep",
}
"""Variable -> the built-in axis that it sets."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")
_ALIKE = 0.85
"""Similarity above which an unknown name is taken for a misspelt variable of ours, and rejected."""


def axis_variable(axis: str) -> str:
    """Return the name under which the level of an axis is exported: `HPCSWEEP_AXIS_EP`."""
    return AXIS_PREFIX + re.sub(r"[^A-Za-z0-9]", "_", axis).upper()


def baseline_of(experiment: Experiment) -> dict[str, str]:
    """Return the label of the baseline's level for every axis of the experiment. Raises SpecError, PlanError."""
    return {axis: level.label for axis, level in expand(experiment, Selection(one_at_a_time=True)).baseline.items()}


def selection_of(experiment: Experiment, env: Mapping[str, str]) -> Selection:
    """Return the selection of the one variant that `env` describes; axes without a variable stay at the baseline.

    Raises SpecError for an invalid level, a variable of an unknown axis, a misspelt variable, and variables that
    contradict each other.
    """
    fixed = baseline_of(experiment)
    by_variable = {axis_variable(axis): axis for axis in {**dict.fromkeys(BUILTIN_AXES), **experiment.axes}}
    by_variable |= {
        axis_variable(old): new for old, new in RENAMED_AXES.items() if axis_variable(old) not in by_variable
    }
    given: dict[str, tuple[str, str]] = {}
    for name, value in sorted(env.items()):
        axis = by_variable.get(name) or SETTING_VARIABLES.get(name)
        if axis is None:
            _check_name(name, by_variable, experiment)
            continue
        try:
            label = read_level(experiment.axes, axis, value.strip()).label
        except SpecError as exc:
            raise SpecError(f"{name}={value}: {exc.message}", code=exc.code, hint=exc.hint) from exc
        if axis in given and given[axis][1] != label:
            other, level = given[axis]
            raise SpecError(
                f"{name}={value} contradicts {other} (axis {axis}: {label} and {level})",
                code="contradicting_variables",
            )
        given[axis] = (name, label)
    return Selection(fix={**fixed, **{axis: label for axis, (_, label) in given.items()}}, repeats=1)


def run_name(env: Mapping[str, str]) -> str | None:
    """Return EXP_NAME, which names the run. None: it is not set. Raises SpecError if it cannot be a folder name."""
    name = env.get(NAME_VARIABLE)
    if name and not _NAME.fullmatch(name):
        raise SpecError(
            f"{NAME_VARIABLE}={name!r} is not a valid name of a run",
            code="run_name",
            hint="use up to 120 letters, digits and . _ + -, beginning with a letter or digit",
        )
    return name or None


def _check_name(name: str, known: Mapping[str, str], experiment: Experiment) -> None:
    if name.startswith(AXIS_PREFIX):
        own = [axis_variable(axis) for axis in experiment.axes]
        raise SpecError(
            f"{name}: experiment {experiment.name} has no such axis", code="unknown_axis", hint=nearest(name, own)
        )
    ours = [*SETTING_VARIABLES, NAME_VARIABLE]
    close = difflib.get_close_matches(name, ours, n=1, cutoff=_ALIKE) if name not in ours else []
    if close:
        raise SpecError(
            f"unknown variable {name}",
            code="misspelt_variable",
            hint=f"did you mean {close[0]}? unset {name} if it is not meant for hpcsweep",
        )

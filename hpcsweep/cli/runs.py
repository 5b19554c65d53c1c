"""Find the sweeps and runs that are named on the command line."""

from collections.abc import Sequence

from hpcsweep.errors import SpecError, nearest
from hpcsweep.sweep.layout import Home, SweepFolder


def choose_runs(home: Home, names: Sequence[str]) -> list[tuple[SweepFolder, set[str] | None]]:
    """Return the sweeps that `names` mean, each with its runs; None: the whole sweep.

    A name is a sweep, SWEEP/RUN, or a run of the latest (or last named) sweep. A run may be a unique prefix of its
    label. Without names: the whole latest sweep. Raises SpecError.
    """
    chosen: dict[str, set[str] | None] = {}
    sweeps = home.sweep_names()
    current: str | None = None
    for name in names:
        if name in sweeps:
            current = name
            chosen.setdefault(name, None)
            continue
        sweep_name, sep, label = name.partition("/")
        if sep and sweep_name in sweeps:
            current = sweep_name
        else:
            label = name
        sweep = home.sweep(current)
        current = sweep.name
        labels = chosen.get(current)
        chosen[current] = (labels or set()) | {find_run(sweep, label)}
    if not chosen:
        chosen[home.sweep(None).name] = None
    return [(home.sweep(name), labels) for name, labels in chosen.items()]


def choose_run(home: Home, name: str) -> tuple[SweepFolder, str]:
    """Return the sweep and the label of the run that `name` means, as in `choose_runs`. Raises SpecError."""
    ((sweep, labels),) = choose_runs(home, [name])
    if labels is None:
        examples = [run.label for run in sweep.read_sweep().runs][:6]
        raise SpecError(
            f"{name} is a sweep; name one of its runs",
            code="run_expected",
            hint=", ".join(f"{name}/{run}" for run in examples),
        )
    (label,) = labels
    return sweep, label


def find_run(sweep: SweepFolder, name: str) -> str:
    """Return the label of the run that `name` means. Raises SpecError with the nearest labels."""
    labels = [run.label for run in sweep.read_sweep().runs]
    if name in labels:
        return name
    matches = [label for label in labels if label.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise SpecError(
            f"{name!r} is a prefix of {len(matches)} runs of {sweep.name}",
            code="run_ambiguous",
            hint=", ".join(matches[:6]),
        )
    raise SpecError(f"{sweep.name} has no run {name!r}", code="unknown_run", hint=nearest(name, labels[:30]))

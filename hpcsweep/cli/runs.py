"""Names of sweeps and runs on the command line."""

from collections.abc import Sequence

from hpcsweep.errors import SpecError, nearest
from hpcsweep.sweep.layout import Home, SweepFolder


def choose_runs(home: Home, names: Sequence[str]) -> list[tuple[SweepFolder, set[str] | None]]:
    """The sweeps and runs that `names` mean; None: the whole sweep. No name: the latest sweep, whole.

    A name is a sweep, SWEEP/RUN, or a run of the latest (or last named) sweep; a run may be a unique beginning of its
    label. Raises SpecError.
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
    """The one run that `name` means, as for `choose_runs`. Raises SpecError."""
    ((sweep, labels),) = choose_runs(home, [name])
    if labels is None:
        some = [run.label for run in sweep.read_sweep().runs][:6]
        raise SpecError(f"{name} is a sweep: name one of its runs", hint=", ".join(f"{name}/{run}" for run in some))
    (label,) = labels
    return sweep, label


def find_run(sweep: SweepFolder, name: str) -> str:
    """The label of the run that `name` means. Raises SpecError with the nearest ones."""
    labels = [run.label for run in sweep.read_sweep().runs]
    if name in labels:
        return name
    beginning = [label for label in labels if label.startswith(name)]
    if len(beginning) == 1:
        return beginning[0]
    if beginning:
        raise SpecError(f"{name!r} means {len(beginning)} runs of {sweep.name}", hint=", ".join(beginning[:6]))
    raise SpecError(f"{sweep.name} has no run {name!r}", hint=nearest(name, labels[:30]))

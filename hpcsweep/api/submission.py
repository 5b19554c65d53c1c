"""Submit a sweep: `hpcsweep.submit`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpcsweep.api.planning import Plan, PlanOptions, plan
from hpcsweep.api.session import open_session, warn
from hpcsweep.errors import SpecError
from hpcsweep.submit.client import SubmittedJob
from hpcsweep.submit.client import submit as submit_sweep
from hpcsweep.submit.factory import make_backend

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class SubmittedSweep:
    """A sweep that was submitted. `refused`: name of each run that was not submitted -> the reason.

    `simulated`: names of the engines that the simulated engine stands in for.
    """

    name: str
    path: Path
    cluster: str
    runs: tuple[str, ...]
    jobs: tuple[SubmittedJob, ...]
    refused: Mapping[str, str]
    simulated: tuple[str, ...]


def submit(experiment: str | Path | Plan, **options: "Unpack[PlanOptions]") -> SubmittedSweep:
    """Submit an experiment, or a plan that was made before. `options`: those of `plan`.

    Nothing is left behind when the first job is refused. When a later one is, the jobs before it run and the error
    names the rest, which `hpcsweep retry` submits. Raises HpcsweepError.
    """
    if isinstance(experiment, Plan):
        if options:
            raise SpecError(
                f"a plan has its options already: {', '.join(options)}",
                code="plan_with_options",
                hint="give them to hpcsweep.plan",
            )
        planned = experiment
    else:
        planned = plan(experiment, **options)
        for warning in planned.warnings:
            warn(warning)
    prepared = planned.prepared
    with open_session(planned.home, planned.store) as opened:
        backend = make_backend(prepared.cluster, opened.home, prepared.parallel)
        above = opened.highest_number_elsewhere(prepared.experiment.name)
        submitted = submit_sweep(prepared, opened.home, backend, above)
    return SubmittedSweep(
        name=submitted.sweep.name,
        path=submitted.sweep.path,
        cluster=planned.cluster,
        runs=planned.runs,
        jobs=submitted.jobs,
        refused=planned.refused,
        simulated=planned.simulated,
    )

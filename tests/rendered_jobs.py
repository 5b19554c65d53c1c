"""The job script of a small experiment on a cluster profile, and the directives in it."""

from hpcsweep.plan.grid import Selection, expand
from hpcsweep.plan.jobs import Packing, pack_jobs
from hpcsweep.plan.request_check import check_request
from hpcsweep.plan.runs import plan_runs
from hpcsweep.render.environment import make_environment
from hpcsweep.render.job import render_job
from hpcsweep.schedulers.registry import get_scheduler
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.job import JobSpec
from hpcsweep.spec.workload import DatasetFacts

SWEEP_DIR = "/shared/sweeps/e-0001"


def planned_job(cluster: Cluster, runs: int = 1, **resources) -> JobSpec:
    """Plan `runs` runs with these resources as one submission."""
    experiment = Experiment.model_validate(
        {
            "name": "e",
            "model": "m",
            "axes": {"model": [f"m{index}" for index in range(runs)]},
            "workloads": {"w": {"dataset": {"kind": "samples"}}},
            "resources": {"walltime": "30m", **resources},
        }
    )
    planned = plan_runs(experiment, expand(experiment, Selection()), {"w": DatasetFacts(requests=1)}, lambda server: [])
    (job,) = pack_jobs(experiment, planned, cluster, Packing("e-0001", SWEEP_DIR, "/shared/cache"))
    return job


def job_script(cluster: Cluster, runs: int = 1, **resources) -> str:
    """Return the script of `planned_job`, after the checks that a submission makes."""
    job, scheduler = planned_job(cluster, runs, **resources), get_scheduler(cluster.scheduler)
    check_request(job.resources, cluster)
    script = render_job(make_environment(), scheduler.template, job, cluster, python="/usr/bin/python3").script
    scheduler.submit_argv(f"{SWEEP_DIR}/jobs/0/job.sh", f"{SWEEP_DIR}/jobs/0", script)
    return script


def directives(script: str) -> list[str]:
    """Return the options of the #SBATCH or #PBS lines, in order."""
    lines = (line.split(" ", 1) for line in script.splitlines() if line.startswith(("#SBATCH ", "#PBS ")))
    return [option for _, option in lines]

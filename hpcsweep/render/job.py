"""job.sh, job.json and the environment files of a job, as text."""

from collections.abc import Mapping
from dataclasses import dataclass

import hpcsweep
from hpcsweep.render.environment import TemplateEnvironment, render, sh
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import ArrayTask, JobSpec

SCRIPT_FILE = "job.sh"
SPEC_FILE = "job.json"


@dataclass(frozen=True)
class RenderedJob:
    """The files of one job folder: relative path -> text."""

    files: Mapping[str, str]

    @property
    def script(self) -> str:
        """The text of job.sh."""
        return self.files[SCRIPT_FILE]


def render_job(
    env: TemplateEnvironment, template: str, job: JobSpec, cluster: Cluster, *, python: str, parallel: int | None = None
) -> RenderedJob:
    """The files of `jobs/N/`. `parallel`: elements that run at once; None: no limit.

    A template may use: job (JobSpec), cluster (Cluster), python, parallel, job_dir, log_dir, array (more than one
    element), version.
    """
    job_dir = f"{job.sweep_dir}/jobs/{job.job}"
    script = render(
        env,
        template,
        job=job,
        cluster=cluster,
        python=python,
        parallel=parallel,
        job_dir=job_dir,
        log_dir=f"{job_dir}/logs",
        array=len(job.array_tasks) > 1,
        version=hpcsweep.__version__,
    )
    return job_files(job, script)


def job_files(job: JobSpec, script: str, before: str = "") -> RenderedJob:
    """The files of `jobs/N/` around a script, rendered or a user's own. `before`: stands first in each .env file."""
    files = {SCRIPT_FILE: script, SPEC_FILE: job.model_dump_json(indent=1) + "\n"}
    for element in job.array_tasks:
        files[f"elements/{element.index}.env"] = before + element_environment(element)
    return RenderedJob(files)


def element_environment(element: ArrayTask) -> str:
    """The exports of an element, for the job's shell: those of its first run; the agent sets each run's own."""
    lines = [f"# {', '.join(run.label for run in element.runs)}"]
    lines += [f"export {name}={sh(value)}" for name, value in sorted(element.runs[0].exports.items())]
    return "\n".join(lines) + "\n"

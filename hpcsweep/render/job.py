"""Render job.sh, job.json and the environment files of a submission as text."""

from collections.abc import Mapping
from dataclasses import dataclass

import hpcsweep
from hpcsweep.render.environment import TemplateEnvironment, render, sh
from hpcsweep.render.own_script import OLD_SOURCED, SOURCED
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.file_names import COMMANDS_FILE, SCRIPT_FILE, SPEC_FILE, TASKS_DIR
from hpcsweep.spec.job import ArrayTask, JobSpec


@dataclass(frozen=True)
class RenderedJob:
    """The files of one job folder: relative path -> text."""

    files: Mapping[str, str]

    @property
    def script(self) -> str:
        """Return the text of job.sh."""
        return self.files[SCRIPT_FILE]

    @property
    def scripts(self) -> dict[str, str]:
        """Return name -> text of job.sh and, for a preparation with commands, of prepare.sh."""
        return {name: self.files[name] for name in (SCRIPT_FILE, COMMANDS_FILE) if name in self.files}


def render_job(
    env: TemplateEnvironment, template: str, job: JobSpec, cluster: Cluster, *, python: str, parallel: int | None = None
) -> RenderedJob:
    """Return the files of `jobs/N/`. `parallel`: array tasks that run at once; None: no limit.

    A template may use: job (JobSpec), cluster (Cluster), python, parallel, job_dir, log_dir, array (there is more than
    one array task), version.
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
    rendered = job_files(job, script.replace(OLD_SOURCED, SOURCED))
    if job.preparation is None or not job.preparation.commands:
        return rendered
    commands = render(env, "prepare.sh.j2", job=job, cluster=cluster, version=hpcsweep.__version__)
    return RenderedJob({**rendered.files, COMMANDS_FILE: commands})


def job_files(job: JobSpec, script: str, before: str = "") -> RenderedJob:
    """Return the files of `jobs/N/` for a rendered script or a user's own. `before`: the start of each .env file."""
    files = {SCRIPT_FILE: script, SPEC_FILE: job.model_dump_json(indent=1) + "\n"}
    for task in job.array_tasks:
        files[f"{TASKS_DIR}/{task.index}.env"] = before + task_environment(task)
    return RenderedJob(files)


def task_environment(task: ArrayTask) -> str:
    """Return the exports of an array task for the job's shell: those of its first run."""
    lines = [f"# {', '.join(run.label for run in task.runs)}"]
    exports = task.runs[0].exports if task.runs else {}
    lines += [f"export {name}={sh(value)}" for name, value in sorted(exports.items())]
    return "\n".join(lines) + "\n"

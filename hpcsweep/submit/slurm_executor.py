"""For people who program against submitit: its SlurmExecutor over hpcsweep's template, parsers and profiles."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from pydantic import ValidationError
from submitit.core import core, utils

from hpcsweep.errors import SpecError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.render.environment import make_environment, render
from hpcsweep.render.job import job_values
from hpcsweep.schedulers.slurm import SlurmScheduler
from hpcsweep.spec.base import nearest
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import Element, JobSpec, Resources
from hpcsweep.submit.backends import SUBMIT_TIMEOUT_S, SchedulerBackend
from hpcsweep.submit.slurm_watcher import SlurmJob
from hpcsweep.units import parse_bytes

TEMPLATE = "slurm_submitit.sh.j2"

# submitit's parameter -> the field of the cluster profile that it overrides.
_PROFILE = {
    "partition": "partition", "account": "account", "qos": "qos", "constraint": "constraint",
    "reservation": "reservation", "nodelist": "nodelist", "exclude": "exclude", "exclusive": "exclusive",
    "signal_delay_s": "signal_margin", "array_parallelism": "parallel", "gpu_type": "gpu_type",
}  # fmt: skip
_OWN = ("job_name", "time", "nodes", "ntasks_per_node", "cpus_per_task", "mem", "gpus_per_node", "setup",
        "stderr_to_stdout", "srun_args", "additional_parameters")  # fmt: skip


class SlurmExecutor(submitit.SlurmExecutor):
    """submitit's SlurmExecutor, with `slurm.sh.j2` as its submission file, for single jobs and for arrays.

    `cluster`: the profile that says what every job asks for; submitit's parameters (`timeout_min`, `mem_gb`,
    `gpus_per_node` ...) go over it. `template_dirs`: folders of your own templates. Jobs get the login environment of
    their user, not that of this process: what they need stands in `cluster.env` (PYTHONPATH, for example).
    An array that is longer than the cluster allows becomes several.
    """

    job_class = SlurmJob

    def __init__(
        self,
        folder: str | Path,
        cluster: Cluster | None = None,
        *,
        template_dirs: Sequence[Path] = (),
        max_num_timeout: int = 3,
        python: str | None = None,
    ) -> None:
        super().__init__(folder, max_num_timeout=max_num_timeout, python=python)
        self.cluster = cluster or Cluster(scheduler="slurm")
        self._environment = make_environment(template_dirs)
        self._backend = SchedulerBackend(SlurmScheduler(), LocalHost())
        self._array_size: int | None = None  # of the array that is being submitted; None: a single job

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return {*_PROFILE, *_OWN}

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        """Check and take parameters, in submitit's names for Slurm. Raises SpecError."""
        for name in kwargs:
            if name not in self._valid_parameters():
                raise SpecError(f"unknown parameter {name!r}", hint=nearest(name, sorted(self._valid_parameters())))
        before = dict(self.parameters)
        self.parameters.update(kwargs)
        try:
            self._make_submission_file_text("true", "")
        except BaseException:
            self.parameters = before
            raise

    def _internal_process_submissions(self, delayed_submissions: list[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        if len(delayed_submissions) == 1:
            return super()._internal_process_submissions(delayed_submissions)
        size = self.cluster.max_array_size or self._backend.max_array_size() or len(delayed_submissions)
        return [
            job
            for start in range(0, len(delayed_submissions), size)
            for job in self._submit_array(delayed_submissions[start : start + size])
        ]

    def _submit_array(self, delayed_submissions: Sequence[utils.DelayedSubmission]) -> Iterator[core.Job[Any]]:
        """submitit's own forgets subclasses here: it submits arrays through a plain SlurmExecutor."""
        folder = utils.JobPaths.get_first_id_independent_folder(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        pickles = [folder / f"{uuid.uuid4().hex}.pkl" for _ in delayed_submissions]
        for delayed, path in zip(delayed_submissions, pickles, strict=True):
            delayed.set_timeout(self.parameters.get("time", 5), self.max_num_timeout)
            delayed.dump(path)
        self._throttle()
        self._array_size = len(delayed_submissions)
        try:
            whole = self._submit_command(self._submitit_command_str)
        finally:
            self._array_size = None
        for index, path in enumerate(pickles):
            job: SlurmJob[Any] = self.job_class(self.folder, f"{whole.job_id}_{index}", list(range(whole.num_tasks)))
            job.paths.move_temporary_file(path, "submitted_pickle")
            yield job

    def _submit_command(self, command: str) -> core.Job[Any]:
        """Write the file and hand it over. Raises SchedulerError with Slurm's words and what to change."""
        folder = utils.JobPaths.get_first_id_independent_folder(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f".submission_file_{uuid.uuid4().hex}.sh"
        path.write_text(self._make_submission_file_text(command, path.stem))
        job_id = self._backend.submit(self._job(), str(folder), path)
        job: SlurmJob[Any] = self.job_class(self.folder, job_id, list(range(self._num_tasks())))
        job.paths.move_temporary_file(path, "submission_file", keep_as_symlink=True)
        return job

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        """The template with this executor's parameters. Raises SpecError, TemplateError."""

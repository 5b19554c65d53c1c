"""For people who program against submitit: its SlurmExecutor over hpcsweep's template, parsers and profiles."""

import getpass
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import submitit
from pydantic import BaseModel, ValidationError
from submitit.core import core, utils

import hpcsweep
from hpcsweep.errors import SchedulerUnreachable, SpecError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.plan.request_check import check_request, per_gpu
from hpcsweep.render.environment import make_environment, render
from hpcsweep.schedulers.slurm.scheduler import SlurmScheduler
from hpcsweep.spec.base import nearest, spec_error
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import ArrayTask, JobSpec, Resources
from hpcsweep.submit.backends import PROBE_TIMEOUT_S, SUBMIT_TIMEOUT_S
from hpcsweep.submit.submitit.arrays import ArrayExecutor
from hpcsweep.submit.submitit.slurm_watcher import SlurmJob
from hpcsweep.units import parse_bytes

TEMPLATE = "slurm_submitit.sh.j2"

_DEFAULT_TIME_MIN = 5  # submitit's own default

Checked = TypeVar("Checked", bound=BaseModel)

# submitit's parameter -> the field of the cluster profile that it overrides.
_PROFILE = {
    "partition": "partition", "account": "account", "qos": "qos", "constraint": "constraint",
    "reservation": "reservation", "nodelist": "nodelist", "exclude": "exclude", "exclusive": "exclusive",
    "signal_delay_s": "signal_margin", "array_parallelism": "parallel", "gpu_type": "gpu_type",
}  # fmt: skip
_OWN = ("job_name", "time", "nodes", "ntasks_per_node", "cpus_per_task", "mem", "gpus_per_node", "setup",
        "stderr_to_stdout", "srun_args", "additional_parameters")  # fmt: skip


class SlurmExecutor(ArrayExecutor, submitit.SlurmExecutor):
    """submitit's SlurmExecutor, with `slurm.sh.j2` as its submission file, for single jobs and for arrays.

    `cluster`: the profile with the resources of every job; submitit's parameters (`timeout_min`, `mem_gb`,
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
        self._scheduler, self._host = SlurmScheduler(), LocalHost()
        self._array_size = 1  # of what is being submitted

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return {*_PROFILE, *_OWN}

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        """Check and take parameters: submitit's generic names (timeout_min, mem_gb) or those of Slurm.

        Raises SpecError that lists the known ones.
        """
        generic = self._equivalence_dict()
        kwargs = {
            **self._convert_parameters({name: kwargs.pop(name) for name in [*kwargs] if name in generic}),
            **kwargs,
        }
        for name in kwargs:
            if name not in self._valid_parameters():
                raise SpecError(
                    f"SlurmExecutor: unknown parameter {name!r}",
                    hint=nearest(name, sorted({*self._valid_parameters(), *generic})),
                )
        before = dict(self.parameters)
        self.parameters.update(kwargs)
        try:
            self._make_submission_file_text("true", "checked-only")
        except BaseException:
            self.parameters = before
            raise

    def _timeout_min(self) -> int:
        return int(self.parameters.get("time", _DEFAULT_TIME_MIN))

    def _submit_command(self, command: str) -> core.Job[Any]:
        """Write the file and submit it. Raises SchedulerError with Slurm's message and what to change."""
        path = self._plain_folder() / f".submission_file_{uuid.uuid4().hex}.sh"
        path.write_text(self._make_submission_file_text(command, str(path)))
        answer = self._host.run(self._scheduler.submit_argv(str(path), str(Path.cwd())), timeout_s=SUBMIT_TIMEOUT_S)
        try:
            job_id = self._scheduler.parse_submit(answer)
        except SchedulerUnreachable:
            find = self._scheduler.find_query(self._job_name, getpass.getuser(), str(path))
            job_ids = find.parse(self._host.run(find.argv, timeout_s=PROBE_TIMEOUT_S)) if find is not None else []
            if not job_ids:
                raise
            job_id = job_ids[-1]
        job: core.Job[Any] = self.job_class(self.folder, job_id, list(range(self._num_tasks())))
        job.paths.move_temporary_file(path, "submission_file", keep_as_symlink=True)
        return job

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        """Render the template with this executor's parameters; `uid` marks the job. Raises SpecError, TemplateError."""
        given = self.parameters
        array, tasks = self._array_size > 1, self._num_tasks()
        paths = utils.JobPaths(self.folder)
        stdout, stderr = (str(path).replace("%j", "%A_%a" if array else "%j") for path in (paths.stdout, paths.stderr))
        srun: list[str] = []
        if tasks > 1:
            srun = ["srun", "--unbuffered", f"--output={stdout}", f"--error={stderr}", *given.get("srun_args", ())]
        cluster = self._profile()
        return render(
            self._environment,
            TEMPLATE,
            job=self._job(),
            cluster=cluster,
            python=self.python,
            parallel=cluster.parallel,
            job_dir=uid,
            log_dir=str(self.folder),
            array=array,
            version=hpcsweep.__version__,
            command=command,
            srun=srun,
            stdout=stdout.replace("%t", "0"),
            stderr="" if given.get("stderr_to_stdout") else stderr.replace("%t", "0"),
            tasks_per_node=tasks // int(given.get("nodes", 1)),
        )

    def _profile(self) -> Cluster:
        """Merge the profile under the parameters. A job that submitit checkpoints must be allowed to be requeued."""
        given = self.parameters
        document = self.cluster.model_dump()
        document.update({field: given[name] for name, field in _PROFILE.items() if given.get(name) is not None})
        document["requeue"] = document["requeue"] or self.max_num_timeout > 0
        document["setup"] = [*document["setup"], *(given.get("setup") or ())]
        extra: Mapping[str, Any] = given.get("additional_parameters") or {}
        document["directives"] += [f"--{key}" if value is True else f"--{key}={value}" for key, value in extra.items()]
        return _validated(Cluster, document)

    def _job(self) -> JobSpec:
        given, cluster = self.parameters, self.cluster
        gpus = given.get("gpus_per_node") or 0
        memory = parse_bytes(given["mem"]) if given.get("mem") else None
        document = {
            "nodes": given.get("nodes", 1),
            "gpus": gpus,
            "gpu_type": given.get("gpu_type") or cluster.gpu_type,
            "cpus": given.get("cpus_per_task") or per_gpu(gpus, cluster.cpus_per_gpu, cluster.cpus),
            "memory_bytes": memory or per_gpu(gpus, cluster.memory_per_gpu, cluster.memory),
            "walltime_s": 60 * given.get("time", _DEFAULT_TIME_MIN),
        }
        resources = _validated(Resources, document)
        check_request(resources, cluster)
        return JobSpec(
            sweep=self._job_name,
            job=0,
            sweep_dir=str(self.folder),
            name=self._job_name,
            scheduler="slurm",
            resources=resources,
            array_tasks=[ArrayTask(index=index, runs=[]) for index in range(self._array_size)],
            cache_dir="",
        )

    @property
    def _job_name(self) -> str:
        return str(self.parameters.get("job_name", "submitit"))


def _validated(model: type[Checked], document: Mapping[str, Any]) -> Checked:
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        raise spec_error(exc, model, "SlurmExecutor", {}) from exc

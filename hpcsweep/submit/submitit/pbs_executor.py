"""A submitit plugin for PBS: `submitit.AutoExecutor(folder, cluster="pbs")` for users has hpcsweep installed.

Found by the entry points `executor` and `job_environment` of the group `submitit`. Over the same template, parsers
and profiles as hpcsweep's own jobs.
"""

import contextlib
import getpass
import shlex
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError
from submitit.core import core, utils

import hpcsweep
from hpcsweep.errors import SchedulerError, SchedulerUnreachable
from hpcsweep.hosts.local import LocalHost
from hpcsweep.plan.request_check import per_gpu
from hpcsweep.render.environment import make_environment, render
from hpcsweep.schedulers.pbs.scheduler import PbsScheduler
from hpcsweep.schedulers.pbs.status import split_id
from hpcsweep.spec.base import Model, spec_error
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import ArrayTask, JobSpec, Resources
from hpcsweep.submit.backends import SUBMIT_TIMEOUT_S
from hpcsweep.submit.submitit.arrays import ArrayExecutor
from hpcsweep.submit.submitit.pbs_environment import PbsJobEnvironment
from hpcsweep.submit.submitit.pbs_job import PbsJob

__all__ = ["PbsExecutor", "PbsJobEnvironment"]

TEMPLATE = "pbs_submitit.sh.j2"

Checked = TypeVar("Checked", bound=BaseModel)


class PbsParameters(Model):
    """Parameters of `update_parameters`: submitit's shared ones, and with the prefix `pbs_` those of PBS."""

    name: str = "submitit"
    timeout_min: int = Field(5, ge=1)
    mem_gb: float | None = Field(None, gt=0, description="per node")
    nodes: int = Field(1, ge=1)
    cpus_per_task: int | None = Field(None, ge=1)
    gpus_per_node: int = Field(0, ge=0)
    tasks_per_node: int = Field(1, ge=1, le=1, description="PBS has no srun: one function a job")
    stderr_to_stdout: bool = False
    queue: str | None = None
    account: str | None = None
    place: str | None = None
    constraint: str | None = Field(None, description="appended to every chunk of select, such as gpu_type=h200")
    gpu_type: str | None = Field(None, description="asked for by the profile's gpu_resource")
    array_parallelism: int | None = Field(None, ge=1)
    signal_delay_s: int = Field(
        90, ge=1, description="seconds before the end of the walltime at which the function is asked to checkpoint"
    )
    max_array_size: int | None = Field(None, ge=2, description="longer arrays become several; None: asked of PBS")
    setup: list[str] = []
    env: dict[str, str] = {}
    directives: list[str] = Field([], description="extra options of qsub, such as '-P project'")


_PROFILE = ("queue", "account", "place", "constraint", "max_array_size")


class PbsExecutor(ArrayExecutor):
    """submitit over PBS: `submit`, `map_array` (one `qsub -J`), state, result, cancel, checkpoint.

    `cluster`: the profile with the resources of every job; submitit's parameters go over it. `template_dirs`:
    folders of your own templates. `folder` must be seen by the nodes under the same path. Jobs get the login
    environment of their user, not that of this process: what they need stands in `env` or `setup`.
    """

    job_class = PbsJob

    def __init__(
        self,
        folder: str | Path,
        cluster: Cluster | None = None,
        *,
        template_dirs: Sequence[Path] = (),
        max_num_timeout: int = 3,
        python: str | None = None,
    ) -> None:
        super().__init__(folder, max_num_timeout=max_num_timeout)
        self.cluster = cluster or Cluster(scheduler="pbs")
        self.python = shlex.quote(sys.executable) if python is None else python
        self._environment = make_environment(template_dirs)
        self._scheduler, self._host = PbsScheduler(), LocalHost()
        self._array_size = 1  # of what is being submitted
        if self.affinity() < 0:
            raise RuntimeError("qsub and pbsnodes are not on PATH: is this the login node of a PBS cluster?")

    @classmethod
    def affinity(cls) -> int:
        """2 where PBS is, -1 elsewhere; qsub alone might be that of Grid Engine."""
        return 2 if shutil.which("qsub") and shutil.which("pbsnodes") else -1

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return set(PbsParameters.model_fields)

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        """Check and take parameters. Raises SpecError that names the nearest known one."""
        before = dict(self.parameters)
        self.parameters.update(kwargs)
        try:
            self._scheduler.submit_argv("checked-only", "", self._make_submission_file_text("true", "checked-only"))
        except BaseException:
            self.parameters.clear()
            self.parameters.update(before)
            raise

    @property
    def _checked(self) -> PbsParameters:
        return _validated(PbsParameters, self.parameters)

    def _num_tasks(self) -> int:
        return 1

    @property
    def _submitit_command_str(self) -> str:
        return f"{self.python} -u -m submitit.core._submit {shlex.quote(str(self.folder))}"

    def _timeout_min(self) -> int:
        return self._checked.timeout_min

    def _submit_command(self, command: str) -> core.Job[Any]:
        """Write the file and submit it. Raises SchedulerError with the message of PBS and what to change."""
        return self.job_class(self.folder, self._submit_to_pbs(command))

    def _submit_to_pbs(self, command: str) -> str:
        """Submit the file; return the number of the PBS job."""
        path = self._plain_folder() / f".submission_file_{uuid.uuid4().hex}.sh"
        path.write_text(self._make_submission_file_text(command, str(path)))
        Path(self._log_dir(path)).mkdir(parents=True)
        answer = self._host.run(self._make_submission_command(path), timeout_s=SUBMIT_TIMEOUT_S)
        try:
            job_id = self._scheduler.parse_submit(answer)
        except SchedulerUnreachable:
            find = self._scheduler.find_query(self._checked.name, getpass.getuser(), self._log_dir(path))
            ids: list[str] = []
            if find is None:
                raise
            with contextlib.suppress(SchedulerError):  # this error is not about the unconfirmed submission
                ids = find.parse(self._host.run(find.argv, timeout_s=self._scheduler.query_timeout_s))
            if not ids:
                raise
            job_id = ids[-1]
        number = self._get_job_id_from_submission_command(job_id)
        first = f"{number}_0" if self._array_size > 1 else number
        utils.JobPaths(self.folder, first).move_temporary_file(path, "submission_file", keep_as_symlink=True)
        return number

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        """Render the template with this executor's parameters; `uid` marks the job. Raises SpecError, TemplateError."""
        given, cluster = self._checked, self._profile()
        return render(
            self._environment,
            TEMPLATE,
            job=self._job(given),
            cluster=cluster,
            python=self.python,
            parallel=given.array_parallelism or cluster.parallel,
            job_dir=uid,
            log_dir=self._log_dir(Path(uid)),
            array=self._array_size > 1,
            version=hpcsweep.__version__,
            command=command,
            folder=str(self.folder),
            workdir=str(Path.cwd()),
            stderr_to_stdout=given.stderr_to_stdout,
            signal_delay_s=given.signal_delay_s,
        )

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        text = submission_file_path.read_text()
        return list(self._scheduler.submit_argv(str(submission_file_path), str(self.folder), text))

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        return split_id(string.decode() if isinstance(string, bytes) else string)[0]

    def _profile(self) -> Cluster:
        """Merge the profile under the parameters. A job that submitit checkpoints must be allowed to run again."""
        given = self._checked
        document = self.cluster.model_dump()
        document.update({name: getattr(given, name) for name in _PROFILE if getattr(given, name) is not None})
        document["requeue"] = document["requeue"] or self.max_num_timeout > 0
        document["setup"] = [*document["setup"], *given.setup]
        document["env"] = {**document["env"], **given.env}
        document["directives"] = [*document["directives"], *given.directives]
        return _validated(Cluster, document)

    def _job(self, given: PbsParameters) -> JobSpec:
        cluster, gpus = self.cluster, given.gpus_per_node
        memory = int(given.mem_gb * (1 << 30)) if given.mem_gb else None
        return JobSpec(
            sweep=given.name,
            job=0,
            sweep_dir=str(self.folder),
            name=given.name,
            scheduler="pbs",
            resources=Resources(
                nodes=given.nodes,
                gpus=gpus,
                gpu_type=given.gpu_type or cluster.gpu_type,
                cpus=given.cpus_per_task or per_gpu(gpus, cluster.cpus_per_gpu, cluster.cpus),
                memory_bytes=memory or per_gpu(gpus, cluster.memory_per_gpu, cluster.memory),
                walltime_s=60 * given.timeout_min,
            ),
            array_tasks=[ArrayTask(index=index, runs=[]) for index in range(self._array_size)],
            cache_dir="",
        )

    def _log_dir(self, script: Path) -> str:
        """Return a folder of the submission's own for the output of PBS, by which a lost submission is found."""
        return str(utils.JobPaths.get_first_id_independent_folder(self.folder) / "pbs" / script.stem.lstrip("."))


def _validated(model: type[Checked], document: Mapping[str, Any]) -> Checked:
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        raise spec_error(exc, model, "PbsExecutor", {}) from exc

"""What hpcsweep's submitit executors share: a list of calls is one array of the scheduler, cut where it is too long."""

import abc
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit.core import core, utils

from hpcsweep.hosts.base import Host
from hpcsweep.schedulers.base import Scheduler
from hpcsweep.spec.cluster import Cluster


class ArrayExecutor(core.PicklingExecutor):
    """Submits many calls as arrays. submitit's own executors forget their subclasses when they do so."""

    _host: Host
    _scheduler: Scheduler
    _array_size: int  # of what is being submitted

    @abc.abstractmethod
    def _profile(self) -> Cluster:
        """Return the resources of every job, submitit's parameters over the cluster profile."""

    @abc.abstractmethod
    def _timeout_min(self) -> int:
        """Minutes that submitit gives a call before it counts as timed out."""

    def _plain_folder(self) -> Path:
        """Return the part of the folder before `%j` and its like; it is there afterwards."""
        folder = utils.JobPaths.get_first_id_independent_folder(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _internal_process_submissions(self, delayed_submissions: list[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        total = len(delayed_submissions)
        size = total if total == 1 else self._profile().max_array_size or self._largest_array() or total
        return [
            job
            for start in range(0, total, size)
            for job in self._submit_array(delayed_submissions[start : start + size])
        ]

    def _largest_array(self) -> int | None:
        answers = [self._host.run(argv, timeout_s=self._scheduler.query_timeout_s) for argv in self._scheduler.probes()]
        return self._scheduler.parse_probes(answers).max_array_size

    def _submit_array(self, delayed_submissions: Sequence[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        """One submission for all; a single call is a plain job."""
        if len(delayed_submissions) == 1:
            return super()._internal_process_submissions(list(delayed_submissions))
        folder = self._plain_folder()
        pickles = [folder / f"{uuid.uuid4().hex}.pkl" for _ in delayed_submissions]
        for delayed, path in zip(delayed_submissions, pickles, strict=True):
            delayed.set_timeout(self._timeout_min(), self.max_num_timeout)
            delayed.dump(path)
        self._throttle()
        self._array_size = len(delayed_submissions)
        try:
            whole = self._submit_command(self._submitit_command_str)
        finally:
            self._array_size = 1
        jobs: list[core.Job[Any]] = []
        for index, path in enumerate(pickles):
            jobs.append(self.job_class(self.folder, f"{whole.job_id}_{index}", list(range(self._num_tasks()))))
            jobs[-1].paths.move_temporary_file(path, "submitted_pickle")
        return jobs

"""Environment of a submitit job under PBS: its ids, the end of its walltime, how it continues after that."""

import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from submitit.core import job_environment, logger, utils

from hpcsweep.errors import SchedulerError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.pbs.scheduler import PbsScheduler
from hpcsweep.schedulers.pbs.status import split_id
from hpcsweep.submit.backends import SUBMIT_TIMEOUT_S

CONTINUES = "SUBMITIT_PBS_CONTINUES"
"""Set for a job that continues the work of another one: the id of that job's files."""


class PbsJobEnvironment(job_environment.JobEnvironment):
    """The environment of a job that `PbsExecutor` submitted: one function, on the first of its nodes.

    PBS gives no warning before the walltime ends, so the job keeps its own clock and signals itself in time.
    """

    _env = {
        "job_id": "PBS_JOBID",
        "num_tasks": "SUBMITIT_PBS_NUM_TASKS",
        "node": "PBS_NODENUM",
        "global_rank": "SUBMITIT_PBS_GLOBAL_RANK",
        "local_rank": "SUBMITIT_PBS_LOCAL_RANK",
    }

    @property
    def raw_job_id(self) -> str:
        """Number of the job, without index and server."""
        return split_id(os.environ["PBS_JOBID"])[0]

    @property
    def job_id(self) -> str:
        """`12` or `12_3`, as the executor names its files; for a continuation, the id of the original job."""
        return os.environ.get(CONTINUES) or super().job_id

    @property
    def array_job_id(self) -> str | None:
        """Number of the array; None outside of one."""
        return self.raw_job_id if "PBS_ARRAY_INDEX" in os.environ else None

    @property
    def array_task_id(self) -> str | None:
        """Index within the array; None outside of one."""
        return os.environ.get("PBS_ARRAY_INDEX")

    @property
    def hostnames(self) -> Sequence[str]:
        """Hosts of the job, in the order of PBS_NODEFILE."""
        try:
            lines = Path(os.environ["PBS_NODEFILE"]).read_text(encoding="utf-8").split()
        except (KeyError, OSError):
            return [self.hostname]
        return list(dict.fromkeys(lines)) or [self.hostname]

    @property
    def num_nodes(self) -> int:
        """Number of hosts of the job."""
        return len(self.hostnames)

    def _handle_signals(self, paths: utils.JobPaths, submission: utils.DelayedSubmission) -> None:
        """USR2 (from our own clock, or from qsig) checkpoints; TERM (qdel, walltime) ends the function at once."""
        super()._handle_signals(paths, submission)
        signal.signal(signal.SIGTERM, _told_to_end)
        started = float(os.environ.get("SUBMITIT_PBS_STARTED", time.time()))
        margin_s = float(os.environ.get("SUBMITIT_PBS_SIGNAL_DELAY_S", "90"))
        timeout_s = submission._timeout_min * 60
        pause_s = started + timeout_s - min(margin_s, timeout_s / 3) - time.time()
        clock = threading.Timer(max(0.0, pause_s), os.kill, (os.getpid(), self._usr_sig()))
        clock.daemon = True
        clock.start()

    def _requeue(self, countdown: int) -> None:
        """Run this job again: `qrerun`, or where that is for operators only, a new job that continues under our id."""
        scheduler, host = PbsScheduler(), LocalHost()
        job_id = os.environ["PBS_JOBID"]
        answer = host.run(("qrerun", job_id), timeout_s=SUBMIT_TIMEOUT_S)
        if answer.exit_code == 0:
            logger.get_logger().info(f"Requeued {job_id} ({countdown} remaining timeouts)")
            return
        logger.get_logger().info(f"qrerun {job_id}: {answer.stderr.strip()}; submitting a continuation")
        script = self.paths.submission_file
        argv = scheduler.continue_argv(str(script), script.read_text(), job_id, {CONTINUES: self.job_id})
        new_id = scheduler.parse_submit(host.run(argv, timeout_s=SUBMIT_TIMEOUT_S))
        note_continuation(self.paths, new_id)
        logger.get_logger().info(f"{new_id} continues for {job_id} ({countdown} remaining timeouts)")


def continuation_file(paths: utils.JobPaths) -> Path:
    """Return the file in which a job records the PBS job that continues its work."""
    return paths.folder / f"{paths.job_id}_continued.json"


def note_continuation(paths: utils.JobPaths, pbs_id: str) -> None:
    """Record that the PBS job `pbs_id` continues this work."""
    path = continuation_file(paths)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"pbs_id": pbs_id}))
    beside.replace(path)


def read_continuation(paths: utils.JobPaths) -> str | None:
    """Return the id of the PBS job that continues this work, or None.

    Raises SchedulerError when the note is damaged.
    """
    path = continuation_file(paths)
    try:
        return str(json.loads(path.read_text())["pbs_id"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as exc:
        raise SchedulerError(f"{path} cannot be read: {exc}") from exc


def _told_to_end(signum: int, frame: FrameType | None) -> None:
    """PBS kills what is left after kill_delay (10 s by default): the error must be on disk by then."""
    raise utils.UncompletedJobError("PBS sent SIGTERM: deleted (qdel), preempted, or at its walltime")

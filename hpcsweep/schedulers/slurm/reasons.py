"""Explain job states, pending reasons and errors of Slurm."""

import re
from dataclasses import dataclass

from hpcsweep.schedulers.base import JobState
from hpcsweep.spec.phases import OutcomeKind


@dataclass(frozen=True)
class Meaning:
    """Meaning of a Slurm state. `outcome` None: it has not ended, or the state does not show how."""

    state: JobState
    words: str
    outcome: OutcomeKind | None = None


# man squeue, JOB STATE CODES, and man sacct, JOB STATE CODES (22.05, with the additions up to 24.11).
_STATES = {
    "PENDING": Meaning(JobState.PENDING, "waiting in the queue"),
    "REQUEUED": Meaning(JobState.PENDING, "being requeued"),
    "REQUEUE_FED": Meaning(JobState.PENDING, "being requeued on another cluster"),
    "REQUEUE_HOLD": Meaning(JobState.HELD, "was requeued and is held"),
    "RESV_DEL_HOLD": Meaning(JobState.HELD, "is held: its reservation was deleted"),
    "SPECIAL_EXIT": Meaning(JobState.HELD, "was requeued in a special state and is held"),
    "CONFIGURING": Meaning(JobState.PENDING, "its nodes are starting up"),
    "POWER_UP_NODE": Meaning(JobState.PENDING, "its nodes are being powered up"),
    "RUNNING": Meaning(JobState.RUNNING, ""),
    "RESIZING": Meaning(JobState.RUNNING, "runs, and is being resized"),
    "SIGNALING": Meaning(JobState.RUNNING, "runs, and is being sent a signal"),
    "SUSPENDED": Meaning(JobState.RUNNING, "is suspended: it keeps its nodes but does not run"),
    "STOPPED": Meaning(JobState.RUNNING, "is stopped by a signal: it keeps its nodes but does not run"),
    "COMPLETING": Meaning(JobState.ENDING, "is ending: some of its processes still exist"),
    "STAGE_OUT": Meaning(JobState.ENDING, "is ending: its files are being staged out"),
    "COMPLETED": Meaning(JobState.COMPLETED, "its script ended with exit code 0"),
    "FAILED": Meaning(JobState.FAILED, "its script failed"),
    "CANCELLED": Meaning(JobState.FAILED, "was cancelled", OutcomeKind.CANCELLED),
    "TIMEOUT": Meaning(JobState.FAILED, "reached its time limit", OutcomeKind.WALLTIME),
    "DEADLINE": Meaning(JobState.FAILED, "reached its deadline", OutcomeKind.WALLTIME),
    "PREEMPTED": Meaning(JobState.FAILED, "was preempted by another job", OutcomeKind.PREEMPTED),
    "NODE_FAIL": Meaning(JobState.FAILED, "lost its node", OutcomeKind.LOST),
    "BOOT_FAIL": Meaning(JobState.FAILED, "its node did not start up", OutcomeKind.LOST),
    "LAUNCH_FAILED": Meaning(JobState.FAILED, "its node could not start it", OutcomeKind.LOST),
    "RECONFIG_FAIL": Meaning(JobState.FAILED, "its node could not be configured", OutcomeKind.LOST),
    "OUT_OF_MEMORY": Meaning(
        JobState.FAILED, "used more main memory than requested", OutcomeKind.OUT_OF_MEMORY
    ),
    "REVOKED": Meaning(JobState.UNKNOWN, "runs on another cluster of the federation"),
}  # fmt: skip

_STATE_HINTS = {
    "TIMEOUT": "`hpcsweep retry --walltime` requests more time",
    "PREEMPTED": "`hpcsweep retry` runs what is missing; with requeue: true in the profile Slurm does it",
    "OUT_OF_MEMORY": "raise resources.memory (main memory of the node, not of the GPU)",
    "NODE_FAIL": "`hpcsweep retry --exclude-bad-nodes` runs it on other nodes",
    "BOOT_FAIL": "`hpcsweep retry --exclude-bad-nodes` runs it on other nodes",
    "LAUNCH_FAILED": "`hpcsweep retry --exclude-bad-nodes` runs it on other nodes",
}

LAUNCH_FAILURE_SIGNAL = 53
"""The signal in ExitCode 0:53: the node could not start the script (measured: log folder missing or not writable)."""


def meaning(native: str) -> Meaning:
    """Return the meaning of a state such as `RUNNING` or `CANCELLED by 1001`; a state of a newer Slurm is UNKNOWN."""
    known = _STATES.get(native.partition(" ")[0].rstrip("+"))
    if known is None:
        return Meaning(JobState.UNKNOWN, f"is in a state unknown to hpcsweep: {native!r}")
    user = re.search(r" by (\d+)$", native)
    if user is None:
        return known
    return Meaning(known.state, f"{known.words} by {'root' if user[1] == '0' else 'user ' + user[1]}", known.outcome)


def state_hint(native: str) -> str:
    """Return what to change after a job ended in this state; empty if that depends on the job."""
    return _STATE_HINTS.get(native.partition(" ")[0], "")


@dataclass(frozen=True)
class _Pending:
    """A reason for waiting. `state`: PENDING passes by itself, HELD needs a person, UNSCHEDULABLE a new submission."""

    pattern: str
    state: JobState
    words: str
    hint: str = ""


_SHORTER = "lower resources.walltime, or choose another partition (sinfo -o '%P %l')"
_SMALLER = "request less (resources), or choose another partition or QOS (hpcsweep doctor)"
_OWN = "a limit for all jobs of a user or account: it starts when others end, unless it exceeds the limit by itself"

# man squeue, JOB REASON CODES; the texts with blanks from src/common/slurm_errno.c, as seen on 22.05.8.
# The first pattern that matches the whole reason is used.
_PENDING = (
    _Pending("None", JobState.PENDING, "not considered by the scheduler yet"),
    _Pending("Resources", JobState.PENDING, "waiting for free resources"),
    _Pending("Priority", JobState.PENDING, "other jobs have a higher priority"),
    _Pending("JobArrayTaskLimit", JobState.PENDING, "the array's limit of concurrent tasks (parallel)"),
    _Pending("BeginTime", JobState.PENDING, "waiting for its begin time (a requeued job waits about two minutes)"),
    _Pending("Dependency", JobState.PENDING, "waiting for the job that it depends on"),
    _Pending("Licenses", JobState.PENDING, "waiting for a licence"),
    _Pending("Cleaning|Prolog|BurstBuffer.*", JobState.PENDING, "is being prepared"),
    _Pending("PartitionDown|PartitionInactive", JobState.PENDING, "its partition does not start jobs at present",
             "sinfo -s lists the partitions; choose another one, or wait"),
    _Pending("ReqNodeNotAvail.*", JobState.PENDING, "a node that it needs is reserved, draining or down",
             "sinfo -R shows why; exclude the node in the cluster profile, or wait"),
    _Pending("Nodes required for job are .*|NodeDown|FrontEndDown", JobState.PENDING, "nodes that it needs are down, "
             "drained or reserved", "sinfo -R shows why"),
    _Pending("Reservation", JobState.PENDING, "waiting for its reservation to begin"),
    _Pending("JobHeldUser", JobState.HELD, "is held by its user", "scontrol release JOBID"),
    _Pending("JobHeldAdmin", JobState.HELD, "is held by an administrator", "ask the administrators of the cluster"),
    _Pending("job requeued in held state|JobHoldMaxRequeue", JobState.HELD, "was requeued and is held",
             "scontrol release JOBID, or hpcsweep cancel and retry"),
    _Pending("launch failed requeued held", JobState.UNSCHEDULABLE,
             "a node could not start it, and Slurm holds it",
             "hpcsweep cancel and retry; see the log of slurmd on the node"),
    _Pending("user env retrieval failed requeued held", JobState.UNSCHEDULABLE,
             "its node could not read your login environment, and Slurm holds it",
             "make ~/.bash_profile fast and without output, then hpcsweep cancel and retry"),
    _Pending(".* requeued held", JobState.UNSCHEDULABLE, "Slurm requeued it and holds it",
             "hpcsweep cancel and retry"),
    _Pending("PartitionTimeLimit", JobState.UNSCHEDULABLE, "its walltime exceeds the partition's MaxTime", _SHORTER),
    _Pending("QOSMaxWallDurationPerJobLimit|AssocMaxWallDurationPerJobLimit", JobState.UNSCHEDULABLE,
             "its walltime exceeds the limit of its QOS or account", "lower resources.walltime, or choose another QOS"),
    _Pending("PartitionNodeLimit", JobState.UNSCHEDULABLE, "it requests more nodes than the partition allows per job",
             "lower resources.nodes, or choose another partition"),
    _Pending("PartitionConfig", JobState.UNSCHEDULABLE, "it requests more than the whole partition has", _SMALLER),
    _Pending("BadConstraints", JobState.UNSCHEDULABLE, "no node satisfies its request", _SMALLER),
    _Pending("DependencyNeverSatisfied", JobState.UNSCHEDULABLE, "the job that it depends on has failed"),
    _Pending("InvalidAccount|AccountNotAllowed", JobState.UNSCHEDULABLE, "its account is not allowed here",
             "set account in the cluster profile (sacctmgr show assoc user=$USER)"),
    _Pending("InvalidQOS|QOSNotAllowed", JobState.UNSCHEDULABLE, "its QOS is not allowed here",
             "set qos in the cluster profile (sacctmgr show qos)"),
    _Pending("ReservationDeleted", JobState.UNSCHEDULABLE, "its reservation was deleted",
             "change reservation in the profile"),
    _Pending("DeadLine", JobState.UNSCHEDULABLE, "its deadline can no longer be met"),
    _Pending("(QOS|Assoc)(Max|Min)[A-Za-z]*Per(Job|Node)(Limit)?|(QOS|Assoc)Min[A-Za-z]*|MaxMemPerLimit",
             JobState.UNSCHEDULABLE, "it requests more, or less, than its QOS or account allows for one job", _SMALLER),
    _Pending("(QOS|Assoc)Grp(?![A-Za-z]*Run)[A-Za-z]*Minutes(Limit)?", JobState.HELD,
             "its account or QOS has used up its hours; it does not start when other jobs end",
             "set another account or qos in the cluster profile, or ask the site for more hours "
             "(sacctmgr show assoc user=$USER)"),
    _Pending("(QOS|Assoc)[A-Za-z]*", JobState.PENDING, "a limit of its QOS or account is used up", _OWN),
)  # fmt: skip
_PENDING_PATTERNS = tuple((re.compile(row.pattern), row) for row in _PENDING)


@dataclass(frozen=True)
class Waiting:
    """Why a job waits: `state` PENDING, HELD or UNSCHEDULABLE, a description, and what to change."""

    state: JobState
    words: str
    hint: str = ""


def waiting(reason: str) -> Waiting:
    """Return the meaning of a pending reason; an unknown one, of a newer Slurm, is quoted and taken as temporary."""
    text = reason.replace("_", " ") if "_" in reason and " " not in reason else reason
    for pattern, row in _PENDING_PATTERNS:
        if pattern.fullmatch(text):
            known = text in ("None", "Priority", "Resources")
            return Waiting(row.state, row.words if known else f"{row.words} ({text})", row.hint)
    return Waiting(JobState.PENDING, f"waiting: {text}")


_TOO_MANY = (
    "you have as many jobs in the queue as your QOS or account allows: submit fewer array tasks at once (a larger "
    "--runs-per-job, or a part of the grid), or wait until others have ended"
)

# Text on stderr of sbatch (errors.txt of 22.05.8, 24.11.5 and 26.05.5) -> what to change.
_REFUSALS = (
    ("invalid partition", "set partition in the cluster profile; sinfo -s lists them"),
    ("node configuration is not available", "request less, or change gpu_type or partition: hpcsweep doctor"),
    ("generic resource (gres)", "set gpu_type and gpu_directive in the cluster profile: hpcsweep doctor"),
    ("invalid feature", "change constraint in the cluster profile; sinfo -o '%P %f' lists the features"),
    ("invalid node name", "change nodelist or exclude in the cluster profile; sinfo -N lists the nodes"),
    ("invalid account", "set account in the cluster profile; sacctmgr show assoc user=$USER lists yours"),
    ("invalid qos", "set qos in the cluster profile; sacctmgr show qos lists them"),
    ("reservation is invalid", "change reservation in the cluster profile; scontrol show reservation lists them"),
    ("invalid job array", "the array exceeds the cluster's MaxArraySize: set max_array_size in the cluster profile"),
    ("required partition not available", "the partition is down: choose another one, or wait"),
    ("invalid --time", "change resources.walltime"),
    ("unrecognized option", "a line of directives: in the cluster profile is not one of this Slurm's sbatch"),
    ("submitjob", _TOO_MANY),  # QOSMaxSubmitJobPerUserLimit, AssocMaxSubmitJobLimit, QOSGrpSubmitJobsLimit ...
    ("job submit limit", _TOO_MANY),
    ("dependency problem", "the job named in --dependency does not exist any more: change directives in the profile"),
    ("unspecified error", "the site's submit plugin refused it; see its message, if any, before this one"),
    ("dos line breaks", "save the template with Unix line ends"),
    ("unable to open file", "check that HPCSWEEP_HOME is on a file system of this host"),
    ("too long", "the script, name or comment is too long for Slurm: lower --runs-per-job, or shorten the path"),
)  # fmt: skip


_GENERAL = re.compile(r"Batch job submission failed: (.*)")
_LINE_START = re.compile(r"^sbatch: (?:error: |fatal: )?|^error: ")


def refusal(stderr: str) -> str:
    """Return the reason for a refusal from stderr of sbatch; empty if there is none.

    The last line is a general message of Slurm. The lines before it are more specific: the name of the limit, or the
    message of the site's submit plugin. Notes (`sbatch: Note: ...`) are left out.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("sbatch: error: ", "sbatch: fatal: "))] or lines
    texts = list(dict.fromkeys(_LINE_START.sub("", line) for line in errors))
    general = [match[1] for text in texts if (match := _GENERAL.fullmatch(text))]
    special = [text for text in texts if not _GENERAL.fullmatch(text)]
    if not special or not general:
        return "; ".join(general or special)
    return f"{' '.join(special)} ({general[-1]})"


def authentication_failed(stderr: str) -> bool:
    """Return whether munge, by which Slurm authenticates users, failed; the job itself is not at fault then."""
    return re.search(r"Munge (en|de)code failed|Protocol authentication error", stderr) is not None


def refusal_hint(stderr: str) -> str:
    """Return what to change after sbatch refused a job; empty for an unknown message."""
    text = stderr.lower()
    return next((hint for words, hint in _REFUSALS if words in text), "")


_UNREACHABLE = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection refused|Zero Bytes were transmitted"
    r"|Unable to establish controller machine|Slurm backup controller in standby|communication connection failure"
    r"|Slurm temporarily unable to accept job|Resource temporarily unavailable",
    re.IGNORECASE,
)


def unreachable(text: str) -> bool:
    """Return whether the message of a Slurm command means that its daemon did not answer."""
    return _UNREACHABLE.search(text) is not None

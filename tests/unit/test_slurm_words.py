"""What Slurm says -> what hpcsweep says: states, pending reasons, refusals, over every transcript."""

import json
import re

import pytest
from slurm_transcripts import FOLDER, all_names, read

from hpcsweep.errors import SchedulerError, SchedulerUnreachable
from hpcsweep.schedulers.base import CommandResult, JobState
from hpcsweep.schedulers.slurm.reasons import meaning, waiting
from hpcsweep.schedulers.slurm.scheduler import SlurmScheduler, squeue_snapshot
from hpcsweep.spec.phases import OutcomeKind

SLURM = SlurmScheduler()
_STATE = re.compile(
    r"\|((?:PENDING|RUNNING|COMPLETING|[A-Z]+_FAIL|[A-Z]+ED(?: by \d+)?|TIMEOUT)\+?)(?:\||$)", re.MULTILINE
)

ENDS = [
    pytest.param("COMPLETED", JobState.COMPLETED, None, id="completed"),
    pytest.param("FAILED", JobState.FAILED, None, id="failed: the agent knows better"),
    pytest.param("CANCELLED by 1001", JobState.FAILED, OutcomeKind.CANCELLED, id="cancelled by a user"),
    pytest.param("CANCELLED", JobState.FAILED, OutcomeKind.CANCELLED, id="cancelled, by whom is not said"),
    pytest.param("CANCELLED+", JobState.FAILED, OutcomeKind.CANCELLED, id="cut off by sacct without -P"),
    pytest.param("TIMEOUT", JobState.FAILED, OutcomeKind.WALLTIME, id="time limit"),
    pytest.param("DEADLINE", JobState.FAILED, OutcomeKind.WALLTIME, id="deadline"),
    pytest.param("NODE_FAIL", JobState.FAILED, OutcomeKind.LOST, id="node"),
    pytest.param("BOOT_FAIL", JobState.FAILED, OutcomeKind.LOST, id="node did not boot"),
    pytest.param("LAUNCH_FAILED", JobState.FAILED, OutcomeKind.LOST, id="launch, 24.05"),
    pytest.param("PREEMPTED", JobState.FAILED, OutcomeKind.PREEMPTED, id="preempted"),
    pytest.param("OUT_OF_MEMORY", JobState.FAILED, OutcomeKind.OUT_OF_MEMORY, id="main memory"),
    pytest.param("COMPLETING", JobState.ENDING, None, id="completing is not completed"),
    pytest.param("SUSPENDED", JobState.RUNNING, None, id="suspended holds its nodes"),
    pytest.param("REQUEUED", JobState.PENDING, None, id="requeued"),
    pytest.param("REQUEUE_HOLD", JobState.HELD, None, id="requeued and held"),
    pytest.param("SOME_NEW_STATE", JobState.UNKNOWN, None, id="a state of a newer Slurm is not success"),
    pytest.param("", JobState.UNKNOWN, None, id="no state"),
]  # fmt: skip


@pytest.mark.parametrize(("native", "state", "outcome"), ENDS)
def test_states(native, state, outcome):
    found = meaning(native)
    assert (found.state, found.outcome) == (state, outcome)
    assert found.words


def test_of_a_running_job_there_is_nothing_to_say():
    assert (meaning("RUNNING").state, meaning("RUNNING").words) == (JobState.RUNNING, "")


def test_who_cancelled_is_said():
    assert meaning("CANCELLED by 1001").words == "was cancelled by user 1001"
    assert meaning("CANCELLED by 0").words == "was cancelled by root"


@pytest.mark.parametrize("name", all_names())
def test_every_state_in_every_transcript_is_known(name):
    words = {m for answer in read(name) for m in _STATE.findall(answer.stdout)}
    unknown = {word for word in words if meaning(word).state is JobState.UNKNOWN}
    assert not unknown


UNSCHEDULABLE = [
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "PartitionConfig",
    "QOSMaxWallDurationPerJobLimit",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "QOSMaxCpuPerJobLimit",
    "AssocMaxNodePerJobLimit",
    "QOSMaxGRESPerJob",
    "QOSMinGRES",
    "AssocMaxWallDurationPerJobLimit",
    "QOSMaxCpuPerNode",
    "InvalidAccount",
    "InvalidQOS",
    "MaxMemPerLimit",
]
PASSES = [
    "None",
    "Resources",
    "Priority",
    "Dependency",
    "BeginTime",
    "JobArrayTaskLimit",
    "PartitionInactive",
    "PartitionDown",
    "QOSMaxGRESPerUser",
    "QOSGrpGRES",
    "AssocGrpCpuLimit",
    "QOSMaxJobsPerUserLimit",
    "AssocMaxJobsLimit",
    "Licenses",
    "Reservation",
    "SomethingNewer",
]
HELD = ["JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue"]
IN_WORDS = [
    ("launch failed requeued held", JobState.UNSCHEDULABLE),
    ("user_env_retrieval_failed_requeued_held", JobState.UNSCHEDULABLE),
    ("something new requeued held", JobState.UNSCHEDULABLE),
    ("launch_failed_requeued_held", JobState.UNSCHEDULABLE),
    ("job requeued in held state", JobState.HELD),
    ("ReqNodeNotAvail, UnavailableNodes:ampere-02", JobState.PENDING),
    ("ReqNodeNotAvail, May be reserved for other job", JobState.PENDING),
    ("ReqNodeNotAvail,_UnavailableNodes:hopper-[01-04]", JobState.PENDING),
    ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", JobState.PENDING),
    ("Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions", JobState.PENDING),
]
REASONS = [
    *((reason, JobState.UNSCHEDULABLE) for reason in UNSCHEDULABLE),
    *((reason, JobState.PENDING) for reason in PASSES),
    *((reason, JobState.HELD) for reason in HELD),
    *IN_WORDS,
]


@pytest.mark.parametrize(("reason", "state"), REASONS)
def test_pending_reasons(reason, state):
    found = waiting(reason)
    assert found.state is state
    assert found.words


@pytest.mark.parametrize("reason", [reason for reason, state in REASONS if state is not JobState.PENDING])
def test_what_needs_a_person_says_what_to_change_and_quotes_slurm(reason):
    found = waiting(reason)
    assert found.hint or reason == "DependencyNeverSatisfied"
    assert reason.replace("_", " ") in found.words


def test_a_reason_nobody_knows_is_quoted():
    assert waiting("SomethingNewer").words == "waiting: SomethingNewer"


SBATCH = [
    pytest.param(answer, id=f"{name}: {' '.join(answer.argv)[-60:]}")
    for name in ("errors", "sbatch-basic", "sbatch-array", "pending-reasons", "pending-reasons2", "preempt")
    for answer in read(name)
    if answer.argv[0] == "sbatch" and "--test-only" not in answer.argv and "200000" not in answer.argv
]


@pytest.mark.parametrize("answer", SBATCH)
def test_every_recorded_submission_gives_an_id_or_says_why_not(answer):
    if re.match(r"(Submitted batch job )?\d", answer.stdout):
        assert SLURM.parse_submit(answer) == re.search(r"\d+", answer.stdout)[0]
        return
    with pytest.raises(SchedulerError) as caught:
        SLURM.parse_submit(answer)
    assert not isinstance(caught.value, SchedulerUnreachable)
    assert caught.value.message.startswith("sbatch refused the job: ")
    last = answer.stderr.strip().splitlines()[-1].split("error: ")[-1].removeprefix("sbatch: ")
    assert last.removeprefix("Batch job submission failed: ") in caught.value.message
    assert f"exit code {answer.exit_code}" in caught.value.detail


def test_all_kinds_of_submission_were_among_them():
    assert len(SBATCH) > 50
    assert sum(case.values[0].exit_code != 0 for case in SBATCH) > 20


HINTS = [
    ("invalid partition specified: nosuch", "partition"),
    ("Requested node configuration is not available", "gpu_type"),
    ("Invalid generic resource (gres) specification", "gpu_directive"),
    ("Invalid feature specification", "constraint"),
    ("Invalid node name specified", "nodelist"),
    ("Invalid account or account/partition combination specified", "account"),
    ("Invalid qos specification", "qos"),
    ("Requested reservation is invalid", "reservation"),
    ("Invalid job array specification", "max_array_size"),
    ("sbatch: unrecognized option '--no-such'", "directives"),
]


@pytest.mark.parametrize(("words", "key"), HINTS)
def test_a_refusal_names_the_key_to_change(words, key):
    with pytest.raises(SchedulerError) as caught:
        SLURM.parse_submit(CommandResult(("sbatch", "job.sh"), 1, "", f"sbatch: error: {words}\n"))
    assert key in caught.value.hint


LOST = [
    pytest.param(read("ctld-restart")[5], id="slurmctld down, recorded"),
    pytest.param(CommandResult(("sbatch",), None, "", "", 60.0), id="no answer in time"),
    pytest.param(
        CommandResult(("sbatch",), 1, "", "Batch job submission failed: Socket timed out on send/recv operation"),
        id="the answer was lost: the job may be there",
    ),
]


@pytest.mark.parametrize("answer", LOST)
def test_a_lost_answer_is_not_a_refusal(answer):
    with pytest.raises(SchedulerUnreachable):
        SLURM.parse_submit(answer)


@pytest.mark.parametrize("stdout", ["", "done\n", "Submitted batch job\n", "x12\n"])
def test_success_without_an_id_may_have_been_one(stdout):
    """The job is looked for by its comment, and its folder stays."""
    with pytest.raises(SchedulerUnreachable, match="no job id"):
        SLURM.parse_submit(CommandResult(("sbatch",), 0, stdout, ""))


WRAPPED = [
    ("4242\nThank you for using the cluster. News: https://site.example/motd\n", "4242"),
    ("*** maintenance on Monday 7 ***\n4242\n", "4242"),
    ("4242;north\n", "4242"),
    ("Submitted batch job 4242 on cluster north\n", "4242"),
    ("Welcome.\nSubmitted batch job 4242\nBalance: 1200 GPU hours\n", "4242"),
    ("sbatch: routed to h200\n  4242  \n", "4242"),
]


@pytest.mark.parametrize(("stdout", "job_id"), WRAPPED)
def test_text_around_the_id(stdout, job_id):
    assert SLURM.parse_submit(CommandResult(("sbatch",), 0, stdout, "")) == job_id


@pytest.mark.parametrize(("code", "stdout"), [(0, "17\n4242\n"), (1, "4242\n")], ids=["two numbers", "fails after it"])
def test_an_id_that_is_not_certain_is_no_refusal(code, stdout):
    with pytest.raises(SchedulerUnreachable):
        SLURM.parse_submit(CommandResult(("sbatch",), code, stdout, ""))


def case(name):
    """A recorded answer: the transcript of one call."""
    recorded = json.loads((FOLDER / "cases" / f"{name}.json").read_text())
    return CommandResult(tuple(recorded["argv"]), recorded["exit_code"], recorded["stdout"], recorded["stderr"])


def test_a_submit_limit_is_named_with_what_to_do():
    with pytest.raises(SchedulerError, match="QOSMaxSubmitJobPerUserLimit") as caught:
        SLURM.parse_submit(case("slurm-qos-submit-limit"))
    assert not isinstance(caught.value, SchedulerUnreachable)
    assert "--runs-per-job" in caught.value.hint and "others have ended" in caught.value.hint


def test_text_after_the_id_is_no_refusal():
    assert SLURM.parse_submit(case("slurm-id-then-text")) == "4242"


def test_munge_that_is_down_is_an_outage_of_the_login_node():
    with pytest.raises(SchedulerError, match="could not authenticate this machine") as caught:
        SLURM.parse_submit(case("slurm-munge-down"))
    assert not isinstance(caught.value, SchedulerUnreachable)  # it is certain that nothing was queued
    assert "refused" not in caught.value.message
    assert "munge" in caught.value.hint and "login node" in caught.value.hint
    stderr = case("slurm-munge-down").stderr.replace("sbatch", "squeue")
    listing = squeue_snapshot(CommandResult(("squeue",), 1, "", stderr))
    assert not listing.complete and "munge does not work" in listing.error


def test_a_spent_budget_does_not_pass_by_itself():
    (status,) = squeue_snapshot(case("slurm-association-minutes")).statuses.values()
    assert status.state is JobState.HELD
    assert "does not start when other jobs end" in status.reason and "another account" in status.hint
    assert waiting("AssocGrpCPURunMinutesLimit").state is JobState.PENDING  # minutes of running jobs: they do end


def test_the_sentence_of_a_submit_plugin_is_the_message():
    stderr = (
        "sbatch: error: Please give your project with --account=PROJECT.\n"
        "sbatch: error: See https://site.example/projects\n"
        "sbatch: error: Batch job submission failed: Unspecified error\n"
    )
    with pytest.raises(SchedulerError) as caught:
        SLURM.parse_submit(CommandResult(("sbatch",), 1, "", stderr))
    assert caught.value.message == (
        "sbatch refused the job: Please give your project with --account=PROJECT. "
        "See https://site.example/projects (Unspecified error)"
    )


VERSIONS = ["22.05.8/db", "24.11.5/db", "24.11.5/none", "26.05.5/db"]
REFUSED = [
    pytest.param(answer, id=f"{version}: {' '.join(answer.argv)[-50:]}")
    for version in VERSIONS
    for answer in read(f"{version}/errors")
    if "sbatch" in answer.argv and "--test-only" not in answer.argv and answer.exit_code
]
UNKNOWN_TO_US = ("This does not look like a batch script",)
"""Refusals of what hpcsweep never submits."""


@pytest.mark.parametrize("answer", REFUSED)
def test_every_refusal_of_every_version_is_one_and_says_what_to_change(answer):
    with pytest.raises(SchedulerError) as caught:
        SLURM.parse_submit(answer)
    assert not isinstance(caught.value, SchedulerUnreachable)
    assert caught.value.hint or any(words in caught.value.message for words in UNKNOWN_TO_US), caught.value.message


@pytest.mark.parametrize("version", ["22.05.8", "24.11.5", "26.05.5"])
@pytest.mark.parametrize("situation", ["ctld-down", "ctld-frozen"])
def test_a_controller_that_is_down_is_no_refusal(version, situation):
    (sbatch,) = (answer for answer in read(f"{version}/down/{situation}") if answer.argv[0] == "sbatch")
    with pytest.raises(SchedulerUnreachable):
        SLURM.parse_submit(sbatch)
    for answer in read(f"{version}/down/{situation}"):
        if answer.argv[0] == "squeue":
            assert not squeue_snapshot(answer).complete
        if answer.argv[0] == "scancel":
            assert "Unable to contact slurm controller" in SLURM.cancel_error(answer)


def test_warnings_on_stderr_do_not_hide_the_id():
    (victim,) = (a for a in read("preempt") if "victim" in a.argv)
    assert "Warning" in victim.stderr
    assert SLURM.parse_submit(victim) == "86"


CANCELS = [
    pytest.param(0, "", "", id="done"),
    pytest.param(1, "scancel: error: Kill job error on job id 9: Invalid job id specified\n", "", id="gone already"),
    pytest.param(8, read("ctld-restart")[7].stderr, "Unable to contact slurm controller", id="slurmctld down"),
    pytest.param(1, "scancel: error: Invalid job id abc\n", "Invalid job id abc", id="not an id"),
    pytest.param(1, "scancel: error: Kill job error on job id 5: Access/permission denied\n", "denied", id="not ours"),
    pytest.param(1, "", "code 1", id="no words"),
    pytest.param(None, "", "in time", id="no answer"),
    pytest.param(1, "scancel: error: Kill job error on job id 9: Invalid job id specified\n"
                 "scancel: error: Kill job error on job id 5: Access/permission denied\n", "denied", id="one of two"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "stderr", "trouble"), CANCELS)
def test_cancel_trouble(code, stderr, trouble):
    found = SLURM.cancel_error(CommandResult(("scancel", "5"), code, "", stderr))
    assert trouble in found
    assert bool(found) == bool(trouble)


def test_one_call_cancels_elements():
    assert SLURM.cancel_argv("12", [5, 1, 3, 4]) == ("scancel", "12_[1,3-5]")
    assert SLURM.cancel_argv("12", None) == ("scancel", "12")


def test_a_users_own_script_is_marked_and_gets_what_can_be_carried():
    exports = {"HPCSWEEP_JOB_DIR": "/h/jobs/0", "EP": "on", "LIST": "a,b"}
    argv = SLURM.submit_user_script_argv("/h/jobs/0/job.sh", exports, name="s-0001-0", log_dir="/h/50%/logs")
    assert argv == (
        "sbatch", "--parsable", "--job-name=s-0001-0", "--comment=hpcsweep:/h/jobs/0", "--output=/h/50%%/logs/%j.log",
        "--export=ALL,HPCSWEEP_JOB_DIR=/h/jobs/0,EP=on", "/h/jobs/0/job.sh",
    )  # fmt: skip
    assert "--export=ALL" in SLURM.submit_user_script_argv("x.sh", {}, name="n", log_dir="/l")

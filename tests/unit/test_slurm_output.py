"""Our own queries, as a real Slurm answered them, read back; and text that no Slurm should print."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slurm_transcripts import read

from hpcsweep.errors import SchedulerError, SchedulerParseError, SchedulerUnreachable
from hpcsweep.schedulers.base import CommandResult, JobState, QueueSnapshot
from hpcsweep.schedulers.listings import merge_snapshots
from hpcsweep.schedulers.slurm.output import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    expand_job_id,
    fold_indexes,
    parse_sacct,
    parse_squeue,
    split_wait_status,
)
from hpcsweep.schedulers.slurm.scheduler import SlurmScheduler, sacct_snapshot, squeue_snapshot, submitted_from
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.track.decide import decide
from hpcsweep.track.evidence import RunEvidence

SLURM = SlurmScheduler()
SNAPSHOTS = (squeue_snapshot, sacct_snapshot)
QUEUE, ACCOUNTING = 0, 1


def by_name(name, number):
    """name of a recorded job -> its status; elements of an array as name_index."""
    listing = SNAPSHOTS[number](read(name)[number])
    assert listing.complete and not listing.error
    return {s.name if s.index is None else f"{s.name}_{s.index}": s for s in listing.statuses.values()}


LATE = [  # (recorded job, state, outcome, exit code, signal, words)
    ("mixed_0", JobState.COMPLETED, None, 0, None, "exit code 0"),
    ("mixed_5", JobState.FAILED, None, 2, None, "exit code 2"),
    ("name | with; odd 'chars'", JobState.FAILED, None, 3, None, "exit code 3"),
    ("killed", JobState.FAILED, None, 0, 9, "signal 9"),
    ("no-log-folder", JobState.FAILED, None, 0, 53, "could not start the script"),
    ("over-maxtime", JobState.UNSCHEDULABLE, None, None, None, "exceeds the partition's MaxTime"),
    ("over-nodes", JobState.UNSCHEDULABLE, None, None, None, "more nodes"),
    ("over-qos-walltime", JobState.UNSCHEDULABLE, None, None, None, "QOS"),
    ("never", JobState.UNSCHEDULABLE, None, None, None, "depends on has failed"),
    ("later", JobState.PENDING, None, None, None, "begin time"),
    ("held_199", JobState.HELD, None, None, None, "held by its user"),
    ("timeout", JobState.FAILED, OutcomeKind.WALLTIME, 0, None, "time limit"),
    ("node-fail", JobState.FAILED, OutcomeKind.LOST, None, None, "node"),
    ("preempted", JobState.FAILED, OutcomeKind.PREEMPTED, 0, None, "preempted"),
    ("to-cancel", JobState.FAILED, OutcomeKind.CANCELLED, 0, None, "cancelled"),
    ("to-cancel-pending", JobState.FAILED, OutcomeKind.CANCELLED, 0, None, "cancelled"),
    ("runs", JobState.RUNNING, None, None, None, ""),
    ("in-part_2", JobState.PENDING, None, None, None, "begin time"),
]
VERSIONS = ["22.05.8/db", "24.11.5/db", "26.05.5/db"]
EVERY_VERSION = [  # (recorded job, state, outcome, exit code, signal, words): the same on all versions
    ("killed", JobState.FAILED, None, 0, 9, "signal 9"),
    ("name | with; odd chars", JobState.FAILED, None, 3, None, "exit code 3"),
    ("fails-first", JobState.FAILED, None, 1, None, "exit code 1"),
    ("to-signal-term", JobState.FAILED, None, 0, 15, "signal 15"),
    ("node-fail", JobState.FAILED, OutcomeKind.LOST, None, None, "lost its node"),
    ("preempted", JobState.FAILED, OutcomeKind.PREEMPTED, 0, None, "was preempted"),
    ("to-cancel-user", JobState.FAILED, OutcomeKind.CANCELLED, 0, None, "was cancelled by user 999"),
    ("to-cancel-pending", JobState.FAILED, OutcomeKind.CANCELLED, 0, None, "was cancelled by root"),
    ("two-nodes", JobState.COMPLETED, None, 0, None, "exit code 0"),
    ("to-requeue", JobState.RUNNING, None, None, None, ""),
    ("node-requeue", JobState.RUNNING, None, None, None, ""),
    ("preempted-requeue", JobState.RUNNING, None, None, None, ""),
    ("to-suspend", JobState.RUNNING, None, None, None, ""),
    ("to-requeuehold", JobState.HELD, None, None, None, "requeued and is held"),
    ("held-admin", JobState.HELD, None, None, None, "administrator"),
    ("held-user", JobState.HELD, None, None, None, "its user"),
    ("never", JobState.UNSCHEDULABLE, None, None, None, "DependencyNeverSatisfied"),
    ("over-maxtime", JobState.UNSCHEDULABLE, None, None, None, "PartitionTimeLimit"),
    ("over-qos-wall", JobState.UNSCHEDULABLE, None, None, None, "QOSMaxWallDurationPerJobLimit"),
    ("later", JobState.PENDING, None, None, None, "begin time"),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("job", "state", "outcome", "exit_code", "signal", "words"), EVERY_VERSION, ids=[case[0] for case in EVERY_VERSION]
)
def test_what_became_of_each_job_on_every_version(version, job, state, outcome, exit_code, signal, words):
    listings = [SNAPSHOTS[number](answer) for number, answer in enumerate(read(f"{version}/late")[:2])]
    merged = merge_snapshots(listings)
    assert merged.complete and not merged.error
    (status,) = (status for status in merged.statuses.values() if status.name == job)
    assert (status.state, status.outcome) == (state, outcome)
    assert (status.exit_code, status.signal) == (exit_code, signal)
    assert words in status.reason


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("moment", ["early", "faults-2s", "faults", "late"])
def test_every_listing_of_every_version_is_read_whole(version, moment):
    for number, answer in enumerate(read(f"{version}/{moment}")[:2]):
        listing = SNAPSHOTS[number](answer)
        assert listing.complete and not listing.error
        assert len(listing.statuses) >= 30
        assert JobState.UNKNOWN not in {status.state for status in listing.statuses.values()}


def test_a_job_over_its_memory_limit():
    """Slurm 24.11.5 with task/cgroup: OUT_OF_MEMORY 0:125."""
    listing = squeue_snapshot(read("24.11.5/cgroup/oom-cgroup")[0])
    job = listing.statuses["531", None]
    assert (job.state, job.outcome, job.signal) == (JobState.FAILED, OutcomeKind.OUT_OF_MEMORY, 125)
    assert "memory" in job.hint
    killed = RunEvidence(attempt=1, outcome=OutcomeKind.CRASHED, reason="ended with SIGKILL", exit_code=-9, hint="h")
    alone = decide(killed, None, cancelled_by_us=False, submitted=True)
    assert (alone.outcome, alone.awaits_scheduler, alone.hint) == (OutcomeKind.CRASHED, True, "h")
    refined = decide(killed, job, cancelled_by_us=False, submitted=True)
    assert refined.outcome is OutcomeKind.OUT_OF_MEMORY and not refined.awaits_scheduler
    assert "ended with SIGKILL" in refined.reason and "raise resources.memory" in refined.hint
    # Another run of the same allocation that crashed by itself is not explained by it.
    other = replace(killed, exit_code=1)
    assert decide(other, job, cancelled_by_us=False, submitted=True).outcome is OutcomeKind.CRASHED


def test_how_long_a_job_has_run_is_read_where_squeue_prints_it():
    """A job that has run for more than five minutes gets a hint: shown only when its script has printed nothing."""
    recorded = read("24.11.5/db/time-used")[0]
    assert SQUEUE_FORMAT in recorded.argv
    names = {status.name for status in squeue_snapshot(recorded).statuses.values()}
    assert names == {"young", "waits | long"}
    young, _waits = recorded.stdout.splitlines()
    for time_used, late in [
        ("4:59", False),
        ("5:00", True),
        ("1:00:00", True),
        ("2-00:00:00", True),
        ("INVALID", False),
    ]:
        line = f"{time_used}|{young.partition('|')[2]}"
        (status,) = parse_squeue(line).values()
        assert (status.state, bool(status.hint)) == (JobState.RUNNING, late), line
        assert "login_shell: false" in status.hint or not late
    (status,) = parse_squeue(young.partition("|")[2]).values()  # as a version before this one asked
    assert status.name == "young" and not status.hint


WAITING = [case[0] for case in LATE if case[1] in (JobState.UNSCHEDULABLE, JobState.HELD) or case[0] == "later"]


@pytest.mark.parametrize(("job", "state", "outcome", "exit_code", "signal", "words"), LATE, ids=[c[0] for c in LATE])
@pytest.mark.parametrize("number", [QUEUE, ACCOUNTING], ids=["squeue", "sacct"])
def test_what_became_of_each_job(number, job, state, outcome, exit_code, signal, words):
    status = by_name("queries-late", number)[job]
    if number == ACCOUNTING and job in WAITING and status.reason == "waiting in the queue":
        # The accounting holds the reason of the moment when the job was recorded, often none.
        assert status.state is JobState.PENDING
        return
    assert (status.state, status.outcome, status.exit_code) == (state, outcome, exit_code)
    # squeue shows the signal with which Slurm itself ended a job, sacct does not.
    assert status.signal == signal or (number == QUEUE and outcome is not None and status.signal == 15)
    assert words in status.reason


def test_the_accounting_says_who_cancelled():
    assert by_name("queries-late", ACCOUNTING)["to-cancel"].reason == "was cancelled by root"


def test_merged_the_queue_says_why_a_job_waits_and_the_accounting_who_cancelled():
    queue, accounting = (SNAPSHOTS[n](read("queries-late")[n]) for n in (QUEUE, ACCOUNTING))
    merged = {status.name: status for status in merge_snapshots([queue, accounting]).statuses.values()}
    assert merged["over-maxtime"].state is JobState.UNSCHEDULABLE and "MaxTime" in merged["over-maxtime"].reason
    assert merged["to-cancel"].reason == "was cancelled by root"
    assert merged["node-requeue"].state is JobState.RUNNING and merged["node-requeue"].restarts == 1


def test_a_pending_job_without_a_reason_in_the_accounting_just_waits():
    (status,) = parse_sacct("50|PENDING|0:0|None assigned|None|over-maxtime\n").values()
    assert (status.state, status.reason, status.node) == (JobState.PENDING, "waiting in the queue", None)


def test_only_the_accounting_by_itself_trails():
    accounting = QueueSnapshot(parse_sacct("50_0|PENDING|0:0|None assigned|None|a\n"))
    queue = QueueSnapshot(parse_squeue("50_0|RUNNING|0|0|hopper-01|None|a|\n"))
    down = QueueSnapshot(complete=False, error="squeue: Unable to contact slurm controller")
    told = [merge_snapshots([said, accounting]).statuses["50", 0] for said in (queue, down)]
    assert [(status.state, status.lags) for status in told] == [(JobState.RUNNING, False), (JobState.PENDING, True)]


def test_a_requeued_job_is_alive_whatever_the_accounting_still_holds():
    queue = QueueSnapshot(parse_squeue("26|PENDING|0|1||BeginTime|a|\n"))
    accounting = QueueSnapshot(parse_sacct("26|NODE_FAIL|0:0|hopper-03|None|a\n"))
    (status,) = merge_snapshots([queue, accounting]).statuses.values()
    assert (status.state, status.outcome, status.node, status.restarts) == (JobState.PENDING, None, None, 1)


@pytest.mark.parametrize(("code", "expected"), [("768", (3, None)), ("3:0", (3, None)), ("0:9", (0, 9)), ("9", (0, 9))])
def test_an_exit_code_is_read_in_either_form(code, expected):
    (status,) = parse_squeue(f"7|FAILED|{code}|0|n1|None|a|\n").values()
    assert (status.exit_code, status.signal) == expected


def test_an_unknown_id_beside_known_ones_hides_them_not():
    error = "slurm_load_jobs error: Invalid job id specified"
    listing = squeue_snapshot(CommandResult(("squeue",), 1, "7|RUNNING|0|0|n1|None|a|\n", error))
    assert not listing.complete and error.endswith(listing.error.removeprefix("squeue: "))


def test_a_failure_without_a_code_is_not_exit_code_0():
    (status,) = parse_sacct("107|FAILED|0:0|n1|None|a\n").values()
    assert (status.exit_code, status.reason) == (None, "its script ended with exit code unknown")


def test_both_witnesses_name_the_same_elements():
    assert by_name("queries-late", QUEUE).keys() == by_name("queries-late", ACCOUNTING).keys()


def test_elements_cancelled_while_pending_vanish_from_both():
    for number in (QUEUE, ACCOUNTING):
        left = {s.index for s in by_name("queries-late", number).values() if s.name == "in-part"}
        assert left == {0, 2, 5}


def test_a_requeue_is_counted_and_only_squeue_knows():
    assert by_name("queries-late", QUEUE)["node-requeue"].restarts == 1
    assert by_name("queries-late", QUEUE)["runs"].restarts == 0
    assert by_name("queries-late", ACCOUNTING)["node-requeue"].restarts is None


def test_nodes():
    late = by_name("queries-late", QUEUE)
    assert late["node-fail"].node == "hopper-03"
    assert late["later"].node is None
    assert by_name("queries-late", ACCOUNTING)["later"].node is None


def test_a_range_with_a_step_is_whole_in_both():
    """squeue -r of 22.05.8 leaves out the last index, 199."""
    for number in (QUEUE, ACCOUNTING):
        held = {s.index for s in by_name("queries-late", number).values() if s.name == "held"}
        assert held == set(range(1, 200, 3))


def test_the_queries_are_the_recorded_ones_and_two_for_any_number_of_jobs():
    recorded = [" ".join(answer.argv) for answer in read("queries-late")]
    ids = recorded[0].split(" -j ")[1].split()[0].split(",")
    # TimeUsed came later; what it prints is in 24.11.5/db/time-used.
    commands = [" ".join(query.argv) for query in SLURM.queries(ids, "somebody")]
    assert [command.replace("TimeUsed:|,", "") for command in commands] == recorded


def test_unknown_ids_are_an_empty_answer():
    one_squeue, one_sacct, two_squeue, two_sacct = read("queries-unknown-ids")
    assert one_squeue.exit_code == 1
    for number, answer in ((0, one_squeue), (1, one_sacct), (0, two_squeue), (1, two_sacct)):
        listing = SNAPSHOTS[number](answer)
        assert (dict(listing.statuses), listing.complete, listing.error) == ({}, True, "")


TROUBLE = [
    pytest.param(QUEUE, read("ctld-restart")[4], "Unable to contact slurm controller", id="slurmctld down"),
    pytest.param(ACCOUNTING, read("dbd-down")[-3], "Problem talking to the database", id="slurmdbd down"),
    pytest.param(
        QUEUE, CommandResult(("squeue",), None, "", "", 8.0), "squeue did not answer within 8 s", id="timed out"
    ),
    pytest.param(QUEUE, CommandResult(("squeue",), 127, "", "squeue: command not found"), "not found", id="no squeue"),
    pytest.param(QUEUE, CommandResult(("squeue",), 1, "", ""), "exit code 1", id="no words"),
    pytest.param(
        QUEUE, CommandResult(("squeue",), 0, "8_0|RUNNING|\n", ""), "squeue line 1 has 3 fields", id="cut off"
    ),
    pytest.param(
        QUEUE,
        CommandResult(
            ("squeue",), 0, "8|RUNNING|0|n1|None|\n", "squeue: error: Invalid job format specification: exit_code"
        ),
        "Invalid job format specification: exit_code",
        id="a Slurm without one of the fields",
    ),
    pytest.param(
        ACCOUNTING, CommandResult(("sacct",), 0, "8|RUNNING|0:0\n", ""), "sacct line 1 has 3 fields", id="short"
    ),
    pytest.param(
        QUEUE, CommandResult(("squeue",), 0, "8_[1-x]|RUNNING|0|0|n|None|a|\n", ""), "not a job id|range", id="id"
    ),
    pytest.param(QUEUE, CommandResult(("squeue",), 0, "slurm_load_jobs error\n", ""), "line 1", id="prose"),
]


@pytest.mark.parametrize(("number", "answer", "words"), TROUBLE)
def test_an_answer_that_cannot_be_read_is_trouble_never_an_exception(number, answer, words):
    listing = SNAPSHOTS[number](answer)
    assert not listing.complete
    assert not listing.statuses
    assert any(word in listing.error for word in words.split("|"))


def test_a_slurm_without_accounting_is_no_trouble():
    listing = sacct_snapshot(read("no-accounting")[0])
    assert (dict(listing.statuses), listing.complete, listing.error) == ({}, True, "")


IDS = [
    ("7", [("7", None)]),
    ("8_0", [("8", 0)]),
    ("8_[3-9%3]", [("8", i) for i in range(3, 10)]),
    ("69_[3-4,6,9%3]", [("69", i) for i in (3, 4, 6, 9)]),
    ("13_[1-199:3%2]", [("13", i) for i in range(1, 200, 3)]),
    ("32_[0-1000]", [("32", i) for i in range(1001)]),
    ("12_[1,4,...]", [("12", 1), ("12", 4)]),
    ("15+0", [("15", None)]),
]


@pytest.mark.parametrize(("text", "keys"), IDS)
def test_job_ids(text, keys):
    assert expand_job_id(text) == keys


@pytest.mark.parametrize("text", ["", "x", "8_", "8_x", "8_[", "8_[a]", "8_[1-]", "8.batch", "-8", "8_[1-2-3]"])
def test_what_is_no_job_id_is_said(text):
    with pytest.raises(SchedulerParseError):
        expand_job_id(text)


@given(st.sets(st.integers(0, 3000), min_size=1))
def test_folded_indexes_expand_to_themselves(indexes):
    assert [index for _, index in expand_job_id(f"5_[{fold_indexes(sorted(indexes))}]")] == sorted(indexes)


WAIT_STATUSES = [(0, (0, 0)), (768, (3, 0)), (15, (0, 15)), (9, (0, 9)), (4021, (0, 53)), (0x8F00, (143, 0))]


@pytest.mark.parametrize(("status", "parts"), WAIT_STATUSES)
def test_wait_statuses(status, parts):
    """768, 15 and 4021 as recorded in no-accounting.txt beside scontrol's 3:0, 0:15 and 0:53."""
    assert split_wait_status(status) == parts


def test_formats_ask_for_the_name_last():
    assert SQUEUE_FORMAT.endswith("Name:|") and SACCT_FORMAT.endswith("JobName")
    (status,) = parse_squeue("5|RUNNING|0|0|n1|None|a|b|\n").values()
    assert status.name == "a|b"
    (status,) = parse_sacct("5|RUNNING|0:0|n1|None|a|b\n").values()
    assert status.name == "a|b"


def test_steps_are_left_out():
    assert parse_sacct("5|COMPLETED|0:0|n1|None|a\n5.batch|COMPLETED|0:0|n1||batch\n").keys() == {("5", None)}


def test_lost_submissions_are_found_by_the_folder_they_came_from():
    runs, in_part, mixed, nothing = read("find")
    assert len(submitted_from("/sweeps/a/jobs/0", runs)) == 1
    assert len(submitted_from("/sweeps/a/jobs/1", in_part)) == 1  # an array, told in several lines
    for answer in (runs, in_part, mixed, nothing):
        assert submitted_from("/sweeps/b/jobs/0", answer) == []


def test_looking_for_a_lost_submission_fails_loudly():
    with pytest.raises(SchedulerUnreachable):
        submitted_from("/x", CommandResult(("squeue",), None, "", "", 8.0))
    with pytest.raises(SchedulerError, match="Invalid user"):
        submitted_from("/x", CommandResult(("squeue",), 1, "", "squeue: error: Invalid user: nobody"))

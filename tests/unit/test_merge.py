"""The state of a run, from its folder, the accounting and the queue: a table of cases."""

import pytest

from hpcsweep.schedulers.base import JobState, JobStatus, QueueSnapshot
from hpcsweep.schedulers.listings import every_array_task, merge_snapshots
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.track.decide import decide
from hpcsweep.track.evidence import RunEvidence, VerdictCode


def job(state, **more):
    return JobStatus("7", 3, JobState(state), more.pop("native", state.upper()), **more)


def folder(**more):
    return RunEvidence(**more)


TIMEOUT = OutcomeKind.WALLTIME


def case(name, *, run, state, code, status=None, cancelled_by_us=False, submitted=True, outcome=None, reason=""):
    """Return one row of the table: the evidence, and the verdict that it must give."""
    given = {"run": run, "job": status, "cancelled_by_us": cancelled_by_us, "submitted": submitted}
    return pytest.param(given, state, outcome, code, reason, id=name)


CASES = [
    case("never handed over", run=folder(), submitted=False, state=RunState.PLANNED, code=VerdictCode.PLANNED),
    case("lost answer", run=folder(), submitted=None, state=RunState.UNKNOWN, code=VerdictCode.SUBMISSION_UNCONFIRMED),
    case(
        "queued",
        run=folder(),
        status=job("pending", reason="Priority"),
        state=RunState.QUEUED,
        code=VerdictCode.PENDING,
        reason="Priority",
    ),
    case(
        "never runs",
        run=folder(),
        status=job("never", reason="over MaxTime"),
        state=RunState.HELD,
        code=VerdictCode.UNSCHEDULABLE,
        reason="MaxTime",
    ),
    case("gone from every tool is unknown", run=folder(), state=RunState.UNKNOWN, code=VerdictCode.JOB_NOT_FOUND),
    case(
        "mute",
        run=folder(),
        status=job("unknown", reason="no answer"),
        state=RunState.UNKNOWN,
        code=VerdictCode.JOB_NOT_FOUND,
        reason="no answer",
    ),
    case(
        "own cancel, pending",
        run=folder(),
        cancelled_by_us=True,
        state=RunState.FINISHED,
        outcome=OutcomeKind.CANCELLED,
        code=VerdictCode.CANCELLED,
    ),
    case(
        "vanished while waiting",
        run=folder(),
        status=job("gone"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.NOT_RUN,
        code=VerdictCode.JOB_DISAPPEARED,
    ),
    case(
        "vanished by our cancel",
        run=folder(),
        status=job("gone"),
        cancelled_by_us=True,
        state=RunState.FINISHED,
        outcome=OutcomeKind.CANCELLED,
        code=VerdictCode.CANCELLED,
    ),
    case(
        "began, then gone",
        run=folder(attempt=1),
        status=job("gone"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.LOST,
        code=VerdictCode.NO_END_RECORD,
    ),
    case(
        "gone, agent lives",
        run=folder(attempt=1, owner_alive=True),
        status=job("gone"),
        state=RunState.RUNNING,
        code=VerdictCode.RUNNING,
    ),
    case(
        "the scheduler knows why the agent was lost",
        run=folder(attempt=1, outcome=OutcomeKind.LOST, reason="the agent was killed"),
        status=job("failed", outcome=TIMEOUT, reason="killed at its walltime"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.WALLTIME,
        code=VerdictCode.SCHEDULER_EXPLAINS,
        reason="killed at its walltime",
    ),
    case(
        "the scheduler knows no better",
        run=folder(attempt=1, outcome=OutcomeKind.LOST, reason="the agent was killed"),
        status=job("failed", outcome=OutcomeKind.FAILED, reason="exit code 137"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.LOST,
        code=VerdictCode.END_RECORD,
        reason="the agent was killed",
    ),
    case(
        "the scheduler explains the signal",
        run=folder(attempt=1, outcome=OutcomeKind.CANCELLED),
        status=job("failed", outcome=OutcomeKind.PREEMPTED, reason="was preempted"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.PREEMPTED,
        code=VerdictCode.SCHEDULER_EXPLAINS,
        reason="was preempted",
    ),
    case(
        "we cancelled it, whatever else happened",
        run=folder(attempt=1, outcome=OutcomeKind.CANCELLED, reason="asked to"),
        status=job("failed", outcome=OutcomeKind.PREEMPTED),
        cancelled_by_us=True,
        state=RunState.FINISHED,
        outcome=OutcomeKind.CANCELLED,
        code=VerdictCode.END_RECORD,
        reason="asked to",
    ),
    case(
        "not run in the first life of a requeued job",
        run=folder(not_run="preempted"),
        status=job("pending", reason="BeginTime"),
        state=RunState.QUEUED,
        code=VerdictCode.PENDING,
        reason="BeginTime",
    ),
    case(
        "not run",
        run=folder(not_run="walltime"),
        status=job("failed"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.NOT_RUN,
        code=VerdictCode.NOT_RUN_RECORD,
    ),
    case(
        "preempted, and it may be started again",
        run=folder(attempt=1, outcome=OutcomeKind.PREEMPTED),
        status=job("ending"),
        state=RunState.RUNNING,
        code=VerdictCode.RUNNING,
    ),
    case("running", run=folder(attempt=1), status=job("running"), state=RunState.RUNNING, code=VerdictCode.RUNNING),
    case(
        "only its own sign", run=folder(attempt=1, owner_alive=True), state=RunState.RUNNING, code=VerdictCode.RUNNING
    ),
    case("began, then silence", run=folder(attempt=1), state=RunState.UNKNOWN, code=VerdictCode.JOB_NOT_FOUND),
    case(
        "ours",
        run=folder(attempt=1, outcome=OutcomeKind.COMPLETED),
        status=job("running"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.COMPLETED,
        code=VerdictCode.END_RECORD,
    ),
    case(
        "our own word is above the accounting",
        run=folder(attempt=1, outcome=OutcomeKind.STALLED, reason="silent in compile"),
        status=job("failed", outcome=TIMEOUT),
        state=RunState.FINISHED,
        outcome=OutcomeKind.STALLED,
        code=VerdictCode.END_RECORD,
        reason="silent",
    ),
    case(
        "time limit, agent mute",
        run=folder(attempt=1),
        status=job("failed", outcome=TIMEOUT, native="TIMEOUT", node="hopper-1"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.WALLTIME,
        code=VerdictCode.SCHEDULER_EXPLAINS,
    ),
    case(
        "never completed",
        run=folder(attempt=1),
        status=job("completed", exit_code=0),
        state=RunState.FINISHED,
        outcome=OutcomeKind.LOST,
        code=VerdictCode.NO_END_RECORD,
    ),
    case(
        "not begun",
        run=folder(),
        status=job("completed", exit_code=0),
        state=RunState.FINISHED,
        outcome=OutcomeKind.NOT_RUN,
        code=VerdictCode.NEVER_BEGAN,
    ),
    case("requeue", run=folder(attempt=1), status=job("pending"), state=RunState.QUEUED, code=VerdictCode.REQUEUED),
    case(
        "preempted and waiting again",
        run=folder(attempt=1, outcome=OutcomeKind.PREEMPTED),
        status=job("pending"),
        state=RunState.QUEUED,
        code=VerdictCode.REQUEUED,
    ),
    *(
        case(
            f"{word}: not final before the scheduler was asked",
            run=folder(attempt=1, outcome=OutcomeKind(word)),
            state=RunState.UNKNOWN,
            code=VerdictCode.AWAITING_SCHEDULER,
        )
        for word in ("preempted", "lost", "cancelled")
    ),
    case(
        "not run: not final before the scheduler was asked",
        run=folder(not_run="preempted"),
        state=RunState.UNKNOWN,
        code=VerdictCode.AWAITING_SCHEDULER,
    ),
    case(
        "cancelled by us",
        run=folder(attempt=1, outcome=OutcomeKind.CANCELLED),
        cancelled_by_us=True,
        state=RunState.FINISHED,
        outcome=OutcomeKind.CANCELLED,
        code=VerdictCode.END_RECORD,
    ),
    case(
        "lost, and a scheduler without history does not know the job",
        run=folder(attempt=1, outcome=OutcomeKind.LOST, reason="killed"),
        status=job("unknown", native="absent"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.LOST,
        code=VerdictCode.END_RECORD,
        reason="killed",
    ),
    case(
        "absent, and no end record yet",
        run=folder(attempt=1),
        status=job("unknown", native="absent", reason="not listed"),
        state=RunState.UNKNOWN,
        code=VerdictCode.JOB_NOT_FOUND,
        reason="not listed",
    ),
    case(
        "the scheduler killed it for its memory",
        run=folder(attempt=1, outcome=OutcomeKind.CANCELLED),
        status=job("failed", outcome=OutcomeKind.OUT_OF_MEMORY),
        state=RunState.FINISHED,
        outcome=OutcomeKind.OUT_OF_MEMORY,
        code=VerdictCode.SCHEDULER_EXPLAINS,
    ),
    case(
        "a waiting subjob of a deleted array",
        run=folder(),
        status=job("gone", outcome=OutcomeKind.CANCELLED, reason="its array was deleted"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.CANCELLED,
        code=VerdictCode.SCHEDULER_EXPLAINS,
        reason="its array was deleted",
    ),
    case(
        "what is said of the whole array explains no attempt",
        run=folder(attempt=1, outcome=OutcomeKind.LOST, reason="killed"),
        status=job("gone", outcome=OutcomeKind.CANCELLED),
        state=RunState.FINISHED,
        outcome=OutcomeKind.LOST,
        code=VerdictCode.END_RECORD,
        reason="killed",
    ),
    case(
        "began, and its record went with its array",
        run=folder(attempt=1),
        status=job("gone", outcome=OutcomeKind.CANCELLED, reason="its array was deleted"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.LOST,
        code=VerdictCode.NO_END_RECORD,
        reason="its array was deleted",
    ),
    case(
        "a retry waits: the old attempt does not count",
        run=folder(attempt=2, outcome=OutcomeKind.FAILED, known_attempts=2),
        status=job("pending"),
        state=RunState.QUEUED,
        code=VerdictCode.PENDING,
    ),
    case(
        "not reached",
        run=folder(not_run="walltime was near"),
        status=job("failed"),
        state=RunState.FINISHED,
        outcome=OutcomeKind.NOT_RUN,
        code=VerdictCode.NOT_RUN_RECORD,
        reason="walltime",
    ),
    case(
        "packed, its turn comes",
        run=folder(),
        status=job("running"),
        state=RunState.QUEUED,
        code=VerdictCode.WAITING_IN_JOB,
    ),
    case(
        "own cancel, listed",
        run=folder(),
        status=job("failed"),
        cancelled_by_us=True,
        state=RunState.FINISHED,
        outcome=OutcomeKind.CANCELLED,
        code=VerdictCode.CANCELLED,
    ),
]


@pytest.mark.parametrize(("given", "state", "outcome", "code", "reason"), CASES)
def test_the_state_of_a_run(given, state, outcome, code, reason):
    verdict = decide(**given)
    assert (verdict.state, verdict.outcome, verdict.code) == (state, outcome, code)
    assert reason in verdict.reason


def test_every_rule_has_a_case():
    """`not_submitted` and `files_missing` are decided in `verdict.py`, preparations in `preparations.py`."""
    covered = {parameters.values[3] for parameters in CASES}
    of_preparations = {VerdictCode.PREPARATION_FAILED, VerdictCode.WAITING_FOR_PREPARATION}
    rest = {VerdictCode.NOT_SUBMITTED, VerdictCode.FILES_MISSING, *of_preparations, *OTHER_TESTS}
    assert covered | rest == set(VerdictCode)


OTHER_TESTS = {
    VerdictCode.SCRIPT_NOT_STARTED,
    VerdictCode.SCRIPT_NEVER_STARTED,
    VerdictCode.OUT_OF_MEMORY,
    VerdictCode.HELD,
}


def test_a_script_that_never_started_is_not_told_to_ask_for_more_time():
    hint = "does a login file wait? login_shell: false"
    running = decide(folder(silent=True), job("running", hint=hint), cancelled_by_us=False, submitted=True)
    assert running.code is VerdictCode.SCRIPT_NOT_STARTED and running.hint == hint
    fresh = decide(folder(silent=True), job("running"), cancelled_by_us=False, submitted=True)
    assert fresh.code is VerdictCode.WAITING_IN_JOB and not fresh.hint  # it has run for less than five minutes
    printed = decide(folder(), job("running", hint=hint), cancelled_by_us=False, submitted=True)
    assert not printed.hint  # a run that waits behind others in its allocation

    over = job("failed", outcome=TIMEOUT, reason="reached its time limit", hint="retry --walltime")
    ended = decide(folder(silent=True), over, cancelled_by_us=False, submitted=True)
    assert (ended.state, ended.outcome) == (RunState.FINISHED, OutcomeKind.NOT_RUN)
    assert ended.code is VerdictCode.SCRIPT_NEVER_STARTED and "login_shell: false" in ended.hint
    packed = decide(folder(), over, cancelled_by_us=False, submitted=True)
    assert (packed.outcome, packed.hint) == (OutcomeKind.WALLTIME, "retry --walltime")


def test_no_case_says_completed_without_the_agents_word():
    for state in JobState:
        for attempt in (0, 1):
            verdict = decide(folder(attempt=attempt), job(state.value), cancelled_by_us=False, submitted=True)
            assert verdict.outcome is not OutcomeKind.COMPLETED


def merged(*statuses, complete=(True, True)):
    listings = [QueueSnapshot({("7", 3): s} if s else {}, ok) for s, ok in zip(statuses, complete, strict=True)]
    return merge_snapshots(listings).statuses.get(("7", 3))


def test_the_later_witness_wins():
    queue, accounting = job("failed", node="n1"), job("failed", outcome=TIMEOUT, exit_code=0)
    found = merged(queue, accounting)
    assert found.outcome is TIMEOUT and found.node == "n1"


def test_an_accounting_that_trails_does_not_move_a_job_back():
    assert merged(job("failed", exit_code=3), job("running")).state is JobState.FAILED


def test_a_witness_that_knows_nothing_does_not_win():
    assert merged(job("running"), job("unknown")).state is JobState.RUNNING
    assert merged(job("running"), None).state is JobState.RUNNING
    assert merged(None, job("completed")).state is JobState.COMPLETED


def test_troubles_are_kept_and_all_must_answer_before_a_job_is_gone():
    both = merge_snapshots([QueueSnapshot({}, False, "squeue does not answer"), QueueSnapshot({}, True)])
    assert not both.complete and both.error == "squeue does not answer"
    assert merge_snapshots([QueueSnapshot(), QueueSnapshot()]).complete


def test_the_queue_knows_why_a_job_waits():
    assert merged(job("never", reason="too long"), job("pending")).state is JobState.UNSCHEDULABLE


def test_the_end_of_an_earlier_life_is_not_that_of_a_requeued_job():
    found = merged(job("pending", restarts=1), job("failed", outcome=OutcomeKind.LOST, node="n1", exit_code=0))
    assert (found.state, found.outcome, found.node, found.exit_code) == (JobState.PENDING, None, None, None)


def test_every_element_gets_a_word():
    waits, runs = JobStatus("7", 1, JobState.PENDING, "PD"), JobStatus("7", 0, JobState.RUNNING, "R")
    single, rest = JobStatus("8", None, JobState.RUNNING, "R"), JobStatus("9", None, JobState.FAILED, "CANCELLED")
    rows = {("7", 1): waits, ("7", 0): runs, ("8", None): single, ("9", 0): JobStatus("9", 0, JobState.RUNNING, "R")}
    told = every_array_task(QueueSnapshot({**rows, ("9", None): rest}), {"7": 3, "8": 1, "9": 2, "10": 1})
    assert {key: status.state.value for key, status in told.items()} == {
        ("7", 0): "running", ("7", 1): "pending", ("7", 2): "gone", ("8", 0): "running", ("9", 0): "running",
        ("9", 1): "failed", ("10", 0): "gone",
    }  # fmt: skip


def test_an_incomplete_listing_lets_nothing_vanish():
    assert every_array_task(QueueSnapshot({}, complete=False, error="down"), {"7": 3}) == {}

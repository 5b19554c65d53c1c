"""Where a run stands, from three witnesses: a table of cases."""

import pytest

from hpcsweep.schedulers.base import JobState, JobStatus, QueueSnapshot
from hpcsweep.schedulers.listings import every_array_task, merge_snapshots
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.track.decide import decide
from hpcsweep.track.evidence import RunEvidence


def job(state, **more):
    return JobStatus("7", 3, JobState(state), more.pop("native", state.upper()), **more)


def folder(**more):
    return RunEvidence(**more)


TIMEOUT = OutcomeKind.WALLTIME
CASES = [  # (run folder, scheduler's word, cancelled by us, handed over) -> (state, outcome, part of the reason)
    pytest.param(folder(), None, False, False, "planned", None, "not handed over", id="never handed over"),
    pytest.param(folder(), None, False, None, "unknown", None, "answer to its submission was lost", id="lost answer"),
    pytest.param(folder(), job("pending", reason="Priority"), False, True, "queued", None, "Priority", id="queued"),
    pytest.param(folder(), job("never", reason="over MaxTime"), False, True, "held", None, "MaxTime", id="never runs"),
    pytest.param(folder(), None, False, True, "unknown", None, "does not know", id="gone from every tool is unknown"),
    pytest.param(folder(), job("unknown", reason="no answer"), False, True, "unknown", None, "no answer", id="mute"),
    pytest.param(folder(), None, True, True, "finished", "cancelled", "before it started", id="own cancel, pending"),
    pytest.param(
        folder(), job("gone"), False, True, "finished", "not_run", "had not begun", id="vanished while waiting"
    ),
    pytest.param(folder(), job("gone"), True, True, "finished", "cancelled", "before it", id="vanished by our cancel"),
    pytest.param(folder(attempt=1), job("gone"), False, True, "finished", "lost", "left no end", id="began, then gone"),
    pytest.param(
        folder(attempt=1, owner_alive=True), job("gone"), False, True, "running", None, "", id="gone, agent lives"
    ),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.LOST, reason="the agent was killed"),
        job("failed", outcome=TIMEOUT, reason="killed at its walltime"),
        False,
        True,
        "finished",
        "walltime",
        "killed at its walltime",
        id="the scheduler knows why the agent was lost",
    ),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.LOST, reason="the agent was killed"),
        job("failed", outcome=OutcomeKind.FAILED, reason="exit code 137"),
        False,
        True,
        "finished",
        "lost",
        "the agent was killed",
        id="the scheduler knows no better",
    ),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.CANCELLED),
        job("failed", outcome=OutcomeKind.PREEMPTED, reason="was preempted"),
        False,
        True,
        "finished",
        "preempted",
        "was preempted",
        id="the scheduler explains the signal",
    ),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.CANCELLED, reason="asked to"),
        job("failed", outcome=OutcomeKind.PREEMPTED),
        True,
        True,
        "finished",
        "cancelled",
        "asked to",
        id="we cancelled it, whatever else happened",
    ),
    pytest.param(
        folder(not_run="preempted"),
        job("pending", reason="BeginTime"),
        False,
        True,
        "queued",
        None,
        "BeginTime",
        id="not run in the first life of a requeued job",
    ),
    pytest.param(folder(not_run="walltime"), job("failed"), False, True, "finished", "not_run", "", id="not run"),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.PREEMPTED),
        job("ending"),
        False,
        True,
        "running",
        None,
        "",
        id="preempted, and it may be started again",
    ),
    pytest.param(folder(attempt=1), job("running"), False, True, "running", None, "", id="running"),
    pytest.param(folder(attempt=1, owner_alive=True), None, False, True, "running", None, "", id="only its own sign"),
    pytest.param(folder(attempt=1), None, False, True, "unknown", None, "", id="began, then silence"),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.COMPLETED),
        job("running"),
        False,
        True,
        "finished",
        "completed",
        "",
        id="ours",
    ),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.STALLED, reason="silent in compile"),
        job("failed", outcome=TIMEOUT),
        False,
        True,
        "finished",
        "stalled",
        "silent",
        id="our own word is above the accounting",
    ),
    pytest.param(
        folder(attempt=1),
        job("failed", outcome=TIMEOUT, native="TIMEOUT", node="hopper-1"),
        False,
        True,
        "finished",
        "walltime",
        "TIMEOUT on hopper-1",
        id="time limit, agent mute",
    ),
    pytest.param(
        folder(attempt=1),
        job("completed", exit_code=0),
        False,
        True,
        "finished",
        "lost",
        "left no end",
        id="never completed",
    ),
    pytest.param(
        folder(),
        job("completed", exit_code=0),
        False,
        True,
        "finished",
        "not_run",
        "without having begun",
        id="not begun",
    ),
    pytest.param(
        folder(attempt=1), job("pending"), False, True, "queued", None, "requeued after attempt 1", id="requeue"
    ),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.PREEMPTED),
        job("pending"),
        False,
        True,
        "queued",
        None,
        "",
        id="preempted and waiting again",
    ),
    *(
        pytest.param(
            folder(attempt=1, outcome=OutcomeKind(word)),
            None,
            False,
            True,
            "unknown",
            None,
            f"ended as {word}",
            id=f"{word}: not final before the scheduler was asked",
        )
        for word in ("preempted", "lost", "cancelled")
    ),
    pytest.param(
        folder(not_run="preempted"),
        None,
        False,
        True,
        "unknown",
        None,
        "not run (preempted)",
        id="not run: not final before the scheduler was asked",
    ),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.CANCELLED),
        None,
        True,
        True,
        "finished",
        "cancelled",
        "",
        id="cancelled by us",
    ),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.LOST, reason="killed"),
        job("unknown", native="absent"),
        False,
        True,
        "finished",
        "lost",
        "killed",
        id="lost, and a scheduler without history does not know the job",
    ),
    pytest.param(
        folder(attempt=1),
        job("unknown", native="absent", reason="not listed"),
        False,
        True,
        "unknown",
        None,
        "not listed",
        id="absent, and no end record yet",
    ),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.CANCELLED),
        job("failed", outcome=OutcomeKind.OUT_OF_MEMORY),
        False,
        True,
        "finished",
        "out_of_memory",
        "",
        id="the scheduler killed it for its memory",
    ),
    pytest.param(
        folder(),
        job("gone", outcome=OutcomeKind.CANCELLED, reason="its array was deleted"),
        False,
        True,
        "finished",
        "cancelled",
        "its array was deleted",
        id="a waiting subjob of a deleted array",
    ),
    pytest.param(
        folder(attempt=1, outcome=OutcomeKind.LOST, reason="killed"),
        job("gone", outcome=OutcomeKind.CANCELLED),
        False,
        True,
        "finished",
        "lost",
        "killed",
        id="what is said of the whole array explains no attempt",
    ),
    pytest.param(
        folder(attempt=1),
        job("gone", outcome=OutcomeKind.CANCELLED, reason="its array was deleted"),
        False,
        True,
        "finished",
        "lost",
        "its array was deleted",
        id="began, and its record went with its array",
    ),
    pytest.param(
        folder(attempt=2, outcome=OutcomeKind.FAILED, known_attempts=2),
        job("pending"),
        False,
        True,
        "queued",
        None,
        "",
        id="a retry waits: the old attempt does not count",
    ),
    pytest.param(
        folder(not_run="walltime was near"),
        job("failed"),
        False,
        True,
        "finished",
        "not_run",
        "walltime",
        id="not reached",
    ),
    pytest.param(folder(), job("running"), False, True, "queued", None, "has not begun", id="packed, its turn comes"),
    pytest.param(folder(), job("failed"), True, True, "finished", "cancelled", "cancelled", id="own cancel, listed"),
]


@pytest.mark.parametrize(("run", "status", "ours", "handed", "state", "outcome", "reason"), CASES)
def test_where_a_run_stands(run, status, ours, handed, state, outcome, reason):
    verdict = decide(run, status, cancelled_by_us=ours, submitted=handed)
    assert verdict.state is RunState(state)
    assert verdict.outcome == (OutcomeKind(outcome) if outcome else None)
    assert reason in verdict.reason


def test_a_script_that_never_started_is_not_told_to_ask_for_more_time():
    hint = "does a login file wait? login_shell: false"
    running = decide(folder(silent=True), job("running", hint=hint), cancelled_by_us=False, submitted=True)
    assert running.state is RunState.QUEUED and "script has not started" in running.reason and running.hint == hint
    fresh = decide(folder(silent=True), job("running"), cancelled_by_us=False, submitted=True)
    assert "has not begun" in fresh.reason and not fresh.hint  # it has run for less than five minutes
    printed = decide(folder(), job("running", hint=hint), cancelled_by_us=False, submitted=True)
    assert not printed.hint  # a run that waits behind others in its allocation

    over = job("failed", outcome=TIMEOUT, reason="reached its time limit", hint="retry --walltime")
    ended = decide(folder(silent=True), over, cancelled_by_us=False, submitted=True)
    assert (ended.state, ended.outcome) == (RunState.FINISHED, OutcomeKind.NOT_RUN)
    assert "script never started" in ended.reason and "login_shell: false" in ended.hint
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

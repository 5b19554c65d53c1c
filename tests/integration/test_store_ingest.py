"""Run folders into the store: whole, in pieces, twice, by two processes at once, and damaged."""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select
from sweep_folders import MadeSweep, finish, make_sweep, mark_submitted, retry

from hpcsweep.analysis.rows import SweepRow
from hpcsweep.errors import StoreError
from hpcsweep.node.records import write_json
from hpcsweep.schedulers.base import JobState, JobStatus
from hpcsweep.schedulers.listings import ABSENCE_GRACE_S
from hpcsweep.spec.phases import OutcomeKind, Phase, RunState
from hpcsweep.store.ingest.sweeps import ingest_home, ingest_sweep
from hpcsweep.store.open import Store, open_store
from hpcsweep.store.schema import ATTEMPT, METADATA, PHASE, SAMPLE_BLOCK
from hpcsweep.track.runs import RunStatus, _job, read_runs
from hpcsweep.track.status import ended_tasks, record_absence, record_status, unfinished_sweeps
from hpcsweep.track.sweep_rows import file_troubles, load_sweep

NAME = "exp_runner-0001"


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "home" / "hpcsweep.db")
    yield opened
    opened.close()


@pytest.fixture
def sweep(tmp_path) -> MadeSweep:
    return make_sweep(tmp_path / "home")


def _load(store: Store) -> SweepRow:
    with store.reading() as connection:
        return load_sweep(connection, NAME, itl=True, telemetry=True)


def _run(store: Store, label: str) -> RunStatus:
    with store.reading() as connection:
        (sweep,) = read_runs(connection, [NAME])
    return next(run for run in sweep.runs if run.run == label)


def _plain(sweep: SweepRow) -> object:
    """Everything of a sweep that can be compared."""

    def columns(value: object) -> object:
        if isinstance(value, np.ndarray):
            return value.tolist() if value.dtype.kind != "f" else [repr(x) for x in value.tolist()]
        return [columns(item) for item in value] if isinstance(value, (list, tuple)) else value

    runs = []
    for run in sweep.runs:
        attempts = []
        for attempt in run.attempts:
            samples = [
                {name: columns(column) for name, column in vars(w.columns).items()} if w.columns else None
                for w in attempt.workloads
            ]
            workloads = tuple(replace(w, columns=None) for w in attempt.workloads)
            attempts.append((replace(attempt, workloads=workloads), samples))
        runs.append((replace(run, attempts=()), attempts))
    return replace(sweep, runs=()), runs


def test_a_completed_sweep_is_read_whole(store, sweep):
    finish(sweep, samples=3)
    count = ingest_sweep(store, sweep.folder.path)
    assert (count.samples, count.troubles) == (12, [])
    row = _load(store)
    assert (row.experiment, row.scheduler, row.baseline) == ("exp_runner", "slurm", {"ep": "on", "eager": "yes"})
    assert row.axes == {"ep": ("on", "off"), "eager": ("yes", "no")}
    assert row.scripts == {"jobs/0/job.sh": "#!/bin/bash\nexec true\n"}
    assert row.provenance == {"git_revision": "0123abcd", "hpcsweep_version": "0.1.0"}
    assert [run.run for run in row.runs] == [*sweep.labels, "FP8 on one node"]
    last = row.runs[-1]
    assert (last.not_submitted, last.outcome, last.reason) == (
        True,
        OutcomeKind.NOT_RUN,
        "no FP8 checkpoint at hand",
    )
    run = row.runs[0]
    assert (run.state, run.outcome, run.job, run.node) == (RunState.FINISHED, OutcomeKind.COMPLETED, "12_0", "gpu01")
    assert (run.queued_s, run.gpus, run.gpu_type) == (60.0, 8, "h200")
    (attempt,) = run.attempts
    assert attempt.env == {"VLLM_CACHE_ROOT": "/cache/it's here"}
    assert attempt.startup_s == 250.0
    assert [(p.phase, p.start_s, p.end_s) for p in attempt.phases[:2]] == [
        (Phase.LAUNCH, 0.0, 4.0),
        (Phase.ENGINE_INIT, 4.0, 20.0),
    ]
    assert attempt.phases[-1].end_s == attempt.duration_s == 3000.0
    facts = {fact.name: fact.value for fact in attempt.facts}
    assert facts["weights_bytes_per_gpu"] == 88691404800
    assert facts["attention_backend"] == "FLASH_ATTN"
    assert facts["compile_cache_hit"] is True
    small, large = attempt.workloads
    assert (small.workload, small.samples_total, len(small.durations_s)) == ("8k", 3, 1)
    assert small.columns is not None
    assert small.columns.index.tolist() == [0, 1, 2]
    assert small.columns.cold == ["first_of_server", None, None]
    assert small.columns.repeat.tolist() == [1, 1, 1]
    np.testing.assert_allclose(small.columns.e2e_s - small.columns.ttft_s, [sum(gaps) for gaps in small.columns.itl_s])
    assert small.dataset_sha256 == "ab" * 32
    assert small.settings["max_tokens"] == 512
    assert (large.left_out, large.columns) == ("does not fit", None)
    assert row.runs[0].server["engine"] == "vllm"


def _rows(store: Store) -> dict[str, int]:
    with store.reading() as connection:
        return {name: connection.scalar(select(func.count()).select_from(t)) for name, t in METADATA.tables.items()}


def test_reading_the_same_folders_again_changes_nothing(store, sweep):
    finish(sweep, samples=3)
    ingest_sweep(store, sweep.folder.path)
    before, rows = _plain(_load(store)), _rows(store)
    for _ in range(2):
        again = ingest_sweep(store, sweep.folder.path)
        assert (again.events, again.samples, again.files) == (0, 0, 0)
    assert _rows(store) == rows
    assert _plain(_load(store)) == before


def test_a_file_read_in_pieces_gives_the_same_rows(tmp_path, store, sweep):
    label = sweep.labels[0]
    lines = sweep.lines(label).started().startup().workload("8k", 20).workload("8k", 5, repeat=2).ended()
    data = lines.text().encode()
    path = sweep.write(label, lines, end="completed") / "events.jsonl"
    ingest_sweep(store, sweep.folder.path)
    whole = _plain(_load(store))

    pieces = open_store(tmp_path / "pieces.db")
    rng = random.Random(7)
    position = 0
    while position < len(data):
        position = min(len(data), position + rng.randrange(1, 3000))
        path.write_bytes(data[:position])
        ingest_sweep(pieces, sweep.folder.path)
    assert _plain(_load(pieces)) == whole
    pieces.close()


def test_lines_that_the_agent_wrote_twice_after_a_full_disk_count_once(store, sweep):
    label = sweep.labels[0]
    lines = sweep.lines(label).started().startup().workload("8k", 6)
    path = sweep.write(label, lines) / "events.jsonl"
    ingest_sweep(store, sweep.folder.path)
    with path.open("a") as file:
        file.write('{"cut short\n' + "".join(line + "\n" for line in lines.lines[-4:]))
    lines.sample("8k", 6, 900.0, rng=random.Random(1))
    with path.open("a") as file:
        file.write(lines.lines[-1] + "\n")
    ingest_sweep(store, sweep.folder.path)
    run = _run(store, label)
    assert run.progress.samples_done == 7
    columns = _load(store).runs[0].attempts[0].workloads[0].columns
    assert columns is not None
    assert columns.index.tolist() == list(range(7))
    with store.reading() as connection:
        (trouble,) = file_troubles(connection, NAME, label)
    assert "not a whole line" in trouble


def test_exactly_the_last_event_written_again_counts_once(store, sweep):
    """Its number equals the last one that is stored: the edge of the rule by which known events are recognised."""
    label = sweep.labels[0]
    lines = sweep.lines(label).started().startup().workload("8k", 6)
    lines.sample("8k", 6, 900.0, rng=random.Random(1))
    path = sweep.write(label, lines) / "events.jsonl"
    ingest_sweep(store, sweep.folder.path)
    with path.open("a") as file:
        file.write(lines.lines[-1] + "\n")
    ingest_sweep(store, sweep.folder.path)
    assert _run(store, label).progress.samples_done == 7
    columns = _load(store).runs[0].attempts[0].workloads[0].columns
    assert columns is not None and columns.index.tolist() == list(range(7))


def test_a_sweep_with_the_names_before_version_0_2_is_read(store, sweep):
    sweep_file = sweep.folder.path / "sweep.json"
    document = json.loads(sweep_file.read_text())
    document["runs"][3] |= {"planned_only": True, "outcome": "unsupported"}
    del document["runs"][3]["not_submitted"]
    sweep_file.write_text(json.dumps(document))
    for name in ("job.json", "submission.json"):
        path = sweep.folder.job_dir(0) / name
        content = json.loads(path.read_text())
        path.write_text(json.dumps({("elements" if key == "array_tasks" else key): content[key] for key in content}))
    ingest_sweep(store, sweep.folder.path)
    runs = {run.run: run for run in _load(store).runs}
    assert [runs[label].not_submitted for label in sweep.labels] == [False, False, False, True]
    assert len(sweep.folder.read_job(0).array_tasks) == sweep.folder.read_submission(0).array_tasks == 4


INGESTER = """
import sys, time
from pathlib import Path
from hpcsweep.store.ingest.sweeps import ingest_home
from hpcsweep.store.open import open_store
home, stop = Path(sys.argv[1]), Path(sys.argv[2])
store = open_store(home / "hpcsweep.db")
while True:
    over = stop.exists()
    count = ingest_home(store, home)
    assert not count.troubles, count.troubles
    if over:
        break
"""


def test_two_processes_ingest_growing_files_and_every_row_is_there_once(tmp_path, store, sweep):
    stop = tmp_path / "stop"
    argv = [sys.executable, "-c", INGESTER, str(tmp_path / "home"), str(stop)]
    ingesters = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    texts = {}
    for label in sweep.labels:
        lines = sweep.lines(label).started().startup().workload("8k", 150).ended()
        texts[label] = lines.text().encode()
        sweep.attempt_dir(label).mkdir()
    files = {label: (sweep.attempt_dir(label) / "events.jsonl").open("ab") for label in sweep.labels}
    step = 9973
    for start in range(0, max(map(len, texts.values())), step):
        for label, file in files.items():
            file.write(texts[label][start : start + step])
            file.flush()
        time.sleep(0.05)
    for file in files.values():
        file.close()
    stop.touch()
    for ingester in ingesters:
        _, errors = ingester.communicate(timeout=60)
        assert ingester.returncode == 0, errors
    parallel = _plain(_load(store))
    with store.reading() as connection:
        assert connection.scalar(select(func.sum(SAMPLE_BLOCK.c.samples))) == 600
    alone = open_store(tmp_path / "alone.db")
    ingest_sweep(alone, sweep.folder.path)
    assert _plain(_load(alone)) == parallel
    assert {run.run: run.progress.samples_done for run in read_all(alone)} == dict.fromkeys(sweep.labels, 150)
    assert {run.run: run.progress for run in read_all(alone)} == {run.run: run.progress for run in read_all(store)}
    alone.close()


def read_all(store: Store) -> tuple[RunStatus, ...]:
    with store.reading() as connection:
        (sweep,) = read_runs(connection)
    return sweep.runs


def test_an_attempt_without_an_end_is_as_the_scheduler_says(store, sweep):
    label = sweep.labels[0]
    sweep.write(label, sweep.lines(label).started().startup())
    ingest_sweep(store, sweep.folder.path)
    assert _run(store, label).verdict.state is RunState.UNKNOWN
    said = JobStatus("12", 0, JobState.RUNNING, "RUNNING", node="gpu01")
    with store.writing() as connection:
        record_status(connection, NAME, 0, 0, said, 10.0)
    run = _run(store, label)
    assert (run.verdict.state, run.progress.phase) == (RunState.RUNNING, "measure")
    with store.writing() as connection:
        record_status(connection, NAME, 0, 0, replace(said, state=JobState.FAILED, native="FAILED"), 11.0)
    run = _run(store, label)
    assert (run.verdict.state, run.verdict.outcome) == (RunState.FINISHED, OutcomeKind.LOST)


def test_a_sign_of_life_after_the_scheduler_said_gone(store, sweep):
    """Somebody asked the wrong scheduler, or one that had lost its state: an agent that writes is not lost."""
    label = sweep.labels[0]
    sweep.write(label, sweep.lines(label).started().startup())
    ingest_sweep(store, sweep.folder.path)
    last_at = _run(store, label).progress.last_at
    for said_at, state in ((last_at - 1, RunState.UNKNOWN), (last_at + 1, RunState.FINISHED)):
        with store.writing() as connection:
            record_status(connection, NAME, 0, 0, JobStatus("12", 0, JobState.GONE, "gone"), said_at)
        assert _run(store, label).verdict.state is state
    assert _run(store, label).verdict.outcome is OutcomeKind.LOST


def test_absence_is_unknown_for_a_while_and_takes_back_no_end(store, sweep):
    """A PBS without history forgets a job as it ends; the agent's end record may come later."""
    labels = sweep.labels[:3]
    ingest_sweep(store, sweep.folder.path)
    ended = JobStatus("12", 1, JobState.FAILED, "F", "exit code 3", exit_code=3, outcome=OutcomeKind.FAILED)
    seen = []
    with store.writing() as connection:
        record_status(connection, NAME, 0, 0, JobStatus("12", 0, JobState.RUNNING, "R", node="gpu01"), 1000.0)
        record_status(connection, NAME, 0, 1, ended, 1000.0)
    for at in (1010.0, 1010.0 + ABSENCE_GRACE_S - 1, 1010.0 + ABSENCE_GRACE_S):
        with store.writing() as connection:
            for index in range(3):
                record_absence(connection, NAME, 0, index, at)
        verdicts = [_run(store, label).verdict for label in labels]
        seen.append([(verdict.state.value, verdict.outcome) for verdict in verdicts])
    failed = ("finished", OutcomeKind.FAILED)
    waiting = ("unknown", None)
    assert seen[:2] == [[waiting, failed, waiting]] * 2
    assert seen[2] == [("finished", OutcomeKind.NOT_RUN), failed, ("finished", OutcomeKind.NOT_RUN)]
    with store.writing() as connection:
        assert ended_tasks(connection, NAME) == {(0, 1)}
        record_status(connection, NAME, 0, 0, JobStatus("12", 0, JobState.RUNNING, "R", restarts=1), 1200.0)
    assert _run(store, labels[0]).verdict.state is RunState.QUEUED  # it was there all the same: not begun yet


def test_an_agent_that_writes_is_not_lost_however_long_its_job_is_absent(store, sweep):
    label = sweep.labels[0]
    sweep.write(label, sweep.lines(label).started().startup())
    ingest_sweep(store, sweep.folder.path)
    last_at = _run(store, label).progress.last_at
    states = []
    for at in (last_at - 300, last_at - 100, last_at + 10, last_at + ABSENCE_GRACE_S + 1):
        with store.writing() as connection:
            record_absence(connection, NAME, 0, 0, at)
        states.append(_run(store, label).verdict.state)
    assert states == [RunState.UNKNOWN] * 3 + [RunState.FINISHED]
    assert _run(store, label).verdict.outcome is OutcomeKind.LOST


WORDS = [  # (state known, at, restarts), (state told, at, restarts), is it news
    pytest.param(("pending", 5, 0), ("running", 6, 0), True, id="forward"),
    pytest.param(("running", 5, 0), ("unknown", 6, 0), False, id="unknown says nothing"),
    pytest.param(("running", 5, 0), ("pending", 4, 0), False, id="an older word"),
    pytest.param(("completed", 5, 0), ("running", 6, 0), False, id="a late word after the end"),
    pytest.param(("failed", 5, 0), ("pending", 6, 1), True, id="requeued"),
    pytest.param(("gone", 5, None), ("running", 6, 0), True, id="it was there all the same"),
    pytest.param(("failed", 5, None), ("gone", 6, None), False, id="forgotten after its end"),
    pytest.param(("failed", 5, None), ("completed", 6, None), True, id="the accounting corrects the queue"),
]


TRAILING = [  # state known, state told by a witness that trails, is it news
    pytest.param("running", "pending", False, id="the accounting has not learned of the start"),
    pytest.param("ending", "running", False, id="nor of the end"),
    pytest.param("pending", "pending", False, id="it does not know why a job waits"),
    pytest.param("never", "pending", False, id="nor that it waits for ever"),
    pytest.param("pending", "running", True, id="it learned of the start"),
    pytest.param("running", "failed", True, id="it learned of the end"),
    pytest.param("failed", "running", False, id="it has not learned of the end"),
    pytest.param("gone", "running", True, id="it was there all the same"),
]


@pytest.mark.parametrize(("known", "told", "news"), TRAILING)
def test_a_word_of_the_accounting_alone(store, sweep, known, told, news):
    ingest_sweep(store, sweep.folder.path)
    for state, trails, expected in ((known, False, True), (told, True, news)):
        status = JobStatus("12", 1, JobState(state), state.upper(), lags=trails)
        with store.writing() as connection:
            assert record_status(connection, NAME, 0, 1, status, 5.0 + trails) is expected


@pytest.mark.parametrize(("known", "told", "news"), WORDS)
def test_which_word_of_a_scheduler_stays(store, sweep, known, told, news):
    ingest_sweep(store, sweep.folder.path)
    for (state, at, restarts), expected in ((known, True), (told, news)):
        status = JobStatus("12", 1, JobState(state), state.upper(), restarts=restarts)
        with store.writing() as connection:
            assert record_status(connection, NAME, 0, 1, status, float(at)) is expected


@pytest.mark.parametrize(
    ("scheduler", "job_id", "shown"),
    [("slurm", "12", "12_1"), ("pbs", "12[].server", "12[1].server"), ("local", "study-0001:0", "study-0001:0[1]")],
)
def test_an_array_task_has_the_id_that_its_scheduler_gives_it(scheduler, job_id, shown):
    assert _job(None, {"job_id": job_id, "is_array": True}, 1, scheduler) == shown
    assert _job(None, {"job_id": job_id, "is_array": False}, 0, scheduler) == job_id


def test_a_word_about_a_job_that_nobody_knows_is_left_out(store, sweep):
    ingest_sweep(store, sweep.folder.path)
    with store.writing() as connection:
        assert not record_status(connection, NAME, 7, 0, JobStatus("99", None, JobState.RUNNING, "R"), 1.0)


def test_exit_json_is_the_end_where_the_events_tell_none(store, sweep):
    label = sweep.labels[0]
    sweep.write(label, sweep.lines(label).started().startup())
    ingest_sweep(store, sweep.folder.path)
    write_json(
        sweep.attempt_dir(label) / "exit.json",
        {"outcome": "lost", "phase": None, "reason": "the agent was killed", "decided_by": "the agent's guardian"},
    )
    ingest_sweep(store, sweep.folder.path)
    attempt = _load(store).runs[0].attempts[0]
    assert (attempt.outcome, attempt.reason, attempt.killed) == (OutcomeKind.LOST, "the agent was killed", ())
    assert attempt.phases[-1].end_s is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"outcome": "splendid"}'], ids=["empty", "torn", "list", "unknown"]
)
def test_a_damaged_exit_json_ends_nothing(store, sweep, content):
    label = sweep.labels[0]
    folder = sweep.write(label, sweep.lines(label).started())
    (folder / "exit.json").write_text(content)
    ingest_sweep(store, sweep.folder.path)
    assert _load(store).runs[0].attempts[0].outcome is None


def test_an_attempt_that_died_before_its_first_event_is_known_by_its_owner(store, sweep):
    label = sweep.labels[0]
    sweep.attempt_dir(label).mkdir()
    write_json(sweep.attempt_dir(label) / "owner.json", {"host": "gpu07", "pid": 5, "job_id": "12_0", "taken_at": 9.0})
    ingest_sweep(store, sweep.folder.path)
    attempt = _load(store).runs[0].attempts[0]
    assert (attempt.host, attempt.job_id, attempt.outcome) == ("gpu07", "12_0", None)


def test_the_last_attempt_counts_and_a_retry_begins_anew(store, sweep):
    label = sweep.labels[0]
    sweep.write(label, sweep.lines(label).started().startup().ended("stalled", phase="compile"), end="stalled")
    ingest_sweep(store, sweep.folder.path)
    assert _run(store, label).verdict.outcome is OutcomeKind.STALLED
    retry(sweep, label, known_attempts=1)
    ingest_sweep(store, sweep.folder.path)
    run = _run(store, label)
    assert (run.verdict.state, run.job, run.attempt) == (RunState.UNKNOWN, "13", 1)
    again = sweep.lines(label, 2).started(job_id="13").startup().workload("8k", 3).ended()
    sweep.write(label, again, 2, end="completed")
    ingest_sweep(store, sweep.folder.path)
    run = _run(store, label)
    assert (run.verdict.outcome, run.attempt, run.progress.samples_done) == (OutcomeKind.COMPLETED, 2, 3)
    assert [a.outcome for a in _load(store).runs[0].attempts] == [OutcomeKind.STALLED, OutcomeKind.COMPLETED]


def test_a_run_that_the_agent_did_not_get_to(store, sweep):
    label = sweep.labels[1]
    marker = sweep.folder.path / "runs" / label / "not_run.json"
    write_json(marker, {"outcome": "not_run", "reason": "walltime: no time left"})
    ingest_sweep(store, sweep.folder.path)
    assert _run(store, label).verdict.state is RunState.UNKNOWN  # its job may have been put back into the queue
    with store.writing() as connection:
        record_status(connection, NAME, 0, 1, JobStatus("12", 1, JobState.COMPLETED, "F", exit_code=0), 10.0)
    verdict = _run(store, label).verdict
    assert (verdict.outcome, verdict.reason) == (OutcomeKind.NOT_RUN, "walltime: no time left")
    marker.unlink()
    ingest_sweep(store, sweep.folder.path)
    assert _run(store, label).verdict.source == "scheduler"


def test_a_cancelled_element_that_the_scheduler_forgot_is_cancelled(store, sweep):
    mark_submitted(sweep.folder, 0, "12", 4, cancelled=[2])
    ingest_sweep(store, sweep.folder.path)
    states = [run.verdict for run in read_all(store)]
    assert states[2].outcome is OutcomeKind.CANCELLED
    assert states[1].state is RunState.UNKNOWN


def test_a_sweep_that_was_never_submitted_is_planned(tmp_path, store):
    sweep = make_sweep(tmp_path / "home", submitted=False)
    ingest_sweep(store, sweep.folder.path)
    assert {run.verdict.state for run in read_all(store)} == {RunState.PLANNED}


def test_a_run_started_by_hand_runs_while_its_agent_lives(tmp_path, store):
    sweep = make_sweep(tmp_path / "home", submitted=False)
    label = sweep.labels[0]
    folder = sweep.write(label, sweep.lines(label).started(job_id=None).startup())
    from hpcsweep.node.identity import identify
    from hpcsweep.node.process.processes import read_process

    agent = subprocess.Popen(["sleep", "60"])
    try:
        process = read_process(agent.pid)
        assert process is not None
        owner = identify({}, process.started).as_dict() | {"pid": agent.pid}
        write_json(folder / "owner.json", owner)
        ingest_sweep(store, sweep.folder.path)
        assert _run(store, label).verdict.state is RunState.RUNNING
    finally:
        agent.kill()
        agent.wait()
    assert _run(store, label).verdict.state is RunState.UNKNOWN


def test_an_event_file_that_became_shorter_is_another_one(store, sweep):
    label = sweep.labels[0]
    sweep.write(label, sweep.lines(label).started().startup().workload("8k", 9).ended(), end="completed")
    ingest_sweep(store, sweep.folder.path)
    sweep.write(label, sweep.lines(label).started(host="gpu02").workload("8k", 2))
    (sweep.attempt_dir(label) / "exit.json").unlink()
    ingest_sweep(store, sweep.folder.path)
    attempt = _load(store).runs[0].attempts[0]
    assert (attempt.host, attempt.outcome) == ("gpu02", None)
    assert _run(store, label).progress.samples_done == 2


def test_a_sweep_whose_folder_was_made_anew_replaces_the_old_one(tmp_path, store, sweep):
    finish(sweep, samples=2)
    ingest_sweep(store, sweep.folder.path)
    sweep.folder.path.rename(tmp_path / "away")
    anew = make_sweep(tmp_path / "home", submitted_at=1_800_000_000.0)
    ingest_sweep(store, anew.folder.path)
    assert all(not run.attempts for run in _load(store).runs)
    with store.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(ATTEMPT)) == 0
        assert connection.scalar(select(func.count()).select_from(PHASE)) == 0


def test_a_home_that_was_moved_is_the_same_sweep(tmp_path, store, sweep):
    finish(sweep, samples=2)
    ingest_sweep(store, sweep.folder.path)
    (tmp_path / "home" / "sweeps").rename(tmp_path / "sweeps")
    ingest_home(store, tmp_path)
    row = _load(store)
    assert row.sweep_dir == str(tmp_path / "sweeps" / NAME)
    assert len(row.runs[0].attempts) == 1


def test_a_sweep_of_the_same_name_from_another_home_is_refused(tmp_path, store, sweep):
    ingest_sweep(store, sweep.folder.path)
    other = make_sweep(tmp_path / "other", submitted_at=5.0)
    with pytest.raises(StoreError, match="another sweep exp_runner-0001") as caught:
        ingest_sweep(store, other.folder.path)
    assert "its own store" in caught.value.hint


DAMAGES = [
    pytest.param("sweep.json", "{", "sweep.json is corrupt", id="torn sweep.json"),
    pytest.param("sweep.json", '{"sweep": "x"}', "sweep.json is corrupt", id="a field is missing"),
    pytest.param("jobs/0/job.json", "[]", "job.json is corrupt", id="job.json is a list"),
    pytest.param("jobs/0/submission.json", "null", "submission.json is corrupt", id="submission.json is null"),
]


@pytest.mark.parametrize(("path", "content", "says"), DAMAGES)
def test_a_damaged_sweep_is_told_and_the_others_are_read(tmp_path, store, sweep, path, content, says):
    finish(sweep, samples=2)
    damaged = make_sweep(tmp_path / "home", "other-0001")
    (damaged.folder.path / path).write_text(content)
    count = ingest_home(store, tmp_path / "home")
    assert count.samples == 8
    (trouble,) = count.troubles
    assert says in trouble


def test_what_lies_about_in_a_run_folder_is_no_attempt(store, sweep):
    run_dir = sweep.folder.path / "runs" / sweep.labels[0]
    for name in ("attempt-0", "attempt-x", "attempt-1.tmp", ".attempt-2", "attempt-99999999999"):
        (run_dir / name).mkdir()
    (run_dir / "attempt-3").write_text("a file")
    ingest_sweep(store, sweep.folder.path)
    assert [a.attempt for a in _load(store).runs[0].attempts] == [3]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_event_file_that_cannot_be_read_is_told(store, sweep):
    label = sweep.labels[0]
    path = sweep.write(label, sweep.lines(label).started()) / "events.jsonl"
    path.chmod(0)
    count = ingest_sweep(store, sweep.folder.path)
    assert "cannot be read" in count.troubles[0]


def test_a_line_longer_than_a_piece_is_read(store, sweep, monkeypatch):
    from hpcsweep.store.ingest import ingest_events as new_events

    monkeypatch.setattr(new_events, "_PIECE_BYTES", 500)
    label = sweep.labels[0]
    lines = sweep.lines(label).started().startup().workload("8k", 4, chunks=400).ended()
    sweep.write(label, lines)
    count = ingest_sweep(store, sweep.folder.path)
    assert (count.samples, count.events) == (4, len(lines.lines))


def test_a_read_only_store_ingests_nothing(store, sweep):
    ingest_sweep(store, sweep.folder.path)
    finish(sweep, samples=2)
    frozen = replace(store, read_only=True)
    assert ingest_sweep(frozen, sweep.folder.path).sweeps == 0
    assert ingest_home(frozen, sweep.folder.path.parents[1]).samples == 0


def test_which_sweeps_go_on(tmp_path, store, sweep):
    finish(sweep, samples=1)
    make_sweep(tmp_path / "home", "later-0001", submitted_at=1_800_000_000.0)
    ingest_home(store, tmp_path / "home")
    with store.reading() as connection:
        assert unfinished_sweeps(connection) == ["later-0001"]
    again = sweep.lines(sweep.labels[0], 2).started().startup()
    sweep.write(sweep.labels[0], again, 2)
    ingest_home(store, tmp_path / "home")
    with store.reading() as connection:
        assert unfinished_sweeps(connection) == [NAME, "later-0001"]
        assert [s.name for s in read_runs(connection)] == [NAME, "later-0001"]
        with pytest.raises(StoreError, match=r"no sweep 'latter-0001'"):
            load_sweep(connection, "latter-0001")


def test_a_part_of_a_sweep_without_samples(store, sweep):
    finish(sweep, samples=2)
    ingest_sweep(store, sweep.folder.path)
    with store.reading() as connection:
        part = load_sweep(connection, NAME, runs=[sweep.labels[2]], samples=False)
    (run,) = part.runs
    assert run.run == sweep.labels[2]
    assert run.attempts[0].workloads[0].columns is None
    assert run.attempts[0].workloads[0].samples_total == 2


def test_a_field_that_a_newer_agent_added_is_ignored(store, sweep):
    label = sweep.labels[0]
    lines = sweep.lines(label).started(colour="green")
    lines.lines = [json.dumps(json.loads(line) | {"more": [1]}) for line in lines.lines]
    sweep.write(label, lines)
    count = ingest_sweep(store, sweep.folder.path)
    assert (count.events, count.troubles) == (1, [])


def test_an_unwritable_path_is_an_error_of_ours(tmp_path):
    with pytest.raises(StoreError, match=r"has no sweep\.json"):
        ingest_sweep(open_store(tmp_path / "x.db"), Path(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("later_by_s", "news"), [(1.0, True), (-5.0, False), (-3600.0, True)], ids=["later", "came late", "clock set back"]
)
def test_a_clock_that_was_set_back_does_not_silence_the_scheduler(store, sweep, later_by_s, news):
    ingest_sweep(store, sweep.folder.path)
    with store.writing() as connection:
        record_status(connection, NAME, 0, 0, JobStatus("12", 0, JobState.PENDING, "PENDING"), 10_000.0)
        running = JobStatus("12", 0, JobState.RUNNING, "RUNNING")
        assert record_status(connection, NAME, 0, 0, running, 10_000.0 + later_by_s) is news

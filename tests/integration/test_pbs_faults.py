"""What was seen to go wrong on a real OpenPBS: no history, requeued arrays, limits, GPU types, processes that stay."""

import contextlib
import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest
from pbs_fixture import FakePbs, wait_until
from pbs_sweeps import LABELS, SWEEP, PbsSweep

pytestmark = pytest.mark.timeout(400)  # each asks a busy machine for many commands


@pytest.fixture
def sweep(pbs: FakePbs, tmp_path: Path) -> PbsSweep:
    pbs.admin("set server kill_delay=5.0")
    made = PbsSweep(pbs, tmp_path)
    yield made
    pbs.admin("up")
    pbs.admin("stop-all")
    for process in made.processes():
        process.kill()


def outcomes(runs: dict) -> set[str]:
    return {run["outcome"] for run in runs.values()}


def nothing_to_retry(sweep: PbsSweep) -> bool:
    return "nothing to retry" in sweep.cli.run("retry", SWEEP, code=1).stderr


def let_time_pass(sweep: PbsSweep, seconds: float) -> None:
    """Make what the store keeps of the scheduler's answers older."""
    with contextlib.closing(sqlite3.connect(sweep.cli.home / "hpcsweep.db")) as store, store:
        store.execute("update scheduler_status set at = at - ?", (seconds,))


def test_without_history_a_job_that_was_deleted_while_it_waited(sweep):
    sweep.pbs.admin("set server job_history_enable=False")
    sweep.write(lengths=("1k",), directives=["-h"])
    sweep.pbs.out(f"qdel {sweep.submit()}")
    (run,) = sweep.runs().values()
    assert (run["state"], run["outcome"]) == ("unknown", None)
    assert nothing_to_retry(sweep)
    let_time_pass(sweep, 300)
    (run,) = sweep.runs().values()
    assert (run["state"], run["outcome"]) == ("finished", "not_run")


def test_a_job_that_was_never_created_is_searched_for_a_while_only(sweep):
    """Its submission had no answer, and the server does not know it: each status asks once more, for 15 minutes."""
    sweep.pbs.admin("set server job_history_enable=False")
    sweep.write(lengths=("1k",), directives=["-h"])
    sweep.pbs.out(f"qdel {sweep.submit()}")
    path = sweep.sweep_dir / "jobs" / "0" / "submission.json"
    lost = json.loads(path.read_text()) | {"job_id": None}
    path.write_text(json.dumps(lost))
    assert {run["state"] for run in sweep.runs().values()} == {"unknown"}
    assert not json.loads(path.read_text())["searched_in_vain"]
    path.write_text(json.dumps(lost | {"submitted_at": lost["submitted_at"] - 1000}))
    assert {run["state"] for run in sweep.runs().values()} == {"unknown"}
    assert json.loads(path.read_text())["searched_in_vain"]
    searched = path.stat().st_mtime_ns
    assert {run["state"] for run in sweep.runs().values()} == {"unknown"}
    assert path.stat().st_mtime_ns == searched  # this status did not search: it would have written what it found
    assert nothing_to_retry(sweep)


def test_without_history_a_killed_agent_is_lost_after_a_while(sweep):
    """Its subjob is over at once, but its array is still listed and shows nothing of it."""
    sweep.pbs.admin("set server job_history_enable=False")
    sweep.write(slow=True, lengths=("1k", "2k"))
    number = sweep.submit()
    runs = sweep.wait_until_measuring("len-1k", "len-2k")
    assert {run["state"] for run in runs.values()} == {"running"}
    agent = sweep.agent("len-1k")
    for process in [*agent.children(), agent]:
        process.kill()
    wait_until(lambda: sweep.pbs.attributes(f"{number}[0]")["job_state"] == "X")
    runs = sweep.runs()
    assert (runs["len-1k"]["state"], runs["len-2k"]["state"]) == ("unknown", "running")
    assert nothing_to_retry(sweep)
    let_time_pass(sweep, 300)
    with contextlib.closing(sqlite3.connect(sweep.cli.home / "hpcsweep.db")) as store, store:
        store.execute("update attempt set last_at = last_at - 600")
    runs = sweep.runs()
    assert (runs["len-1k"]["outcome"], runs["len-2k"]["state"]) == ("lost", "running")


@pytest.mark.parametrize("history", ["True", "False"])
def test_a_whole_array_that_is_requeued_before_anybody_looked(sweep, history):
    """The agents leave `cancelled` or `lost`; the scheduler starts the array again: nothing is submitted twice."""
    sweep.pbs.admin(f"set server job_history_enable={history}")
    sweep.write(slow=True)
    number = sweep.submit()
    folders = [sweep.sweep_dir / "runs" / label / "attempt-1" for label in LABELS]
    wait_until(lambda: all((folder / "events.jsonl").exists() for folder in folders))
    sweep.pbs.out(f"qrerun '{number}[]'", operator=True)
    wait_until(lambda: all((folder / "exit.json").exists() for folder in folders))
    assert nothing_to_retry(sweep)
    runs = sweep.wait(lambda runs: all(run["attempt"] == 2 for run in runs.values()))
    assert outcomes(runs) == {None}
    assert list(sweep.pbs.state()["jobs"]) == [number]


def test_a_frozen_agent_that_is_killed_at_its_walltime_while_nobody_looks(sweep):
    sweep.write(slow=True, lengths=("1k",), walltime="8s", margin="1s")
    number = sweep.submit()
    attempt = sweep.sweep_dir / "runs" / "len-1k" / "attempt-1"
    wait_until((attempt / "server.log").exists)
    sweep.agent("len-1k").send_signal(signal.SIGSTOP)
    sweep.pbs.wait_for(number, "F")
    wait_until((attempt / "exit.json").exists)
    (run,) = sweep.runs().values()
    assert (run["state"], run["outcome"]) == ("finished", "walltime")
    assert "killed at its walltime" in run["reason"]


def test_a_renamed_job_is_still_ours(sweep):
    sweep.write(slow=True, lengths=("1k", "2k"), parallel=1)
    number = sweep.submit()
    sweep.pbs.out(f"qalter -N renamed '{number}[]'")
    runs = sweep.wait_until_measuring("len-1k")
    assert runs["len-2k"]["state"] == "queued"


def test_cancel_covers_every_submission_of_a_run(sweep):
    """Its first job was started again after the run had been submitted a second time."""
    sweep.write(slow=True, lengths=("1k",))
    first = sweep.submit()
    sweep.wait_until_measuring("len-1k")
    jobs = sweep.sweep_dir / "jobs"
    second = sweep.pbs.out(f"qsub -h -N {SWEEP}-1 -- /bin/sleep 60")
    (jobs / "1").mkdir()
    job = json.loads((jobs / "0" / "job.json").read_text()) | {"job": 1, "name": f"{SWEEP}-1"}
    (jobs / "1" / "job.json").write_text(json.dumps(job))
    (jobs / "1" / "job.sh").write_text((jobs / "0" / "job.sh").read_text())
    submission = json.loads((jobs / "0" / "submission.json").read_text()) | {"job_id": second}
    (jobs / "1" / "submission.json").write_text(json.dumps(submission))
    sweep.cli.run("cancel", SWEEP)
    for number in (first, second.partition(".")[0]):
        assert sweep.pbs.wait_for(number, "F")["substate"] == "91"
    sweep.wait_until_nothing_runs()


def test_the_engine_stays_in_the_session_of_the_job_and_does_not_outlive_it(sweep):
    """Only the guardian is outside: it must outlive a kill of the session. What PBS suspends is the session."""
    sweep.write(slow=True, lengths=("1k",))
    number = sweep.submit()
    sweep.wait_until_measuring("len-1k")
    session = int(sweep.pbs.attributes(number)["session_id"])
    outside = [" ".join(p.cmdline()) for p in sweep.processes() if os.getsid(p.pid) != session]
    assert ["hpcsweep.node.guardian" in command for command in outside] == [True]
    sweep.pbs.out(f"qdel {number}")
    assert outcomes(sweep.wait_until_ended()) == {"cancelled"}
    sweep.wait_until_nothing_runs()


def test_a_killed_agent_leaves_nothing_in_the_session_of_the_job(sweep):
    sweep.write(slow=True, lengths=("1k",))
    sweep.submit()
    sweep.wait_until_measuring("len-1k")
    sweep.agent("len-1k").kill()
    sweep.wait_until_nothing_runs()
    assert outcomes(sweep.wait_until_ended()) == {"lost"}


GPU_TYPES = [
    pytest.param({"gpu_type": "a100", "gpu_resource": "gpu_type"}, "gpu2", id="by the resource"),
    pytest.param(
        {"gpu_type": "A100", "constraint": "gpu_type=a100", "gpu_resource": None}, "gpu2", id="by the constraint"
    ),
    pytest.param({"gpu_type": "h200", "gpu_resource": "queue"}, "gpu1", id="the queue decides"),
]


@pytest.mark.parametrize(("profile", "node"), GPU_TYPES)
def test_a_gpu_type_that_is_asked_for_reaches_pbs(sweep, profile, node):
    sweep.pbs.admin("nodes gpu1=h200 gpu2=a100")
    sweep.write(lengths=("1k",), slow=True, **profile)
    number = sweep.submit()
    assert node in sweep.pbs.wait_for(number, "R")["exec_vnode"]


def test_a_gpu_type_that_cannot_reach_pbs_is_refused(sweep):
    sweep.pbs.admin("nodes gpu1=h200 gpu2=a100")
    sweep.write(gpu_type="h200", gpu_resource=None)
    refused = sweep.cli.run("submit", "study.yaml", "--cluster", "pbs-test", code=1)
    assert "gpu_type h200 is requested, but is not passed to PBS" in refused.stderr and "gpu_resource" in refused.stderr
    assert not sweep.sweep_dir.exists()
    assert "add gpu_resource: gpu_type" in sweep.cli.run("doctor", code=None).stdout
    sweep.write(gpu_type="b200", gpu_resource="gpu_type", lengths=("1k",))
    sweep.submit()
    (run,) = sweep.runs().values()
    assert (run["state"], run["reason"]) == ("held", "Insufficient amount of resource: gpu_type (b200 != h200)")
    assert "no node has gpu_type=b200" in sweep.cli.run("status", SWEEP, "--json").stdout

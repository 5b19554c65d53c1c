"""Cancelling on a real Slurm, by hpcsweep and behind its back, running and pending."""

import json

import pytest
from slurm_sweeps import LABELS, SWEEP, Sweep, slurm

# Waiting for the other workers of xdist counts too.
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


def test_a_sweep_runs_to_its_end(sweep: Sweep) -> None:
    sweep.submit()
    runs = sweep.wait_until_ended()
    assert {label: run["outcome"] for label, run in runs.items()} == dict.fromkeys(LABELS, "completed")
    assert all(run["settled_by"] == "run folder" and run["node"].startswith("hopper-") for run in runs.values())
    sweep.wait_until_nothing_runs()


def test_one_run_is_cancelled_and_the_others_go_on(sweep: Sweep) -> None:
    sweep.write(slow=True)
    sweep.submit()
    sweep.wait_until_measuring(*LABELS)
    sweep.cli("cancel", SWEEP, "len-2k")
    runs = sweep.wait(lambda runs: runs["len-2k"]["state"] == "finished")
    assert runs["len-2k"]["outcome"] == "cancelled"
    assert {runs["len-1k"]["state"], runs["len-3k"]["state"]} == {"running"}
    sweep.cli("cancel", SWEEP)
    assert {run["outcome"] for run in sweep.wait_until_ended().values()} == {"cancelled"}
    sweep.wait_until_nothing_runs()
    runs = sweep.retry_completes()
    assert {run["attempt"] for run in runs.values()} == {2}


def test_pending_runs_are_cancelled_in_one_call_and_remembered(sweep: Sweep) -> None:
    sweep.write(slow=True, parallel=1)
    sweep.submit()
    sweep.wait_until_measuring("len-1k")
    sweep.cli("cancel", SWEEP, "len-2k", "len-3k")
    runs = sweep.wait(lambda runs: runs["len-2k"]["state"] == runs["len-3k"]["state"] == "finished")
    for label in ("len-2k", "len-3k"):
        assert (runs[label]["outcome"], runs[label]["attempt"]) == ("cancelled", None)
        assert "cancelled" in runs[label]["reason"]
    assert runs["len-1k"]["state"] == "running"
    sweep.cli("cancel", SWEEP)
    sweep.wait_until_ended()
    sweep.wait_until_nothing_runs()
    sweep.retry_completes()


def test_somebody_else_cancels_a_running_element(sweep: Sweep) -> None:
    sweep.write(slow=True)
    job_id = sweep.submit()
    sweep.wait_until_measuring(*LABELS)
    slurm("scancel", f"{job_id}_1")
    runs = sweep.wait(lambda runs: runs["len-2k"]["state"] == "finished")
    assert (runs["len-2k"]["outcome"], runs["len-2k"]["phase"]) == ("cancelled", "measure")
    assert runs["len-1k"]["state"] == "running"


def test_somebody_else_cancels_a_pending_element_which_then_vanishes(sweep: Sweep) -> None:
    sweep.write(slow=True, parallel=1)
    job_id = sweep.submit()
    sweep.wait_until_measuring("len-1k")
    slurm("scancel", f"{job_id}_2")
    runs = sweep.wait(lambda runs: runs["len-3k"]["state"] == "finished")
    assert runs["len-3k"]["outcome"] == "not_run"
    assert "disappeared before this run started (cancelled" in runs["len-3k"]["reason"]
    assert runs["len-2k"]["state"] == "queued"
    sweep.cli("cancel", SWEEP)
    sweep.wait_until_ended()
    sweep.wait_until_nothing_runs()
    sweep.retry_completes()


def test_the_whole_array_is_cancelled_while_pending(sweep: Sweep) -> None:
    sweep.write(directives=["--begin=now+1hour"])
    job_id = sweep.submit()
    assert {run["state"] for run in sweep.runs().values()} == {"queued"}
    slurm("scancel", job_id)
    runs = sweep.wait_until_ended()
    assert {run["outcome"] for run in runs.values()} == {"cancelled"}
    assert {run["attempt"] for run in runs.values()} == {None}


def test_children_with_a_session_of_their_own_are_gone_too(sweep: Sweep) -> None:
    """proctrack/linuxproc loses such processes: nothing but the agent can end them."""
    sweep.write(
        slow=True,
        lengths=("1k",),
        rules="faults:\n  - {kind: children, count: 3, own_session: true, orphan: true, ignore_sigterm: true}\n",
    )
    sweep.submit()
    sweep.wait_until_measuring("len-1k")
    assert len(sweep.processes()) >= 5
    sweep.cli("cancel", SWEEP)
    assert sweep.wait_until_ended()["len-1k"]["outcome"] == "cancelled"
    sweep.wait_until_nothing_runs()


def test_a_cancel_that_failed_leaves_no_mark(sweep: Sweep) -> None:
    """What ends the run afterwards is not taken for our cancellation."""
    sweep.write(slow=True, lengths=("1k",))
    sweep.submit()
    sweep.wait_until_measuring("len-1k")
    down = "scancel: error: Kill job error on job id 1: Unable to contact slurm controller (connect failure)"
    sweep.fake("scancel", f'echo "{down}" >&2; exit 8')
    told = sweep.cli("cancel", SWEEP, code=1)
    assert "Unable to contact slurm controller" in told
    submission = json.loads((sweep.sweep_dir / "jobs" / "0" / "submission.json").read_text())
    assert submission["cancelled"] == []
    assert sweep.runs()["len-1k"]["state"] == "running"
    sweep.fake("scancel", "")
    sweep.cli("cancel", SWEEP)
    assert sweep.wait_until_ended()["len-1k"]["outcome"] == "cancelled"

"""What clusters do to jobs, done to real ones: each time the outcome is right, nothing is lost, and retry finishes."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from slurm_sweeps import LABELS, SERVICE, SWEEP, Sweep, daemon, node_of, slurm, start_daemon, wait_for

# Waiting for the other workers of xdist counts too.
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="stops daemons of Slurm: needs root")


def test_killed_agent(sweep: Sweep) -> None:
    sweep.write(slow=True)
    sweep.submit()
    sweep.wait_until_measuring(*LABELS)
    sweep.agent("len-2k").kill()
    runs = sweep.wait(lambda runs: runs["len-2k"]["state"] == "finished")
    assert runs["len-2k"]["outcome"] == "lost"
    assert runs["len-1k"]["state"] == "running"
    sweep.cli("cancel", SWEEP)
    sweep.wait_until_ended()
    sweep.wait_until_nothing_runs()
    runs = sweep.retry_completes()
    assert sweep.attempt_dir("len-2k", 1).is_dir() and runs["len-2k"]["attempt"] == 2


def test_killed_server(sweep: Sweep) -> None:
    sweep.write(slow=True, lengths=("1k", "2k"))
    sweep.submit()
    sweep.wait_until_measuring("len-1k", "len-2k")
    sweep.server("len-1k").kill()
    runs = sweep.wait(lambda runs: runs["len-1k"]["state"] == "finished")
    assert (runs["len-1k"]["outcome"], runs["len-1k"]["phase"]) == ("crashed", "measure")
    assert runs["len-2k"]["state"] == "running"
    sweep.cli("cancel", SWEEP)
    sweep.wait_until_ended()
    sweep.wait_until_nothing_runs()
    sweep.retry_completes()


def test_killed_child_of_the_server(sweep: Sweep) -> None:
    sweep.write(slow=True, lengths=("1k",), rules="faults:\n  - {kind: children, count: 2}\n")
    sweep.submit()
    sweep.wait_until_measuring("len-1k")
    child = sweep.server("len-1k").children()[0]
    child.kill()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10, "the child is dead")
    assert sweep.runs()["len-1k"]["state"] == "running"
    sweep.cli("cancel", SWEEP)
    assert sweep.wait_until_ended()["len-1k"]["outcome"] == "cancelled"
    sweep.wait_until_nothing_runs()


REFUSALS = [
    pytest.param({"partition": "nosuch"}, "invalid partition specified: nosuch", "partition", id="partition"),
    pytest.param({"gpu_type": "b300"}, "Requested node configuration is not available", "gpu_type", id="GPU type"),
    pytest.param({"constraint": "nosuch"}, "Invalid feature specification", "constraint", id="feature"),
    pytest.param({"directives": ["--nosuch"]}, "unrecognized option '--nosuch'", "directives", id="unknown directive"),
    pytest.param({"gpus_per_node": 0}, "nodes of this cluster have 0", "gpus_per_node", id="too many GPUs: told by us"),
]


@pytest.mark.parametrize(("profile", "words", "hint"), REFUSALS)
def test_refused(sweep: Sweep, profile: dict[str, object], words: str, hint: str) -> None:
    sweep.write(**profile)
    told = sweep.cli("submit", "study.yaml", "--cluster", "slurm", code=1)
    assert words in told
    assert hint in told.partition("hint:")[2]
    assert "Traceback" not in told
    assert not list(sweep.home.glob("sweeps/*"))


NEVER = [
    pytest.param({"partition": "debug", "walltime": "10m"}, "exceeds the partition's MaxTime", id="over MaxTime"),
    pytest.param({"nodes": 5}, "more nodes than the partition allows", id="too many nodes"),
]


@pytest.mark.parametrize(("change", "words"), NEVER)
def test_accepted_but_it_can_never_run(sweep: Sweep, change: dict[str, object], words: str) -> None:
    sweep.write(**change)
    sweep.submit()
    # While nodes of another test are down, Slurm may give another reason at first.
    runs = sweep.wait(lambda runs: all(run["state"] == "held" and words in run["reason"] for run in runs.values()))
    for run in runs.values():
        assert "lower resources." in run["hint"]
    sweep.cli("cancel", SWEEP)
    assert {run["outcome"] for run in sweep.wait_until_ended().values()} == {"cancelled"}


def makes_log_folders() -> bool:
    """Since 24.11 slurmstepd makes the folder of --output."""
    return int(slurm("sinfo", "--version").split()[-1].split(".")[0]) >= 24


def test_the_log_folder_is_gone_when_the_job_starts(sweep: Sweep) -> None:
    sweep.write(lengths=("1k", "2k"), directives=["--begin=now+5"])
    sweep.submit()
    shutil.rmtree(sweep.sweep_dir / "jobs" / "0" / "logs")
    runs = sweep.wait_until_ended()
    if makes_log_folders():
        assert {run["outcome"] for run in runs.values()} == {"completed"}
        return
    assert {run["outcome"] for run in runs.values()} == {"not_run"}
    assert "0:53" in runs["len-1k"]["reason"] and "log folder" in runs["len-1k"]["hint"]
    sweep.retry_completes()


def test_the_home_is_hidden_from_the_job(sweep: Sweep) -> None:
    """As by job_container/tmpfs: on the node there is no such folder."""
    sweep.write(lengths=("1k",), directives=["--begin=now+3"])
    job_id = sweep.submit()
    hidden = sweep.sweep_dir.with_name("hidden")
    sweep.sweep_dir.rename(hidden)
    ended = lambda: "FAILED" in slurm("squeue", "-h", "--states=all", "-j", job_id, "-o", "%T")  # noqa: E731
    wait_for(ended, 40, "the job fails")
    shutil.rmtree(sweep.sweep_dir, ignore_errors=True)  # what Slurm made for its log
    hidden.rename(sweep.sweep_dir)
    run = sweep.wait_until_ended()["len-1k"]
    assert run["outcome"] == "not_run"
    assert ("exit code 66" if makes_log_folders() else "0:53") in run["reason"]
    assert "HPCSWEEP_HOME" in run["hint"] or "log folder" in run["hint"]
    sweep.retry_completes()


def test_a_home_that_cannot_be_written(sweep: Sweep) -> None:
    sweep.home.write_text("a file where the folder should be")
    told = sweep.cli("submit", "study.yaml", "--cluster", "slurm", code=1)
    assert str(sweep.home) in told and "hint:" in told and "Traceback" not in told


def test_walltime(sweep: Sweep) -> None:
    """Three runs in one allocation of a minute: the first one never ends by itself."""
    sweep.write(slow=True, walltime="20s", margin="15s")
    sweep.submit("--runs-per-job", "3")
    runs = sweep.wait_until_ended(120)
    assert (runs["len-1k"]["outcome"], runs["len-1k"]["phase"]) == ("walltime", "measure")
    assert {runs["len-2k"]["outcome"], runs["len-3k"]["outcome"]} == {"not_run"}
    assert "walltime" in runs["len-2k"]["reason"]
    sweep.wait_until_nothing_runs()
    sweep.set_profile(partition="nowhere")
    assert "invalid partition specified: nowhere" in sweep.cli("retry", SWEEP, code=1)
    assert sweep.runs() == runs  # a retry that is refused changes nothing
    sweep.set_profile(partition="h200")
    runs = sweep.retry_completes("--walltime", "5m")
    assert {label: run["attempt"] for label, run in runs.items()} == {"len-1k": 2, "len-2k": 1, "len-3k": 1}


def test_requeue_goes_on_where_it_was(sweep: Sweep) -> None:
    """The first run of the allocation completes, the second is under way when the job is requeued."""
    sweep.write(slow=True, requeue=True, rules="rules:\n  - when: {len: 1k}\n    speed: {decode_tps: 10000}\n")
    job_id = sweep.submit("--runs-per-job", "3")
    sweep.wait_until_measuring("len-2k")
    first = (sweep.attempt_dir("len-1k") / "exit.json").read_bytes()
    sweep.shorten()
    slurm("scontrol", "requeue", job_id)
    runs = sweep.wait_until_ended(90)
    assert {run["outcome"] for run in runs.values()} == {"completed"}
    assert {label: run["attempt"] for label, run in runs.items()} == {"len-1k": 1, "len-2k": 2, "len-3k": 1}
    assert (sweep.attempt_dir("len-1k") / "exit.json").read_bytes() == first
    assert '"preempted"' in (sweep.attempt_dir("len-2k") / "exit.json").read_text()
    sweep.wait_until_nothing_runs()


@pytest.fixture
def urgent() -> Iterator[list[str]]:
    """Jobs of the preempting partition; cancelled afterwards."""
    jobs: list[str] = []
    yield jobs
    if jobs:
        slurm("scancel", *jobs)


def preempt(node: str, seconds: int) -> str:
    """A job that pushes everything else off a node for a while."""
    return slurm("sbatch", "--parsable", "-p", "urgent", "-w", node, "--exclusive", "--mem=10", "-t", "2",
                 "-o", "/dev/null", f"--wrap=sleep {seconds}")  # fmt: skip


@pytest.mark.parametrize("requeue", [False, True])
@pytest.mark.usefixtures("whole_cluster")
def test_preemption(sweep: Sweep, urgent: list[str], requeue: bool) -> None:
    sweep.write(slow=True, requeue=requeue, lengths=("1k", "2k"), nodelist="hopper-04", exclude=None)
    job_id = sweep.submit()
    sweep.wait_until_measuring("len-1k", "len-2k")
    sweep.shorten()
    urgent.append(preempt(node_of(job_id, 0), 5))
    if requeue:
        runs = sweep.wait_until_ended(120)
        assert {(run["outcome"], run["attempt"]) for run in runs.values()} == {("completed", 2)}
        return
    runs = sweep.wait_until_ended(60)
    assert {run["outcome"] for run in runs.values()} == {"preempted"}
    sweep.wait_until_nothing_runs()
    sweep.retry_completes()


@needs_root
@pytest.mark.usefixtures("whole_cluster")
def test_node_failure(sweep: Sweep) -> None:
    """The node's daemon dies, its processes go on: a retry must not meet them."""
    sweep.write(slow=True, lengths=("1k", "2k"), nodelist="hopper-03", exclude=None)
    job_id = sweep.submit()
    sweep.wait_until_measuring("len-1k", "len-2k")
    assert node_of(job_id, 0) == "hopper-03"
    daemon("slurmd.hopper-03").send_signal(signal.SIGKILL)
    try:
        runs = sweep.wait_until_ended(100)
        for run in runs.values():
            assert (run["outcome"], run["node"]) == ("lost", "hopper-03")
            assert "lost its node" in run["reason"]
        assert sweep.agent("len-1k").is_running()
        before = sorted(path.name for path in sweep.attempt_dir("len-1k").iterdir())
        sweep.shorten()
        sweep.set_profile(nodelist=None, exclude="hopper-03")
        sweep.cli("retry", SWEEP)
        runs = sweep.wait_until_ended(90)
        assert {(run["outcome"], run["attempt"]) for run in runs.values()} == {("completed", 2)}
        assert sorted(path.name for path in sweep.attempt_dir("len-1k").iterdir()) == before
    finally:
        start_daemon("slurmd.hopper-03", "slurmd", "-N", "hopper-03")
    sweep.wait_until_nothing_runs()
    assert {(run["outcome"], run["attempt"]) for run in sweep.runs().values()} == {("completed", 2)}


@needs_root
@pytest.mark.usefixtures("whole_cluster")
def test_slurmctld_down_for_a_while(sweep: Sweep) -> None:
    sweep.write(slow=True, lengths=("1k", "2k"), parallel=1)
    sweep.submit()
    sweep.wait_until_measuring("len-1k")
    # What slurmctld had not yet passed on when it ended, slurmdbd does not know: it goes on saying PENDING.
    sweep.fake("sacct", 'set -o pipefail\n$REAL "$@" | sed "s/|RUNNING|/|PENDING|/"')
    controller = daemon("slurmctld")
    controller.terminate()
    try:
        controller.wait(30)
        told = sweep.cli("status", SWEEP, "--json", timeout_s=15)  # alone it takes 4 s: query_timeout_s
        assert "warning: squeue" in told and "its last report is" in told
        runs = {run["run"]: run for run in json.loads(told[told.index("{") :])["sweeps"][0]["runs"]}
        assert (runs["len-1k"]["state"], runs["len-2k"]["state"]) == ("running", "queued")
        refused = sweep.cli("submit", "study.yaml", "--cluster", "slurm", code=1, timeout_s=60)
        assert "nothing was submitted" in refused or "Unable to contact slurm controller" in refused
        assert not (sweep.home / "sweeps" / "study-0002").exists()
        assert "not checked, " in sweep.cli("doctor", timeout_s=60)  # and not: nothing is wrong
        sweep.shorten()
    finally:
        start_daemon("slurmctld", "slurmctld")
    wait_for(lambda: "UP" in slurm("scontrol", "ping", check=False), 30, "slurmctld answers")
    sweep.fake("sacct", "")
    slurm("scancel", sweep.job_ids()[0] + "_0")
    runs = sweep.wait_until_ended(90)
    assert {label: run["outcome"] for label, run in runs.items()} == {"len-1k": "cancelled", "len-2k": "completed"}
    sweep.retry_completes()


def test_purged_before_anybody_asked(sweep: Sweep) -> None:
    """Agent, guardian and server are killed at once, and Slurm forgets the job before it is asked."""
    sweep.write(slow=True, lengths=("1k",))
    job_id = sweep.submit()
    sweep.wait_until_measuring("len-1k")
    for process in sweep.processes():
        process.suspend()  # so that none of them sees another one die
    for process in sweep.processes():
        process.kill()
    sweep.wait_until_nothing_runs()
    forgotten = lambda: job_id not in slurm("squeue", "-h", "--states=all", "-o", "%A").split()  # noqa: E731
    wait_for(forgotten, 100, "Slurm forgets the job (MinJobAge)")
    runs = sweep.wait_until_ended(20)
    assert runs["len-1k"]["outcome"] == "lost"
    sweep.retry_completes()


def test_hand_run_of_one_element(sweep: Sweep) -> None:
    """job.sh is what was submitted, and runs without a scheduler."""
    sweep.submit()
    sweep.wait_until_ended()
    script = sweep.sweep_dir / "jobs" / "0" / "job.sh"
    slurm("env", "SLURM_ARRAY_TASK_ID=1", "bash", str(script))
    assert sweep.attempt_dir("len-2k", 2).is_dir()
    assert not sweep.attempt_dir("len-1k", 2).exists()


@needs_root
def test_an_ordinary_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    user = os.environ["HPCSWEEP_TEST_USER"]
    folder = Path(slurm("mktemp", "-d", "-p", str(SERVICE / "home")))
    sweep = Sweep(folder, user)
    shutil.chown(folder, user)
    for path in folder.iterdir():
        shutil.chown(path, user)
    try:
        sweep.submit()
        runs = sweep.wait_until_ended()
        assert {run["outcome"] for run in runs.values()} == {"completed"}
        assert sweep.attempt_dir("len-1k").owner() == user
    finally:
        sweep.end()
        shutil.rmtree(folder)

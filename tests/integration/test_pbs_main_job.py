"""The main job on the fake PBS, and everything that PBS does to jobs: for each the outcome shown, nothing lost."""

import json
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest
from cli import Cli
from pbs_fixture import FakePbs
from pbs_sweeps import LABELS, SWEEP, PbsSweep

from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.pbs.directives import safe_variables
from hpcsweep.schedulers.pbs.scheduler import PbsScheduler


@pytest.fixture
def sweep(pbs: FakePbs, tmp_path: Path) -> PbsSweep:
    pbs.admin("set server kill_delay=5.0")
    made = PbsSweep(pbs, tmp_path)
    yield made
    pbs.admin("up")
    pbs.admin("stop-all")
    for process in made.processes():
        process.kill()


def outcomes(runs: dict) -> dict[str, str]:
    return {label: run["outcome"] for label, run in runs.items()}


@pytest.mark.timeout(400)
def test_the_main_job(pbs, tmp_path):
    """`hpcsweep submit exp_runner --grid ep,eager,len --cluster pbs-test --wait`: one array, four nodes."""
    made = PbsSweep(pbs, tmp_path)
    cli = Cli(tmp_path, made.cli.env)
    done = cli.run("submit", "exp_runner", "--grid", "ep,eager,len", "--cluster", "pbs-test", "--wait", timeout=380)
    assert "all 12 runs have ended, 6 completed" in done.stdout
    runs = cli.runs()
    assert len(runs) == 12
    expected = {"yes": "completed", "no": "stalled"}
    assert all(run["outcome"] == expected[run["axes"]["eager"]] and run["simulated"] for run in runs.values())
    assert {run["job"].partition("[")[0] for run in runs.values()} == {"0"}
    (record,) = pbs.state()["jobs"].values()
    assert record["a"]["array_indices_submitted"] == "0-11"
    placed = {sub["exec_vnode"] for sub in record["subjobs"].values()}
    assert len(placed) == 4
    assert "SIMULATED" in cli.run("report", "--format", "markdown").stdout
    assert "phase compile" in cli.run("logs", "ep-on_eager-no_len-8k", "--job").stdout
    made.wait_until_nothing_runs()


def test_one_run_is_a_plain_job(sweep):
    sweep.write(lengths=("1k",))
    number = sweep.submit()
    runs = sweep.wait_until_ended()
    assert outcomes(runs) == {"len-1k": "completed"}
    assert runs["len-1k"]["settled_by"] == "run folder"
    a = sweep.pbs.attributes(number)
    assert "array" not in a
    assert (a["Exit_status"], a["Rerunable"]) == ("0", "False")
    assert "/bin/bash" in a["executable"]


def test_cancel_one_and_then_all_and_retry(sweep):
    sweep.write(slow=True)
    number = sweep.submit()
    sweep.wait_until_measuring(*LABELS)
    sweep.cli.run("cancel", SWEEP, "len-2k")
    runs = sweep.wait(lambda runs: runs["len-2k"]["state"] == "finished")
    assert runs["len-2k"]["outcome"] == "cancelled"
    assert {runs["len-1k"]["state"], runs["len-3k"]["state"]} == {"running"}
    sweep.cli.run("cancel", SWEEP)
    assert set(outcomes(sweep.wait_until_ended()).values()) == {"cancelled"}
    sweep.wait_until_nothing_runs()
    assert sweep.pbs.wait_for(number, "F")["substate"] == "91"
    runs = sweep.retry_completes()
    assert {run["attempt"] for run in runs.values()} == {2}
    assert sweep.pbs.attributes(str(int(number) + 1))["array_indices_submitted"] == "0-2"


def test_runs_that_wait_are_cancelled_and_the_failed_ones_retried_as_a_smaller_array(sweep):
    sweep.write(slow=True, parallel=1)
    number = sweep.submit()
    sweep.wait_until_measuring("len-1k")
    sweep.cli.run("cancel", SWEEP, "len-3k")
    runs = sweep.wait(lambda runs: runs["len-3k"]["state"] == "finished")
    assert (runs["len-3k"]["outcome"], runs["len-3k"]["attempt"]) == ("cancelled", None)
    assert runs["len-2k"]["state"] == "queued"
    sweep.cli.run("cancel", SWEEP, "len-2k")
    sweep.cli.run("retry", SWEEP, "len-2k", "len-3k")
    again = sweep.pbs.attributes(str(int(number) + 1))
    assert (again["array_indices_submitted"], again["max_run_subjobs"]) == ("0-1", "1")


def test_somebody_deletes_a_running_element(sweep):
    sweep.write(slow=True)
    number = sweep.submit()
    sweep.wait_until_measuring(*LABELS)
    sweep.pbs.out(f"qdel '{number}[1]'")
    runs = sweep.wait(lambda runs: runs["len-2k"]["state"] == "finished")
    assert (runs["len-2k"]["outcome"], runs["len-2k"]["phase"]) == ("cancelled", "measure")
    assert runs["len-1k"]["state"] == "running"


def test_somebody_deletes_an_element_that_waits(sweep):
    sweep.write(slow=True, parallel=1)
    number = sweep.submit()
    sweep.wait_until_measuring("len-1k")
    sweep.pbs.out(f"qdel '{number}[2]'")
    runs = sweep.wait(lambda runs: runs["len-3k"]["state"] == "finished")
    assert (runs["len-3k"]["outcome"], runs["len-3k"]["attempt"]) == ("cancelled", None)
    assert "deleted before it ran" in runs["len-3k"]["reason"]
    assert runs["len-2k"]["state"] == "queued"


def test_the_whole_array_is_deleted_by_force(sweep):
    sweep.write(slow=True)
    number = sweep.submit()
    sweep.wait_until_measuring(*LABELS)
    sweep.pbs.out(f"qdel -W force '{number}[]'")
    runs = sweep.wait_until_ended()
    assert set(outcomes(runs).values()) == {"cancelled"}
    assert all("deleted by hpcuser@pbshost" in run["reason"] for run in runs.values())
    sweep.wait_until_nothing_runs()
    sweep.retry_completes()


def test_a_held_array_says_so_and_can_be_released(sweep):
    sweep.write(directives=["-h"])
    number = sweep.submit()
    runs = sweep.runs()
    assert {run["state"] for run in runs.values()} == {"held"}
    assert all("held by its owner" in run["reason"] for run in runs.values())
    sweep.pbs.out(f"qrls '{number}[]'")
    assert set(outcomes(sweep.wait_until_ended()).values()) == {"completed"}


def test_a_dependency_holds_and_then_lets_go(sweep):
    first = sweep.pbs.out("qsub -h -- /bin/true")
    sweep.write(lengths=("1k",), directives=[f"-W depend=afterok:{first}"])
    sweep.submit()
    (run,) = sweep.runs().values()
    assert (run["state"], run["reason"]) == ("held", f"waiting for afterok:{first}@pbshost")
    sweep.pbs.out(f"qrls {first}")
    assert set(outcomes(sweep.wait_until_ended()).values()) == {"completed"}


def test_a_dependency_that_can_no_longer_come_true(sweep):
    first = sweep.pbs.out("qsub -h -- /bin/false")
    sweep.write(lengths=("1k",), directives=[f"-W depend=afterok:{first}"])
    sweep.submit()
    sweep.pbs.out(f"qrls {first}")
    (run,) = sweep.wait_until_ended().values()
    assert run["outcome"] == "not_run"
    assert "can no longer be satisfied" in run["reason"]


def test_the_agents_own_clock_ends_the_attempt_before_the_walltime(sweep):
    sweep.write(lengths=("1k",), slow=True, walltime="20s", margin="5s")
    number = sweep.submit()
    (run,) = sweep.wait_until_ended().values()
    assert (run["outcome"], run["settled_by"]) == ("walltime", "run folder")
    assert "PBS: job killed" not in "".join(p.read_text() for p in (sweep.sweep_dir / "jobs/0/logs").iterdir())
    assert sweep.pbs.wait_for(number, "F")["substate"] in ("92", "93")
    sweep.wait_until_nothing_runs()


def test_an_agent_that_hangs_is_killed_at_the_walltime(sweep):
    sweep.write(lengths=("1k",), slow=True, walltime="30s", margin="1s")
    sweep.submit()
    sweep.wait(lambda runs: runs["len-1k"]["phase"] == "measure")
    sweep.agent("len-1k").send_signal(signal.SIGSTOP)
    (run,) = sweep.wait_until_ended().values()
    assert (run["outcome"], run["settled_by"]) == ("walltime", "scheduler")
    assert "killed at its walltime of 00:00:30" in run["reason"]


def test_a_killed_agent(sweep):
    sweep.write(lengths=("1k",), slow=True)
    sweep.submit()
    sweep.wait_until_measuring("len-1k")
    sweep.agent("len-1k").kill()
    (run,) = sweep.wait_until_ended().values()
    assert run["outcome"] == "lost"
    sweep.wait_until_nothing_runs()
    sweep.retry_completes()


def test_a_rerun_is_a_second_attempt_and_the_first_keeps_its_record(sweep):
    sweep.write(lengths=("1k",), slow=True, requeue=True)
    number = sweep.submit()
    sweep.wait_until_measuring("len-1k")
    first = sweep.agent("len-1k")
    for path in (sweep.sweep_dir / "data").glob("simulated-*"):
        path.write_text(path.read_text().replace("decode_tps: 0.2", "decode_tps: 10000"))
    sweep.pbs.out(f"qrerun {number}", operator=True)
    runs = sweep.wait(lambda runs: runs["len-1k"]["state"] == "finished")
    assert (runs["len-1k"]["outcome"], runs["len-1k"]["attempt"]) == ("completed", 2)
    assert not first.is_running()
    assert sweep.pbs.wait_for(number, "F")["run_count"] == "2"
    assert (sweep.sweep_dir / "runs/len-1k/attempt-1/events.jsonl").exists()


def test_a_lost_node_reruns_the_elements_of_an_array(sweep):
    sweep.write(slow=True)
    number = sweep.submit()
    sweep.wait_until_measuring(*LABELS)
    node = sweep.pbs.attributes(f"{number}[0]")["exec_vnode"].strip("()").partition(":")[0]
    sweep.pbs.admin(f"mom {node} kill")
    assert sweep.runs()["len-1k"]["state"] == "running"  # PBS goes on saying R
    sweep.pbs.admin(f"mom {node} start")
    runs = sweep.wait(lambda runs: runs["len-1k"]["attempt"] == 2 and runs["len-1k"]["phase"] == "measure")
    assert runs["len-1k"]["state"] == "running"
    assert runs["len-2k"]["attempt"] == 1


def test_a_lost_node_ends_a_job_that_may_not_be_rerun(sweep):
    sweep.write(lengths=("1k",), slow=True)
    sweep.submit()
    sweep.wait_until_measuring("len-1k")
    sweep.pbs.admin("mom gpunode1 kill")
    failed = sweep.cli.run("cancel", SWEEP, code=1)
    assert "could not connect to MOM" in failed.stderr
    sweep.pbs.admin("mom gpunode1 start")
    (run,) = sweep.wait_until_ended().values()
    assert run["outcome"] in ("lost", "cancelled")
    sweep.wait_until_nothing_runs()
    sweep.retry_completes()


def test_without_history_the_run_folder_decides(sweep):
    sweep.pbs.admin("set server job_history_enable=False")
    sweep.write(lengths=("1k",))
    number = sweep.submit()
    runs = sweep.wait_until_ended()
    assert (outcomes(runs), runs["len-1k"]["settled_by"]) == ({"len-1k": "completed"}, "run folder")
    assert number not in sweep.pbs.state()["jobs"]


def test_without_history_jobs_that_live_are_seen(sweep):
    """Such a server refuses qstat -x altogether."""
    sweep.pbs.admin("set server job_history_enable=False")
    sweep.write(slow=True, parallel=1)
    number = sweep.submit()
    runs = sweep.wait(lambda runs: runs["len-1k"]["state"] == "running")
    assert {run["state"] for run in runs.values()} == {"running", "queued"}
    assert runs["len-2k"]["reason"] == "waiting for a slot: the array runs at most 1 at a time"
    assert "maintain job history" not in sweep.cli.run("status", SWEEP).stdout
    query = PbsScheduler().find_query(f"{SWEEP}-0", "hpcuser", str(sweep.sweep_dir / "jobs/0"))
    assert query.parse(LocalHost().run(query.argv, timeout_s=20)) == [f"{number}[].pbshost"]


def test_an_old_client_that_shows_no_waiting_elements(sweep, monkeypatch):
    monkeypatch.setitem(sweep.cli.env, "FAKE_PBS_CLIENT", "20.0.1")
    sweep.write(slow=True, gpus=32, parallel=1)
    refused = sweep.cli.run("submit", "study.yaml", "--cluster", "pbs-test", code=1)
    assert "remove `parallel` from the profile" in refused.stderr
    sweep.write(slow=True, directives=["-W max_run_subjobs=1"])
    sweep.submit()
    runs = sweep.wait(lambda runs: runs["len-1k"]["state"] == "running")
    assert (runs["len-2k"]["state"], runs["len-3k"]["state"]) == ("queued", "queued")


def test_without_history_and_without_a_word_unknown_stays_unknown(sweep):
    sweep.pbs.admin("set server job_history_enable=False")
    sweep.write(lengths=("1k",), directives=["-h"])
    number = sweep.submit()
    sweep.pbs.out(f"qdel {number}")
    (run,) = sweep.runs().values()
    assert (run["state"], run["outcome"], run["attempt"]) == ("unknown", None, None)
    assert run["reason"]
    assert "nothing to retry" in sweep.cli.run("retry", SWEEP, code=1).stderr
    sweep.cli.run("retry", SWEEP, "len-1k")  # one that nobody knows anything of is submitted again only by its name
    sweep.pbs.out(f"qrls {int(number) + 1}")
    assert set(outcomes(sweep.wait_until_ended()).values()) == {"completed"}


def test_a_server_that_is_down_kills_nothing(sweep):
    sweep.write(slow=True)
    sweep.submit()
    sweep.wait_until_measuring(*LABELS)
    sweep.pbs.admin("down")
    for _ in range(3):
        done = sweep.cli.run("status", SWEEP)
        assert "Connection refused" in done.stdout + done.stderr
    assert {run["state"] for run in sweep.runs().values()} == {"running"}
    refused = sweep.cli.run("submit", "study.yaml", "--cluster", "pbs-test", code=1)
    assert "Connection refused" in refused.stderr
    sweep.pbs.admin("up")
    assert {run["state"] for run in sweep.runs().values()} == {"running"}
    assert len(list((sweep.cli.home / "sweeps").iterdir())) == 1


def test_status_of_a_server_that_hangs_comes_back(sweep):
    sweep.write(lengths=("1k",), directives=["-h"])
    sweep.submit()
    sweep.pbs.admin("freeze")
    started = time.monotonic()
    done = sweep.cli.run("status", SWEEP, timeout=90)
    assert time.monotonic() - started < 55
    assert "did not answer within" in done.stdout + done.stderr


def test_what_can_never_run_says_so(sweep):
    sweep.write(gpus=64)
    sweep.submit()
    runs = sweep.runs()
    assert {run["state"] for run in runs.values()} == {"held"}
    assert all("ngpus (R: 64 A: 32 T: 32)" in run["reason"] for run in runs.values())
    assert "less ngpus than the job requests" in sweep.cli.run("status", SWEEP, "--json").stdout


REFUSED = [
    pytest.param({"queue": "nosuch"}, "Unknown queue", "qstat -Q", id="queue"),
    pytest.param({"constraint": "nosuch=1"}, "Unknown resource: nosuch", "pbsnodes", id="resource"),
    pytest.param({"exclude": "gpunode1"}, "which PBS does not support", "constraint", id="exclude"),
    pytest.param({"directives": ["-l walltime=1-00:00:00"]}, "does not accept -l walltime", "48:00:00", id="walltime"),
]


@pytest.mark.parametrize(("profile", "words", "hint"), REFUSED)
def test_a_refusal_leaves_nothing_behind(sweep, profile, words, hint):
    sweep.write(**profile)
    done = sweep.cli.run("submit", "study.yaml", "--cluster", "pbs-test", code=1)
    assert words in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert not sweep.sweep_dir.exists()
    assert sweep.pbs.run("qstat -x").stdout == ""


def test_a_script_of_your_own(sweep):
    """Values that `qsub -v` cannot carry reach the script by file; the one line `hpcsweep-node` does the rest."""
    sweep.write(lengths=("1k",), directives=["-h"])
    number = sweep.submit()
    job_dir = sweep.sweep_dir / "jobs" / "0"
    hostile = """it's {"a":1,"b":[2]}\n$(id),x"""
    with (job_dir / "tasks/0.env").open("a") as exports:
        exports.write(f"export EXP_NOTE={shlex.quote(hostile)}\n")
    script = sweep.folder / "exp.pbs"
    node = f"{sys.executable} -m hpcsweep.node.agent"
    script.write_text(
        "#!/bin/bash\n#PBS -l select=1:ncpus=1:ngpus=8\n#PBS -l walltime=00:05:00\n"
        'source "$HPCSWEEP_JOB_DIR/tasks/$HPCSWEEP_ARRAY_INDEX.env"\n'
        f'printf "%s\\n" "$EXP_NAME" "$EXP_NOTE"\nexec {node}\n'
    )
    exports = {"EXP_NAME": "1B_no_eager", "HPCSWEEP_JOB_DIR": str(job_dir), "HPCSWEEP_ARRAY_INDEX": "0", "N": hostile}
    by_option, by_file = safe_variables(exports)
    assert by_file == {"N": hostile}
    scheduler = PbsScheduler()
    argv = scheduler.submit_user_script_argv(str(script), by_option, name="exp", log_dir=str(job_dir / "logs"))
    job_id = scheduler.parse_submit(LocalHost().run(argv, timeout_s=20))
    sweep.pbs.wait_for(job_id.partition(".")[0], "F")
    printed = (job_dir / "logs" / f"{job_id}.OU").read_text()
    assert hostile in printed
    assert (sweep.runs()["len-1k"]["outcome"], number != job_id) == ("completed", True)


STUDY = """\
#!/bin/bash
#PBS -l select=1:ncpus=1:ngpus=8
#PBS -l walltime=00:05:00
#PBS -v THEIRS=kept
echo "mine: $EXP_NAME $ENFORCE_EAGER $ENABLE_EP $MAX_MODEL_LEN $THEIRS, $HPCSWEEP_AXIS_NOTE"
hpcsweep-node
"""


def test_submit_with_a_script_of_your_own(sweep):
    """Nothing of hpcsweep is on the PATH of the job's login; one value is what -v cannot carry."""
    experiment = json.loads((sweep.folder / "study.yaml").read_text())
    experiment["axes"]["note"] = {"levels": {"a, b": {"env": {"NOTE": "1"}}, "plain": {"env": {"NOTE": "2"}}}}
    experiment["axes"]["len"] = ["1k"]
    experiment["baseline"] = {"len": "1k", "note": "plain"}
    (sweep.folder / "study.yaml").write_text(json.dumps(experiment))
    (sweep.folder / "exp_runner.pbs").write_text(STUDY)
    sweep.cli.run("submit", "study.yaml", "--cluster", "pbs-test", "--script", "exp_runner.pbs")
    runs = sweep.wait_until_ended()
    assert set(outcomes(runs).values()) == {"completed"}
    jobs = list(sweep.pbs.state()["jobs"].values())
    assert len(jobs) == 2
    assert all("THEIRS=kept" in job["a"]["Variable_List"] and "subjobs" not in job for job in jobs)
    assert {job["a"]["Resource_List.walltime"] for job in jobs} == {"00:05:00"}
    logs = "".join(path.read_text() for path in sweep.sweep_dir.glob("jobs/*/logs/*.OU"))
    assert logs.count("mine: ") == 2
    assert " kept, a, b\n" in logs and " kept, plain\n" in logs
    job = json.loads((sweep.sweep_dir / "jobs/0/job.json").read_text())
    assert job["resources"]["walltime_s"] == 300


def test_a_deleted_script_of_your_own_is_cancelled_and_nothing_is_left(sweep):
    """The login shell above it dies of the SIGTERM at once; the agent has until the kill delay is over."""
    sweep.write(lengths=("1k",), slow=True)
    (sweep.folder / "exp_runner.pbs").write_text(STUDY)
    document = sweep.cli.json("submit", "study.yaml", "--cluster", "pbs-test", "--script", "exp_runner.pbs")
    sweep.wait_until_measuring("len-1k")
    sweep.pbs.out(f"qdel {document['jobs'][0]['job_id']}")
    (run,) = sweep.wait_until_ended().values()
    assert (run["outcome"], run["phase"]) == ("cancelled", "measure")
    sweep.wait_until_nothing_runs()


def test_a_submission_whose_answer_was_lost_is_found(sweep):
    sweep.write(directives=["-h"])
    number = sweep.submit()
    host, scheduler = LocalHost(), PbsScheduler()
    job_dir = str(sweep.sweep_dir / "jobs" / "0")
    for name, folder, ids in (
        (f"{SWEEP}-0", job_dir, [f"{number}[].pbshost"]),
        (f"{SWEEP}-0", job_dir + "0", []),
        ("no'such $(name)", job_dir, []),
    ):
        query = scheduler.find_query(name, "hpcuser", folder)
        assert query.parse(host.run(query.argv, timeout_s=20)) == ids


def test_doctor_knows_the_site(sweep):
    done = sweep.cli.run("doctor", code=None)
    assert "pbs 23.06.06" in done.stdout
    assert "gpuq: 4 nodes with 8 GPUs (32 free)" in done.stdout

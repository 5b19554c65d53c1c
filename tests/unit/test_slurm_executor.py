"""The submitit executor: what it writes, for one job and for an array; sbatch is an executable stand-in on PATH."""

import shlex
import subprocess

import pytest

from hpcsweep.errors import SchedulerError, SchedulerUnreachable, SpecError
from hpcsweep.schedulers.base import CommandResult
from hpcsweep.spec.cluster import Cluster
from hpcsweep.submit.submitit.slurm_executor import SlurmExecutor
from hpcsweep.submit.submitit.slurm_watcher import GONE, SlurmWatcher


def product(left, right):
    return left * right


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Puts commands on PATH: name -> shell text. sbatch counts job ids and keeps each script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(name, text):
        path = folder / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    kept = tmp_path / "submitted"
    kept.mkdir()
    put("srun", "exit 1")
    put(
        "sbatch",
        f'n=$(ls {kept} | wc -l)\nfor last; do :; done\ncp "$last" {kept}/$n\nenv >{tmp_path}/env\necho $((n + 100))',
    )
    put("scontrol", "echo 'MaxArraySize            = 5'")
    put("sinfo", "true")
    return put


def scripts(tmp_path):
    return [path.read_text() for path in sorted((tmp_path / "submitted").iterdir())]


def executor(tmp_path, **profile):
    return SlurmExecutor(tmp_path / "folder" / "%j", Cluster(scheduler="slurm", partition="h200", **profile))


def test_an_array_is_written_by_our_template(commands, tmp_path):
    """submitit submits arrays through a plain SlurmExecutor, whatever the subclass."""
    jobs = executor(tmp_path).map_array(product, [1, 2, 3], [4, 5, 6])
    (script,) = scripts(tmp_path)
    assert "Written by hpcsweep" in script
    assert "#SBATCH --array=0-2\n" in script
    assert "#SBATCH --export=NONE\n" in script
    assert f"#SBATCH --output={tmp_path}/folder/%A_%a/%A_%a_0_log.out\n" in script
    assert [job.job_id for job in jobs] == ["100_0", "100_1", "100_2"]
    assert [job.submission().args for job in jobs] == [(1, 4), (2, 5), (3, 6)]


def test_a_single_job_too(commands, tmp_path):
    job = executor(tmp_path).submit(product, 2, 3)
    (script,) = scripts(tmp_path)
    assert "Written by hpcsweep" in script and "--array" not in script
    assert f"#SBATCH --output={tmp_path}/folder/%j/%j_0_log.out\n" in script
    assert "export SUBMITIT_EXECUTOR=slurm\n" in script
    assert "HPCSWEEP_JOB_DIR" not in script
    assert job.job_id == "100"
    assert job.paths.submission_file.read_text() == script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_a_users_template_reaches_the_array(commands, tmp_path):
    own = tmp_path / "templates"
    own.mkdir()
    (own / "slurm.sh.j2").write_text('{% extends "slurm.sh.j2" %}{% block setup %}module load cuda\n{% endblock %}')
    made = SlurmExecutor(tmp_path / "folder", template_dirs=[own])
    made.map_array(product, [1, 2], [3, 4])
    assert "\nmodule load cuda\n" in scripts(tmp_path)[0]


def test_an_array_over_the_clusters_limit_is_cut(commands, tmp_path):
    jobs = executor(tmp_path).map_array(product, range(11), range(11))
    assert len(scripts(tmp_path)) == 3
    assert [job.job_id for job in jobs] == [*(f"100_{i}" for i in range(5)), *(f"101_{i}" for i in range(5)), "102"]
    assert [job.submission().args[0] for job in jobs] == list(range(11))


PARAMETERS = [
    ({"timeout_min": 90}, "--time=01:30:00"),
    ({"time": 90}, "--time=01:30:00"),
    ({"mem_gb": 1.5}, "--mem=1536M"),
    ({"mem": "64GB"}, "--mem=65536M"),
    ({"gpus_per_node": 8, "gpu_type": "h200"}, "--gres=gpu:h200:8"),
    ({"cpus_per_task": 16}, "--cpus-per-task=16"),
    ({"nodes": 2}, "--nodes=2"),
    ({"tasks_per_node": 2}, "--ntasks-per-node=2"),
    ({"name": "mine"}, "--job-name=mine"),
    ({"partition": "a100"}, "--partition=a100"),
    ({"qos": "high", "account": "x"}, "--qos=high"),
    ({"exclude": "hopper-01"}, "--exclude=hopper-01"),
    ({"exclusive": True}, "--exclusive"),
    ({"signal_delay_s": 60}, "--signal=B:USR1@60"),
    ({"additional_parameters": {"mail-type": "END"}}, "--mail-type=END"),
    ({"additional_parameters": {"spread-job": True}}, "--spread-job"),
]


@pytest.mark.parametrize(("parameters", "directive"), PARAMETERS)
def test_submitits_parameters(commands, tmp_path, parameters, directive):
    made = executor(tmp_path)
    made.update_parameters(**parameters)
    made.submit(product, 1, 2)
    assert f"\n#SBATCH {directive}\n" in scripts(tmp_path)[0]


def test_a_profile_with_cpus_per_gpu_gives_a_share_of_the_node(commands, tmp_path):
    made = executor(tmp_path, cpus_per_gpu=24, memory_per_gpu="100G", gpu_type="h200", gpu_type_in_directive=False)
    made.update_parameters(gpus_per_node=2)
    made.submit(product, 1, 2)
    lines = scripts(tmp_path)[0].splitlines()
    assert {"#SBATCH --gres=gpu:2", "#SBATCH --cpus-per-task=48", "#SBATCH --mem=204800M"} <= set(lines)


def test_the_profile_holds_where_no_parameter_is_given(commands, tmp_path):
    made = executor(tmp_path, account="abc", memory="2G", parallel=3, setup=["module load a"], env={"X": "it's"})
    made.update_parameters(setup=["module load b"])
    made.map_array(product, [1, 2], [3, 4])
    (script,) = scripts(tmp_path)
    for line in (
        "#SBATCH --account=abc",
        "#SBATCH --mem=2048M",
        "#SBATCH --array=0-1%3",
        f"export X={shlex.quote(chr(39).join(['it', 's']))}",
    ):
        assert f"\n{line}\n" in script
    assert "\nmodule load a\nmodule load b\n" in script


def test_several_tasks_go_through_srun_with_a_log_each(commands, tmp_path):
    made = executor(tmp_path)
    made.update_parameters(tasks_per_node=2, nodes=2)
    job = made.submit(product, 1, 2)
    assert f"\nexec srun --unbuffered --output={tmp_path}/folder/%j/%j_%t_log.out " in scripts(tmp_path)[0]
    assert job.num_tasks == 4


BAD = [
    ({"tiemout_min": 5}, "did you mean 'timeout_min'"),
    ({"gres": "gpu:8"}, "known:"),
]


@pytest.mark.parametrize(("parameters", "hint"), BAD)
def test_an_unknown_parameter_lists_the_known_ones(commands, tmp_path, parameters, hint):
    with pytest.raises(SpecError, match="unknown parameter") as caught:
        executor(tmp_path).update_parameters(**parameters)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "parameters",
    [{"partition": "a b"}, {"time": 0}, {"nodes": 0}, {"name": "a b"}, {"partition": "a\n#SBATCH --wrap=x"}],
)
def test_a_bad_value_is_refused_at_once_and_forgotten(commands, tmp_path, parameters):
    made = executor(tmp_path)
    with pytest.raises(SpecError):
        made.update_parameters(**parameters)
    made.submit(product, 1, 2)


def test_variables_of_the_caller_do_not_change_the_submission(commands, tmp_path, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "elsewhere")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    executor(tmp_path).submit(product, 1, 2)
    seen = (tmp_path / "env").read_text()
    assert "SBATCH_PARTITION" not in seen and "SLURM_JOB_ID" not in seen


def test_a_refusal_says_what_to_change(commands, tmp_path):
    commands("sbatch", "echo 'sbatch: error: invalid partition specified: h200' >&2; exit 1")
    with pytest.raises(SchedulerError, match="invalid partition specified: h200") as caught:
        executor(tmp_path).submit(product, 1, 2)
    assert "partition" in caught.value.hint


def test_a_lost_answer_is_looked_for_before_anything_else(commands, tmp_path):
    commands(
        "sbatch",
        'echo "$@" >>' + str(tmp_path / "calls") + "; echo 'Socket timed out on send/recv operation' >&2; exit 1",
    )
    commands(
        "squeue",
        f"""
        path=$(sed 's/.* //' {tmp_path}/calls)
        echo "77|hpcsweep:$path|"
    """,
    )
    assert executor(tmp_path).submit(product, 1, 2).job_id == "77"
    commands("squeue", "true")
    with pytest.raises(SchedulerUnreachable):
        executor(tmp_path).submit(product, 1, 2)


class Answers:
    """A host that gives recorded answers, squeue's and sacct's in turn."""

    name = "recorded"

    def __init__(self, *rounds):
        self.rounds = list(rounds)

    def run(self, argv, *, timeout_s, stdin=None):
        command = next(word for word in argv if word in ("squeue", "sacct"))
        squeue, sacct = self.rounds[0]
        if command == "sacct":
            self.rounds = self.rounds[1:] or self.rounds
        code, out, err = squeue if command == "squeue" else sacct
        return CommandResult(tuple(argv), code, out, err)


OFF = (1, "", "Slurm accounting storage is disabled")
DOWN = (1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
NOTHING = (0, "", "")
LATE = (0, "12|PENDING|0:0|None assigned|None|x\n", "")  # what slurmctld has not passed on, slurmdbd does not know


def squeue(state, code=0, reason="None"):
    return (0, f"12|{state}|{code}|0|n1|{reason}|x|\n", "")


LOOKS = [
    pytest.param([(squeue("PENDING"), OFF)], "PENDING", False, id="waits"),
    pytest.param([(squeue("COMPLETING"), OFF)], "COMPLETING", False, id="completing is not over"),
    pytest.param([(squeue("FAILED", 1792), OFF)], "FAILED", True, id="failed, without accounting"),
    pytest.param([(squeue("PREEMPTED", 15), OFF)], "PREEMPTED (not requeued)", True, id="preempted for good"),
    pytest.param([(squeue("PENDING", 0, "BeginTime"), OFF)], "PENDING", False, id="requeued"),
    pytest.param([(NOTHING, OFF)], "UNKNOWN", False, id="not there yet"),
    pytest.param([(squeue("RUNNING"), OFF), (NOTHING, OFF)], "RUNNING", False, id="vanished once"),
    pytest.param([(squeue("RUNNING"), OFF), (NOTHING, OFF), (NOTHING, OFF)], GONE, True, id="vanished twice"),
    pytest.param([(squeue("RUNNING"), OFF), (DOWN, OFF), (DOWN, OFF)], "RUNNING", False, id="slurmctld down"),
    pytest.param([(squeue("RUNNING"), OFF), (DOWN, LATE)], "RUNNING", False, id="the accounting trails"),
    pytest.param([(DOWN, LATE)], "PENDING", False, id="nobody else has said anything"),
    pytest.param([(squeue("RUNNING"), OFF), (squeue("PENDING"), LATE)], "PENDING", False, id="requeued, seen by both"),
    pytest.param([(DOWN, (0, "12|TIMEOUT|0:0|n1|None|x\n", ""))], "TIMEOUT", True, id="only the accounting answers"),
    pytest.param([(NOTHING, (0, "12|COMPLETED|0:0|n1|None|x\n", ""))], "COMPLETED", True, id="purged, accounted for"),
]  # fmt: skip


@pytest.mark.parametrize(("rounds", "state", "done"), LOOKS)
def test_watcher(rounds, state, done):
    watcher = SlurmWatcher(host=Answers(*rounds))
    watcher.register_job("12")
    for _ in rounds:
        watcher.update()
    assert watcher.get_state("12", mode="cache") == state
    assert watcher.is_done("12", mode="cache") is done


def test_watcher_keeps_exit_code_node_and_reason():
    watcher = SlurmWatcher(host=Answers((squeue("FAILED", 1792), OFF)))
    info = watcher.get_info("12", mode="force")
    assert (info["ExitCode"], info["NodeList"], info["Reason"]) == ("7:0", "n1", "its script ended with exit code 7")


def test_watcher_an_element_that_vanished_while_its_array_is_there():
    rows = (0, "12_0|RUNNING|0|0|n1|None|x|\n12_[2-3]|PENDING|0|0||Resources|x|\n", "")
    watcher = SlurmWatcher(host=Answers((rows, OFF)))
    for job_id in ("12", "12_0", "12_1", "12_2"):
        watcher.register_job(job_id)
    watcher.update()
    watcher.update()
    states = {job_id: watcher.get_state(job_id, mode="cache") for job_id in ("12", "12_0", "12_1", "12_2")}
    assert states == {"12": "UNKNOWN", "12_0": "RUNNING", "12_1": GONE, "12_2": "PENDING"}


def test_watcher_one_call_for_all_jobs():
    calls = []

    class Counting(Answers):
        def run(self, argv, *, timeout_s, stdin=None):
            calls.append(argv)
            return super().run(argv, timeout_s=timeout_s)

    watcher = SlurmWatcher(host=Counting((NOTHING, OFF)))
    for number in range(1000):
        watcher.register_job(f"12_{number}")
    watcher.update()
    assert len(calls) == 2

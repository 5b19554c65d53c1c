"""slurm.sh.j2: asked of bash and read as sbatch reads it, not compared with a string."""

import shutil
import subprocess
from pathlib import Path

import pytest

from hpcsweep.errors import SpecError
from hpcsweep.render.environment import make_environment
from hpcsweep.render.job import render_job
from hpcsweep.schedulers.slurm.output import NO_JOB_FOLDER_EXIT
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import ArrayTask, JobSpec, Resources, RunSpec
from hpcsweep.spec.server import ServerConfig

HOSTILE = ["plain", "two words", "it's", 'a"b', "$(touch /tmp/pwned)", "`id`", "back\\slash", "new\nline", "#x", "*"]


def make_job(elements=1, sweep_dir="/home/u/sweeps/s-0001", **resources):
    def run(index):
        return RunSpec(
            run_id=f"s-0001/r{index}",
            label=f"r{index}",
            variant_id="v",
            axes={},
            server=ServerConfig(engine="vllm", model="m"),
            workloads=[],
            budgets=Budgets(),
            run_dir=f"{sweep_dir}/runs/r{index}",
            exports={"EXP_NAME": f"r{index}"},
        )

    return JobSpec(
        sweep="s-0001",
        job=0,
        sweep_dir=sweep_dir,
        name="s-0001-0",
        scheduler="slurm",
        resources=Resources(**resources),
        array_tasks=[ArrayTask(index=index, runs=[run(index)]) for index in range(elements)],
        cache_dir="/home/u/cache",
    )


def script(job=None, *, python="/usr/bin/python3", parallel=None, overrides=(), **profile):
    cluster = Cluster(scheduler="slurm", **profile)
    env = make_environment(overrides)
    return render_job(env, "slurm.sh.j2", job or make_job(), cluster, python=python, parallel=parallel).script


def directives(text):
    """Options as sbatch reads them: #SBATCH lines before the first line that is neither blank nor a comment."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#SBATCH "):
            name, _, value = line.removeprefix("#SBATCH ").partition("=")
            found[name] = value
        elif line.strip() and not line.startswith("#"):
            break
    return found


def test_a_single_job_says_all_that_slurm_needs():
    assert directives(script(partition="h200")) == {
        "--job-name": "s-0001-0",
        "--comment": "hpcsweep:/home/u/sweeps/s-0001/jobs/0",
        "--output": "/home/u/sweeps/s-0001/jobs/0/logs/0.log",
        "--open-mode": "append",
        "--nodes": "1",
        "--ntasks-per-node": "1",
        "--time": "01:00:00",
        "--partition": "h200",
        "--export": "NONE",
        "--no-requeue": "",
        "--signal": "B:USR1@120",
    }


OPTIONS = [
    pytest.param({"gpus": 8, "gpu_type": "h200"}, {}, "--gres", "gpu:h200:8", id="typed GPUs"),
    pytest.param({"gpus": 8}, {}, "--gres", "gpu:8", id="GPUs of any type"),
    pytest.param({"gpus": 4}, {"gpu_directive": "gpus-per-node"}, "--gpus-per-node", "4", id="the newer option"),
    pytest.param({"cpus": 16}, {}, "--cpus-per-task", "16", id="cpus"),
    pytest.param({"memory_bytes": 512 << 30}, {}, "--mem", "524288M", id="memory"),
    pytest.param({"memory_bytes": 1}, {}, "--mem", "1M", id="memory is rounded up: 0 would mean all of it"),
    pytest.param({"nodes": 2}, {}, "--nodes", "2", id="nodes"),
    pytest.param({"walltime_s": 90061}, {}, "--time", "25:01:01", id="more than a day"),
    pytest.param({}, {"account": "abc"}, "--account", "abc", id="account"),
    pytest.param({}, {"qos": "high"}, "--qos", "high", id="qos"),
    pytest.param({}, {"constraint": "h200&sxm"}, "--constraint", "h200&sxm", id="constraint"),
    pytest.param({}, {"reservation": "maint"}, "--reservation", "maint", id="reservation"),
    pytest.param({}, {"nodelist": "hopper-[01-04]"}, "--nodelist", "hopper-[01-04]", id="nodelist"),
    pytest.param({}, {"exclude": "hopper-03,hopper-04"}, "--exclude", "hopper-03,hopper-04", id="exclude"),
    pytest.param({}, {"exclusive": True}, "--exclusive", "", id="exclusive"),
    pytest.param({}, {"requeue": True}, "--requeue", "", id="requeue"),
    pytest.param({}, {"directives": ["--mail-type=END"]}, "--mail-type", "END", id="extra directive"),
    pytest.param({"walltime_s": 180}, {"signal_margin": "2m"}, "--signal", "B:USR1@60", id="margin of a short job"),
]  # fmt: skip


@pytest.mark.parametrize(("resources", "profile", "option", "value"), OPTIONS)
def test_each_option(resources, profile, option, value):
    assert directives(script(make_job(**resources), **profile))[option] == value


def test_no_margin_no_signal():
    assert "--signal" not in directives(script(signal_margin=0))


def test_requeue_is_always_decided():
    assert "--no-requeue" in directives(script())
    assert "--no-requeue" not in directives(script(requeue=True))


def test_an_array():
    found = directives(script(make_job(12), parallel=4))
    assert found["--array"] == "0-11%4"
    assert found["--output"].endswith("/logs/%a.log")
    assert directives(script(make_job(12)))["--array"] == "0-11"
    assert "--array" not in directives(script(make_job(1), parallel=4))


def test_a_percent_sign_in_the_home_is_not_a_pattern_of_slurm():
    found = directives(script(make_job(sweep_dir="/home/u/50%j/s-0001")))
    assert found["--output"] == "/home/u/50%%j/s-0001/jobs/0/logs/0.log"
    assert found["--comment"] == "hpcsweep:/home/u/50%j/s-0001/jobs/0"


@pytest.mark.parametrize("name", ["two words", "a;b", "a$b", 'a"b', "a'b", "a\nb", "a#b", "a`b", "a\\b"])
def test_a_home_that_a_directive_cannot_hold_is_refused_with_its_name(name):
    with pytest.raises(SpecError, match="cannot be used in a directive line") as caught:
        script(make_job(sweep_dir=f"/home/{name}/s-0001"))
    assert "HPCSWEEP_HOME" in caught.value.hint


@pytest.mark.parametrize("key", ["partition", "account", "qos", "constraint", "reservation", "nodelist", "exclude"])
@pytest.mark.parametrize("value", ["a b", "a\n#SBATCH --wrap=id", "$(id)", "a;b", "'", '"', "-x", ""])
def test_profile_values_never_add_a_directive(key, value):
    with pytest.raises(ValueError):
        Cluster(scheduler="slurm", **{key: value})


def run_script(text, tmp_path, job, **environment):
    """The script with an agent that only says what it was called with."""
    agent = tmp_path / "agent"
    agent.write_text('#!/bin/bash\nprintf "%s\\0" "$$" "$PPID" "$@"; env -0\n')
    agent.chmod(0o755)
    path = tmp_path / "job.sh"
    path.write_text(text)
    job_dir = Path(job.sweep_dir) / "jobs" / "0"
    job_dir.mkdir(parents=True, exist_ok=True)
    (job_dir / "job.json").touch()
    done = subprocess.run(
        ["bash", str(path)], capture_output=True, env={"PATH": "/usr/bin:/bin", **environment}, check=True
    )
    return done.stdout.decode().split("\0")


def test_bash_starts_the_agent_of_the_element(tmp_path):
    job = make_job(4, sweep_dir=str(tmp_path / "s-0001"))
    text = script(job, python=str(tmp_path / "agent"))
    words = run_script(text, tmp_path, job, SLURM_ARRAY_TASK_ID="3")
    assert words[2:7] == ["-m", "hpcsweep.node.agent", f"{tmp_path}/s-0001/jobs/0", "--index", "3"]


@pytest.mark.parametrize("value", HOSTILE)
def test_bash_gets_back_the_very_value(value, tmp_path):
    job = make_job(sweep_dir=str(tmp_path / "s-0001"))
    text = script(job, python=str(tmp_path / "agent"), env={"VALUE": value})
    assert f"VALUE={value}" in run_script(text, tmp_path, job)
    assert not (tmp_path / "pwned").exists()


def test_a_job_folder_that_is_not_on_the_node_has_an_exit_code_of_its_own(tmp_path):
    path = tmp_path / "job.sh"
    path.write_text(script(make_job(sweep_dir="/nowhere"), python="/bin/true"))
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True)
    assert done.returncode == NO_JOB_FOLDER_EXIT
    assert "/nowhere/jobs/0 is not on" in done.stderr and "HPCSWEEP_HOME" in done.stderr


def test_setup_lines_run_before_the_agent_and_an_inherited_export_none_is_undone(tmp_path):
    job = make_job(sweep_dir=str(tmp_path / "s-0001"))
    text = script(job, python=str(tmp_path / "agent"), setup=["FROM_SETUP=yes; export FROM_SETUP"])
    words = run_script(text, tmp_path, job, SLURM_EXPORT_ENV="NONE")
    assert "FROM_SETUP=yes" in words
    assert not [word for word in words if word.startswith("SLURM_EXPORT_ENV")]


def test_a_user_overrides_a_block(tmp_path):
    (tmp_path / "slurm.sh.j2").write_text(
        '{% extends "slurm.sh.j2" %}{% block setup %}module load cuda\n{% endblock %}'
        "{% block resources %}{{ super() }}#SBATCH --hint=nomultithread\n{% endblock %}"
    )
    text = script(overrides=[tmp_path])
    assert "\nmodule load cuda\n" in text
    assert directives(text)["--hint"] == "nomultithread"
    assert directives(text)["--export"] == "NONE"


@pytest.mark.parametrize("elements", [1, 12])
def test_bash_and_shellcheck_find_nothing(elements, tmp_path):
    path = tmp_path / "job.sh"
    job = make_job(elements, gpus=8, gpu_type="h200", cpus=4, memory_bytes=1 << 30)
    path.write_text(
        script(job, parallel=4, partition="h200", env={"A": "b c"}, setup=["module load x"], exclusive=True)
    )
    subprocess.run(["bash", "-n", str(path)], check=True)
    if shutil.which("shellcheck"):
        # SC1090: the element's environment file is named at run time.
        done = subprocess.run(["shellcheck", "-e", "SC1090", str(path)], capture_output=True, text=True)
        assert done.stdout == ""


def test_it_reads_well():
    text = script(make_job(12), parallel=4, partition="h200")
    assert text.startswith("#!/bin/bash\n#SBATCH ")
    assert "SLURM_ARRAY_TASK_ID=0 bash job.sh" in text
    assert max(map(len, text.splitlines())) <= 120

"""job.sh is asked of bash, not of the string."""

import json
import subprocess
from pathlib import Path

import pytest

from hpcsweep.errors import SpecError, TemplateError
from hpcsweep.plan.grid import Selection, expand
from hpcsweep.plan.jobs import Packing, pack_jobs
from hpcsweep.plan.runs import plan_runs
from hpcsweep.render.environment import make_environment, render
from hpcsweep.render.job import render_job
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.job import JobSpec
from hpcsweep.spec.workload import DatasetFacts

HOSTILE = [
    "plain",
    "two words",
    "it's",
    'a"b',
    "$(id)",
    "`id`",
    "back\\slash",
    "new\nline",
    "a;b&c|d",
    "é",
    "*",
    "~",
    "#x",
]


def one_job(value="x", sweep_dir="/h/sweeps/e-0001", runs=1):
    experiment = Experiment.model_validate(
        {
            "name": "e",
            "model": "m",
            "axes": {"model": [value, *(f"m{i}" for i in range(runs - 1))]},
            "workloads": {"w": {"dataset": {"kind": "samples"}}},
        }
    )
    grid = expand(experiment, Selection())
    planned = plan_runs(experiment, grid, {"w": DatasetFacts(requests=1)}, lambda server: [])
    (job,) = pack_jobs(experiment, planned, Cluster(), Packing("e-0001", sweep_dir, "/h/cache"))
    return job


def write(folder: Path, job: JobSpec, cluster=None, template="local.sh.j2", overrides=()):
    cluster = cluster or Cluster()
    rendered = render_job(make_environment(overrides), template, job, cluster, python="/usr/bin/env")
    (folder / "tasks").mkdir(parents=True)
    for name, text in rendered.files.items():
        (folder / name).write_text(text)
    return rendered


def run_script(rendered, folder: Path, variable: str) -> str:
    """What the job's shell has in `variable` just before the agent starts."""
    script = rendered.script.replace("exec /usr/bin/env -m hpcsweep.node.agent", "exec printenv " + variable + "; #")
    done = subprocess.run(["bash"], input=script, text=True, capture_output=True, check=True, cwd=folder)
    return done.stdout.removesuffix("\n")


@pytest.mark.parametrize("value", HOSTILE)
def test_bash_gets_back_the_very_axis_value(value, tmp_path):
    folder = tmp_path / "sweeps" / "e-0001" / "jobs" / "0"
    rendered = write(folder, one_job(value, str(tmp_path / "sweeps" / "e-0001")))
    assert run_script(rendered, folder, "HPCSWEEP_AXIS_MODEL") == value


@pytest.mark.parametrize("value", HOSTILE)
def test_bash_gets_back_the_very_environment_of_the_profile(value, tmp_path):
    rendered = write(tmp_path / "jobs" / "0", one_job(sweep_dir=str(tmp_path)), Cluster(env={"V": value}))
    assert run_script(rendered, tmp_path, "V") == value


@pytest.mark.parametrize("name", ["a'; echo foo", 'a"=0"', "with space", "dollar$HOME", "new\nline"])
def test_a_home_folder_of_any_name(name, tmp_path):
    sweep_dir = tmp_path / name / "sweeps" / "e-0001"
    rendered = write(sweep_dir / "jobs" / "0", one_job(sweep_dir=str(sweep_dir)))
    assert run_script(rendered, tmp_path, "HPCSWEEP_JOB_DIR") == str(sweep_dir / "jobs" / "0")


def test_an_index_given_by_hand_wins(tmp_path):
    sweep_dir = tmp_path / "sweeps" / "e-0001"
    folder = sweep_dir / "jobs" / "0"
    rendered = write(folder, one_job(sweep_dir=str(sweep_dir), runs=3))
    script = rendered.script.replace("exec /usr/bin/env -m hpcsweep.node.agent", "exec printenv HPCSWEEP_AXIS_MODEL; #")
    done = subprocess.run(
        ["bash"],
        input=script,
        text=True,
        capture_output=True,
        env={"HPCSWEEP_ARRAY_INDEX": "2", "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout == "m1\n"


def test_job_json_reads_back(tmp_path):
    job = one_job("it's")
    rendered = write(tmp_path / "j", job)
    assert JobSpec.model_validate(json.loads(rendered.files["job.json"])) == job


def test_a_user_overrides_one_block_by_the_plain_name(tmp_path):
    own = tmp_path / "templates"
    own.mkdir()
    (own / "local.sh.j2").write_text('{% extends "local.sh.j2" %}{% block setup %}module load cuda{% endblock %}')
    rendered = write(tmp_path / "j", one_job(), overrides=[own])
    assert "module load cuda" in rendered.script and "hpcsweep.node.agent" in rendered.script


def test_an_unknown_name_lists_what_a_template_may_use(tmp_path):
    (tmp_path / "x.j2").write_text("line\n{{ cluster.nme }}")
    with pytest.raises(TemplateError, match=r"x\.j2.*nme") as caught:
        render(make_environment([tmp_path]), "x.j2", cluster=Cluster())
    assert "cluster" in caught.value.hint


def test_a_syntax_error_names_the_line(tmp_path):
    (tmp_path / "x.j2").write_text("line\n{% if %}")
    with pytest.raises(TemplateError, match=r"x\.j2, line 2"):
        render(make_environment([tmp_path]), "x.j2")


def test_a_missing_template_lists_the_shipped_ones():
    with pytest.raises(TemplateError, match="nosuch") as caught:
        render(make_environment(), "nosuch.sh.j2")
    assert "local.sh.j2" in caught.value.hint


def test_directives_are_refused_when_they_could_be_more_than_a_value(tmp_path):
    (tmp_path / "x.j2").write_text("#SBATCH --output={{ path | directive }}")
    env = make_environment([tmp_path])
    assert render(env, "x.j2", path="/a/b/%A_%a.log").endswith("%A_%a.log")
    for value in HOSTILE[1:-1]:
        if value in ("é", "*", "a;b&c|d"):
            continue
        with pytest.raises(SpecError, match="directive"):
            render(env, "x.j2", path=value)


@pytest.mark.parametrize("name", ["local.sh.j2", "slurm.sh.j2", "pbs.sh.j2"])
def test_every_job_script_that_ships_is_bash(name, tmp_path):
    rendered = write(tmp_path / name, one_job(runs=3), template=name)
    subprocess.run(["bash", "-n"], input=rendered.script, text=True, check=True)

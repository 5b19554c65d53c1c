"""The study's own commands, `qsub -v ... experiments/exp_runner.pbs`, without `hpcsweep submit`, on the fake PBS."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli import Cli
from pbs_fixture import FakePbs, wait_until
from pbs_sweeps import FAST, PROFILE, SLOW

import hpcsweep.experiments

SHIPPED = Path(hpcsweep.experiments.__file__).parent
STUDY = "EXP_NAME=1B_no_eager,ENFORCE_EAGER=no,ENABLE_EP=yes,MAX_MODEL_LEN=32768"


class Project:
    """A folder in which a user works: hpcsweep.yaml, experiments/, and qsub."""

    def __init__(self, pbs: FakePbs, folder: Path) -> None:
        self.pbs, self.folder = pbs, folder
        self.cli = Cli(folder, {"COLUMNS": "250", "FAKE_PBS_DIR": str(pbs.folder), "FAKE_PBS_USER": "hpcuser"})
        self.profile(scheduler="pbs", queue="gpuq", simulate="always")
        (folder / "experiments").mkdir()
        for name in ("exp_runner.pbs", "exp_runner.slurm"):
            (folder / "experiments" / name).write_bytes((SHIPPED / name).read_bytes())

    def profile(self, **profile: object) -> None:
        (self.folder / "hpcsweep.yaml").write_text(json.dumps({"clusters": {"pbs-test": profile}}))

    def study(self, *, slow: bool = False) -> None:
        """A small experiment of the same name in ./experiments, in place of the one that ships."""
        rows = [{"id": f"s{i}", "prompt": "word " * 20, "max_tokens": 500 if slow else 20} for i in range(2)]
        (self.folder / "experiments/samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (self.folder / "experiments/engine.yaml").write_text(PROFILE.replace(FAST, SLOW) if slow else PROFILE)
        experiment = {
            "model": "some/model",
            "axes": {"ep": ["on", "off"], "eager": ["yes", "no"], "len": ["8k", "32k"]},
            "baseline": {"len": "32k"},
            "workloads": {"w": {"dataset": {"kind": "samples", "path": "samples.jsonl"}, "endpoint": "completions"}},
            "resources": {"gpus": 8},
            "budgets": {"startup": "5m", "stall": "4m", "walltime_margin": "5s", "teardown": "3s"},
            "simulated": {"profile": "engine.yaml", "time_scale": 1},
        }
        (self.folder / "experiments/exp_runner.yaml").write_text(json.dumps(experiment))

    def qsub(self, variables: str, *options: str) -> str:
        """Number of the job of the study's command."""
        script = "experiments/exp_runner.pbs"
        command = f"cd {self.folder} && qsub {shlex.join(options)} -v {shlex.quote(variables)} {script}"
        return self.pbs.out(command).partition(".")[0].rstrip("[]")

    def log(self, number: str) -> str:
        return "".join(path.read_text() for path in self.folder.glob(f"exp_runner.o{number}*"))

    def ended(self, number: str, **limits: float) -> None:
        self.pbs.wait_for(number, "F", **limits)

    def sweeps(self) -> dict[str, dict[str, dict]]:
        return {
            sweep["name"]: {run["run"]: run for run in sweep["runs"]} for sweep in self.cli.json("status")["sweeps"]
        }

    def wait(self, condition, timeout_s=60.0):
        return wait_until(lambda: (found := self.sweeps()) and condition(found) and found, timeout_s)


@pytest.fixture
def project(pbs: FakePbs, tmp_path: Path):
    (tmp_path / "work").mkdir()
    made = Project(pbs, tmp_path / "work")
    yield made
    pbs.admin("up")
    pbs.admin("stop-all")


def test_the_studys_own_command_unchanged(project):
    """The experiment that ships, in its simulated form; nothing but qsub is called before status and report."""
    number = project.qsub(STUDY.replace("ENFORCE_EAGER=no", "ENFORCE_EAGER=yes").replace("1B_no_eager", "1A"))
    project.ended(number, timeout_s=110)
    ((name, runs),) = project.sweeps().items()
    assert name == f"exp_runner-job{number}.pbshost"
    run = runs["1A"]
    assert (run["outcome"], run["job"], run["attempt"]) == ("completed", f"{number}.pbshost", 1)
    assert run["axes"] == {"ep": "on", "eager": "yes", "len": "32k"}
    report = project.cli.run("report", "--format", "markdown").stdout
    assert f"job {number}.pbshost; outcome: completed" in report and "SIMULATED" in report
    assert (project.folder / f".hpcsweep/sweeps/{name}/jobs/0/job.sh").read_text().count("hpcsweep-node --exp") == 1


def test_state_and_walltime_come_from_scheduler_and_script(project):
    project.study(slow=True)
    number = project.qsub(STUDY)
    runs = project.wait(lambda sweeps: any(r["phase"] == "measure" for runs in sweeps.values() for r in runs.values()))
    (run,) = next(iter(runs.values())).values()
    assert (run["run"], run["state"], run["axes"]["eager"]) == ("1B_no_eager", "running", "no")
    job = json.loads(next((project.folder / ".hpcsweep/sweeps").glob("*/jobs/0/job.json")).read_text())
    assert (job["resources"]["walltime_s"], job["resources"]["gpus"]) == (14400, 8)
    told = project.cli.run("cancel").stdout
    assert "cancelled 1 run" in told
    project.ended(number)
    (run,) = next(iter(project.sweeps().values())).values()
    assert run["outcome"] == "cancelled"
    for path in (project.folder / ".hpcsweep/sweeps").glob("*/data/simulated-*"):
        path.write_text(path.read_text().replace(SLOW, "decode_tps: 10000"))
    assert "1 run again" in project.cli.run("retry").stdout
    project.ended(str(int(number) + 1))
    (run,) = next(iter(project.sweeps().values())).values()
    assert (run["outcome"], run["attempt"], run["job"]) == ("completed", 2, f"{int(number) + 1}.pbshost")


def test_several_at_once_share_a_sweep(project):
    project.study()
    variants = ["1A,ENFORCE_EAGER=yes", "1B,ENFORCE_EAGER=no", "2B,ENABLE_EP=no", "3A,MAX_MODEL_LEN=8k", "1A2"]
    numbers = [project.qsub(f"HPCSWEEP_SWEEP=study,EXP_NAME={variant}") for variant in variants]
    numbers.append(project.qsub("HPCSWEEP_SWEEP=study,EXP_NAME=1A"))
    for number in numbers:
        project.ended(number)
    runs = project.sweeps()["study"]
    assert set(runs) == {"1A", "1B", "2B", "3A", "1A2", "1A_rep-2"} or len(runs) == 6
    assert {run["outcome"] for run in runs.values()} == {"completed"}
    assert {run["job"] for run in runs.values()} == {f"{number}.pbshost" for number in numbers}
    repeats = sorted(run["repeat"] for run in runs.values() if run["axes"] == runs["1A"]["axes"])
    assert repeats == [1, 2, 3]
    assert not list((project.folder / ".hpcsweep/sweeps").glob(".*.join*"))
    project.cli.run("report", "study")


def test_an_array_is_one_sweep_and_its_subjobs_are_repeats(project):
    project.study()
    number = project.qsub("EXP_NAME=1A", "-J", "1-3")
    project.ended(number)
    ((name, runs),) = project.sweeps().items()
    assert name == f"exp_runner-job{number}.pbshost"
    assert sorted(run["job"] for run in runs.values()) == [f"{number}[{index}].pbshost" for index in (1, 2, 3)]
    assert {run["outcome"] for run in runs.values()} == {"completed"}
    assert sorted(run["repeat"] for run in runs.values()) == [1, 2, 3]


def test_one_job_executes_several_variants(project):
    project.study()
    script = project.folder / "experiments/exp_runner.pbs"
    head = script.read_text().partition("\nexec ")[0]
    loop = "for ENFORCE_EAGER in yes no; do\n  export ENFORCE_EAGER\n  hpcsweep-node --experiment exp_runner\ndone\n"
    script.write_text(f"{head}\n{loop}")
    number = project.qsub("MAX_MODEL_LEN=8k")
    project.ended(number)
    ((_, runs),) = project.sweeps().items()
    assert sorted(runs) == ["ep-on_eager-no_len-8k", "ep-on_eager-yes_len-8k"]
    assert {(run["outcome"], run["job"]) for run in runs.values()} == {("completed", f"{number}.pbshost")}


def test_a_cancelled_array_starts_no_further_subjob(project):
    project.study(slow=True)
    number = project.qsub("EXP_NAME=1A", "-J", "1-3%1")
    project.wait(lambda sweeps: any(r["phase"] == "measure" for runs in sweeps.values() for r in runs.values()))
    project.cli.run("cancel")
    project.ended(number)
    ((_, runs),) = project.sweeps().items()
    assert [run["outcome"] for run in runs.values()] == ["cancelled"]


def test_a_requeued_job_finds_its_place_again(project):
    project.study(slow=True)
    number = project.qsub(STUDY)
    project.wait(lambda sweeps: any(r["phase"] == "measure" for runs in sweeps.values() for r in runs.values()))
    for path in (project.folder / ".hpcsweep/sweeps").glob("*/data/simulated-*"):
        path.write_text(path.read_text().replace(SLOW, "decode_tps: 10000"))
    project.pbs.out(f"qrerun {number}", operator=True)
    sweeps = project.wait(
        lambda sweeps: all(r["outcome"] == "completed" for rs in sweeps.values() for r in rs.values())
    )
    ((_, runs),) = sweeps.items()
    assert [(run["run"], run["attempt"]) for run in runs.values()] == [("1B_no_eager", 2)]


BAD = [
    pytest.param("EXP_NAME=x,ENFORCE_EAGER=perhaps", "ENFORCE_EAGER=perhaps", id="value"),
    pytest.param("EXP_NAME=x,MAX_MODEL_LEN=-5", "MAX_MODEL_LEN=-5", id="number"),
    pytest.param("EXP_NAME=x,ENFORCE_EAGRE=no", "did you mean ENFORCE_EAGER?", id="misspelt"),
    pytest.param("EXP_NAME=x,HPCSWEEP_AXIS_LENGTH=8k", "has no such axis", id="axis"),
    pytest.param("EXP_NAME=x,ENABLE_EP=yes,HPCSWEEP_AXIS_EP=off", "contradicts", id="contradiction"),
]


@pytest.mark.parametrize(("variables", "words"), BAD)
def test_what_cannot_be_run_is_a_recorded_failure(project, variables, words):
    project.study()
    number = project.qsub(variables)
    project.ended(number)
    assert words in project.log(number)
    assert project.pbs.attributes(number)["Exit_status"] == "1"
    ((_, runs),) = project.sweeps().items()
    run = runs["x"]
    assert (run["state"], run["outcome"]) == ("finished", "failed")
    assert words in run["reason"] and f"job {number}.pbshost" in run["reason"]
    assert words.partition("=")[0] in project.cli.run("report", "--format", "markdown").stdout
    assert "nothing to retry" in project.cli.run("retry", code=1).stderr
    project.cli.run("cancel")


def test_an_experiment_that_is_not_there_leaves_nothing_behind(project):
    script = project.folder / "experiments/exp_runner.pbs"
    script.write_text(script.read_text().replace("--experiment exp_runner", "--experiment exp_runer"))
    number = project.qsub("EXP_NAME=x")
    project.ended(number)
    assert "unknown experiment 'exp_runer'" in project.log(number)
    assert "no sweeps in" in project.cli.run("status").stdout
    assert not (project.folder / ".hpcsweep/sweeps").exists()


def test_a_sweep_of_another_experiment_is_not_joined(project):
    project.study()
    first = project.qsub("HPCSWEEP_SWEEP=mine,EXP_NAME=a")
    project.ended(first)
    project.study(slow=True)
    path = project.folder / "experiments/exp_runner.yaml"
    path.write_text(path.read_text().replace('"gpus": 8', '"gpus": 4'))
    second = project.qsub("HPCSWEEP_SWEEP=mine,EXP_NAME=b")
    project.ended(second)
    assert "belongs to another experiment" in project.log(second)
    assert list(project.sweeps()["mine"]) == ["a"]


def test_the_same_script_by_hpcsweep_submit(project):
    """The folder of the planned job is in its environment, so it plans nothing itself."""
    project.study()
    args = ("--set", "ep=on", "--set", "eager=yes", "--script", "experiments/exp_runner.pbs", "--cluster", "pbs-test")
    project.cli.run("submit", "exp_runner", *args)
    sweeps = project.wait(lambda sweeps: all(r["state"] == "finished" for rs in sweeps.values() for r in rs.values()))
    assert list(sweeps) == ["exp_runner-0001"]
    assert {run["outcome"] for run in sweeps["exp_runner-0001"].values()} == {"completed"}


def test_started_manually(project):
    project.study()
    env = project.cli.environment() | {"ENFORCE_EAGER": "no", "EXP_NAME": "mine"}
    argv = [sys.executable, "-m", "hpcsweep.node.agent", "--experiment", "exp_runner"]
    for _ in range(2):
        subprocess.run(argv, cwd=project.folder, env=env, timeout=100, check=True, capture_output=True)
    sweeps = project.sweeps()
    assert sorted(sweeps) == ["exp_runner-0001", "exp_runner-0002"]
    assert [run["outcome"] for runs in sweeps.values() for run in runs.values()] == ["completed"] * 2


def test_a_run_that_was_started_manually_is_not_cancelled(project):
    project.study(slow=True)
    argv = [sys.executable, "-m", "hpcsweep.node.agent", "--experiment", "exp_runner"]
    agent = subprocess.Popen(argv, cwd=project.folder, env=project.cli.environment(), stderr=subprocess.DEVNULL)
    try:
        project.wait(lambda sweeps: all(r["phase"] == "measure" for rs in sweeps.values() for r in rs.values()))
        ((_, runs),) = project.sweeps().items()
        assert {run["state"] for run in runs.values()} == {"running"}
        refused = project.cli.run("cancel", code=1).stderr
        assert f"(process {agent.pid} on " in refused and "was started manually" in refused
    finally:
        agent.terminate()
        agent.wait(timeout=60)
    ((_, runs),) = project.sweeps().items()
    assert [run["outcome"] for run in runs.values()] == ["cancelled"]

"""report, compare and export as a user runs them, over folders as submit and the agents leave them."""

import json
import subprocess

import pytest
from click.testing import CliRunner
from sweep_folders import finish, make_sweep

from hpcsweep.cli.main import main

FIRST, SECOND = "exp_runner-0001", "exp_runner-0002"


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    for name in (FIRST, SECOND):
        finish(make_sweep(folder, name, samples=8, scheduler="local"), samples=8)
    return folder


@pytest.fixture
def run(home):
    def invoke(*args, code=0):
        result = CliRunner().invoke(main, ["--home", str(home), *args], env={"COLUMNS": "200", "HPCSWEEP_STORE": ""})
        assert result.exit_code == code, result.output
        return result

    return invoke


def test_report_on_the_terminal_is_the_latest_sweep(run):
    text = run("report").stdout
    assert f"{SECOND} · cluster" in text
    assert "4 runs: 4 completed" in text
    assert "\x1b" not in text


def test_report_json_has_outcome_phases_facts_and_samples(run):
    document = json.loads(run("report", FIRST, "--format", "json").stdout)
    first = document["runs"][0]
    assert (first["run"], first["outcome"]) == ("ep-on_eager-yes", "completed")
    assert first["phases"]["load_weights"] == pytest.approx(155.0)
    assert first["facts"]["load_s"]["value"] == 155.0
    work = first["workloads"]["8k"]
    assert len(work["samples"]) == 8
    assert work["metrics"]["ttft_s"]["warm"]["n"] == 7
    assert work["validity"]["status"] == "valid"


def test_report_into_a_file_by_its_ending(run, tmp_path):
    for ending, beginning in ((".md", "# "), (".json", "{"), (".csv", "sweep,run,")):
        target = tmp_path / f"report{ending}"
        assert run("report", "-o", str(target)).stdout == ""
        assert target.read_text().startswith(beginning)
    assert list(tmp_path.glob(".*.part")) == []


BAD = [  # (arguments, exit code, text of the error)
    pytest.param(("report", "exp_runner-0009"), 1, "the store has no sweep 'exp_runner-0009'", id="unknown sweep"),
    pytest.param(("report", "--format", "jsonn"), 1, "did you mean 'json'?", id="unknown format"),
    pytest.param(("report", "-o", "x.unknown"), 2, "no report format has the ending of x.unknown", id="unknown ending"),
    pytest.param(("report", "-o", "/nonexistent/x.md"), 1, "cannot write /nonexistent/x.md", id="no such folder"),
    pytest.param(("export", "E77"), 1, "has no variant 'E77'", id="unknown variant"),
    pytest.param(("export", "best", "--to", "docker"), 2, "'docker' is not one of", id="unknown kind"),
    pytest.param(("export", "best", "--walltime", "soon"), 2, "'soon' is not a duration", id="bad walltime"),
    pytest.param(("compare", FIRST, "nope"), 1, "the store has no sweep 'nope'", id="compare with nothing"),
    pytest.param(("compare", FIRST, SECOND, "--metric", "speed"), 2, "'speed' is not one of", id="unknown metric"),
]


@pytest.mark.parametrize(("args", "code", "text"), BAD)
def test_bad_input_is_a_short_error(run, args, code, text):
    result = run(*args, code=code)
    assert text in result.stderr
    assert len(result.stderr.splitlines()) <= 5
    assert result.stdout == ""


def test_no_sweep_at_all(tmp_path):
    result = CliRunner().invoke(main, ["--home", str(tmp_path), "report"], env={"HPCSWEEP_STORE": ""})
    assert result.exit_code == 1
    assert "holds no sweep yet" in result.stderr


def test_compare_equal_sweeps(run):
    assert "No regression in exp_runner-0002" in run("compare", FIRST, SECOND).stdout
    document = json.loads(run("compare", FIRST, SECOND, "--json").stdout)
    assert (document["schema"], document["regressions"], len(document["pairs"])) == ("hpcsweep.comparison/1", [], 4)


def test_compare_a_lost_variant_exits_with_3(run, home):
    worse = make_sweep(home, "exp_runner-0003", samples=8, scheduler="local", submitted_at=1_790_001_000.0)
    finish(worse, samples=8)
    lines = worse.lines(worse.labels[0]).started().startup()
    worse.write(worse.labels[0], lines.ended("crashed", phase="measure", reason="it died"), end="crashed")
    result = run("compare", FIRST, "exp_runner-0003", code=3)
    assert "completed before, now crashed" in result.stdout
    assert run("compare", "exp_runner-0003", FIRST).exit_code == 0


@pytest.mark.parametrize("kind", ["command", "slurm", "pbs", "yaml"])
def test_export_best(run, kind, tmp_path):
    text = run("export", "best", FIRST, "--to", kind).stdout
    assert "zai-org/GLM-4.6" in text
    if kind != "yaml":
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    target = tmp_path / "out"
    run("export", "best", FIRST, "--to", kind, "-o", str(target))
    assert target.read_text() == text


def test_export_keeps_the_resources_of_the_job(run):
    text = run("export", "E01", FIRST, "--to", "slurm", "--walltime", "2d").stdout
    assert "#SBATCH --gres=gpu:h200:8" in text
    assert "#SBATCH --time=48:00:00" in text

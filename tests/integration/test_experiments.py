"""Every experiment that ships: planned and rendered for each scheduler, and run on the simulated engine."""

import re
import subprocess
from pathlib import Path

import pytest
from cli import Cli

from hpcsweep.plan.grid import Selection
from hpcsweep.sweep.inputs import shipped_dir, shipped_experiments
from hpcsweep.sweep.prepare import Request, prepare, render_sweep

CLUSTERS = """\
clusters:
  slurm: {scheduler: slurm, partition: gpu, account: lab, parallel: 4, simulate: always}
  pbs: {scheduler: pbs, queue: gpuq, account: lab, gpu_resource: gpu_type, simulate: always}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hpcsweep.yaml").write_text(CLUSTERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPCSWEEP_CONFIG", raising=False)
    return tmp_path


@pytest.mark.parametrize("template", ["slurm", "pbs", "local"])
@pytest.mark.parametrize("name", shipped_experiments())
def test_it_is_planned_and_rendered(name: str, template: str, folder: Path) -> None:
    prepared = prepare(Request(name, template))
    rendered = render_sweep(prepared, f"{name}-0001", f"{folder}/s", f"{folder}/c", f"{template}.sh.j2")
    assert any(run.refused is None for run in prepared.runs)
    assert sum(len(e.runs) for job in rendered.jobs for e in job.array_tasks) == sum(
        run.refused is None for run in prepared.runs
    )
    for files in rendered.files:
        subprocess.run(["bash", "-n"], input=files.script, text=True, check=True)


@pytest.mark.parametrize("name", [name for name in shipped_experiments() if name != "exp_runner"])
@pytest.mark.timeout(400)
def test_its_baseline_runs_on_the_simulated_engine(name: str, folder: Path) -> None:
    """One point of each, with fewer requests, played faster; exp_runner runs whole in the demo and on schedulers."""
    text = (shipped_dir() / f"{name}.yaml").read_text()
    faster = re.sub(r"time_scale: (\d+)", lambda match: f"time_scale: {5 * int(match[1])}", text)
    faster = re.sub(r"requests: (\d+)", lambda match: f"requests: {min(64, int(match[1]))}", faster)
    (folder / "faster.yaml").write_text(faster)
    (folder / "hpcsweep.yaml").write_text("clusters: {here: {scheduler: local, simulate: always}}")
    cli = Cli(folder)
    plan = cli.json("submit", "faster.yaml", "--cluster", "here", "--dry-run")
    first = next(run for run in plan["runs"] if run["outcome"] is None)
    fixed = [word for axis, level in first["axes"].items() for word in ("--set", f"{axis}={level}")]
    cli.run("submit", "faster.yaml", "--cluster", "here", *fixed, "--wait", timeout=380)
    (run,) = cli.runs().values()
    assert (run["outcome"], run["simulated"]) == ("completed", True)
    assert run["samples_done"] == run["samples_total"] > 0
    assert "SIMULATED" in cli.run("report", "--format", "markdown").stdout


def test_old_names_are_warnings_of_submit(folder: Path) -> None:
    """Each is shown once; old names in the file and on the command line give the plan of the new ones."""
    text = (shipped_dir() / "cpu_smoke.yaml").read_text()
    old = text.replace("engine_args:", "serve:").replace("walltime_margin:", "margin:")
    assert old != text
    for name, content in (("new", text), ("old", old)):
        (folder / f"{name}.yaml").write_text(content)
    (folder / "samples").symlink_to(shipped_dir() / "samples")
    (folder / "simulated").symlink_to(shipped_dir() / "simulated")
    was = prepare(Request(str(folder / "old.yaml"), "slurm", Selection(fix={"seqs": "64"})))
    now = prepare(Request(str(folder / "new.yaml"), "slurm", Selection(fix={"max_num_seqs": "64"})))
    notes = [warning for warning in was.warnings if "deprecated" in warning]
    assert notes == [
        "`serve` is deprecated; use `engine_args`",
        "`margin` is deprecated; use `walltime_margin`",
        "`seqs` is deprecated; use `max_num_seqs`",
    ]
    assert list(now.warnings) == [warning for warning in was.warnings if warning not in notes]
    assert [run.label for run in was.runs] == [run.label for run in now.runs]

"""`hpcsweep adopt`: what it prints is accepted by `submit --dry-run` unchanged."""

import json
from pathlib import Path

import pytest
from cli import Cli

SCRIPTS = sorted((Path(__file__).parents[1] / "transcripts" / "job-scripts").iterdir())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_what_is_printed_can_be_submitted(script, tmp_path):
    cli = Cli(tmp_path, {"COLUMNS": "250", "MODEL_DIR": "/models"})
    printed = cli.run("adopt", str(script)).stdout
    (tmp_path / "printed.yaml").write_text(printed)
    plan = cli.json("submit", "printed.yaml", "--dry-run")
    assert plan["runs"] and all(not run["planned_only"] for run in plan["runs"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_template_carries_the_scripts_own_directives(script, tmp_path):
    scheduler = script.suffix.removeprefix(".")
    profile = {"clusters": {"site": {"scheduler": scheduler, "simulate": "always"}}}
    (tmp_path / "hpcsweep.yaml").write_text(json.dumps(profile))
    cli = Cli(tmp_path, {"COLUMNS": "250", "MODEL_DIR": "/models"})
    written = cli.run("adopt", str(script), "-o", "adopted").stdout.splitlines()
    assert written[1] == f"adopted/templates/{scheduler}.sh.j2"
    args = ("submit", written[0], "--cluster", "site", "--template-dir", "adopted/templates", "--dry-run")
    plan = cli.json(*args)
    job = plan["jobs"][0]["script"]
    assert any("your own template has to" in warning for warning in plan["warnings"]) == (script.stem == "h200-study")
    kept = [line for line in script.read_text().splitlines() if line.startswith(("#PBS -A", "#PBS -q", "#PBS -l sel"))]
    assert all(line in job for line in kept)
    assert "\nexec " in job and "hpcsweep.node.agent" in job
    assert "file exists" in cli.run("adopt", str(script), "-o", "adopted", code=1).stderr

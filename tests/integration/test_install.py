"""The wheel holds the templates, the experiments and their data, and the command works from it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the wheel was installed, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    subprocess.run(["git", "-C", ROOT, "checkout-index", "-a", f"--prefix={source}/"], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("hpcsweep-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True, capture_output=True)
    return folder / "site"


def run(installed, tmp_path, code):
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_code_is_that_of_the_wheel(installed, tmp_path):
    assert run(installed, tmp_path, "import hpcsweep; print(hpcsweep.__file__)").startswith(str(installed))


def test_the_types_of_the_public_functions_are_in_it(installed):
    assert {"py.typed", "__init__.pyi"} <= {path.name for path in (installed / "hpcsweep").iterdir()}


def test_templates_experiments_and_migrations_are_in_it(installed, tmp_path):
    names = "from hpcsweep.sweep.inputs import shipped_experiments as e\n"
    names += "from hpcsweep.render.environment import shipped_templates as t\nprint(*e(), *t())"
    assert {"exp_runner", "slurm.sh.j2", "pbs.sh.j2", "local.sh.j2"} <= set(run(installed, tmp_path, names).split())


def test_the_scripts_for_plain_jobs_are_in_it(installed, tmp_path):
    code = "from hpcsweep.sweep.inputs import shipped_dir as d; print(*sorted(p.name for p in d().glob('*.[ps]*')))"
    assert {"exp_runner.pbs", "exp_runner.slurm"} <= set(run(installed, tmp_path, code).split())


def test_the_main_job_is_planned_from_it(installed, tmp_path):
    code = "from hpcsweep.cli.main import main; main(['submit', 'exp_runner', '--cluster', 'local', '--dry-run'])"
    text = run(installed, tmp_path, code)
    assert "12 runs" in text and "#!/bin/bash" in text

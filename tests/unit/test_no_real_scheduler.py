"""The tests themselves reach no real scheduler: the guards of tests/conftest.py, tried."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pbs_fixture import FakePbs
from pbs_fixture import pbs as pbs

TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("body", "passes"),
    [
        ("subprocess.run(['sbatch', 'job.sh'])", False),
        ("subprocess.run(['bash', '-c', 'qsub job.sh || true'])", False),
        ("assert not any(pathlib.Path.home().iterdir())", True),
        ("assert os.environ['SLURM_CONF'].startswith('/nonexistent')", True),
    ],
)
def test_a_test_that_calls_a_real_scheduler_fails(tmp_path: Path, body: str, passes: bool) -> None:
    path = tmp_path / "test_x.py"
    path.write_text(f"import os, pathlib, subprocess\ndef test_x():\n    {body}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-p", "no:xdist", str(path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode == 0) is passes, done.stdout
    assert ("a real scheduler would have been called" in done.stdout) is not passes


def test_a_job_of_the_fake_pbs_reads_its_own_login_files_and_none_of_this_machine(pbs: FakePbs) -> None:
    """/etc/profile.d of a login node may put the real qsub first on PATH."""
    profile = pbs.home / ".bash_profile"
    profile.write_text(profile.read_text() + "export OWN_LOGIN_FILE=yes\n")
    for script in ("-- /bin/bash -l job.sh", "job.sh"):
        (pbs.home / "job.sh").write_text("echo $OWN_LOGIN_FILE $PATH; bash -c 'echo ${BASH_ENV:-none}'\n")
        job = pbs.out(f"qsub -N job -j oe -o {pbs.home}/out -l walltime=60 {script}")
        pbs.wait_for(job.partition(".")[0], "F")
        told, nested = (pbs.home / "out").read_text().splitlines()[-2:]
        assert told.startswith("yes /usr/local/bin:/usr/bin:/bin:"), told
        assert nested == "none"

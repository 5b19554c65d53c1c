"""A user's own batch script: the one line that hpcsweep adds, and that it does what it says."""

import subprocess

import pytest

from hpcsweep.errors import SpecError
from hpcsweep.render.own_script import LINE, own_environment, with_values
from hpcsweep.schedulers.slurm.scheduler import SlurmScheduler


def test_the_line_stands_behind_the_directives_and_before_the_first_command():
    text = "#!/bin/bash\n#PBS -l walltime=1:00:00\n\n# mine\nmodule load cuda\nexec hpcsweep-node\n"
    done = with_values(text)
    assert done.split("\n")[4:6] == [LINE, "module load cuda"]
    assert done.replace(f"{LINE}\n", "") == text
    assert with_values(done) == done


@pytest.mark.parametrize(
    ("first", "changed"),
    [
        ("#!/bin/sh", True),
        ("#!/usr/bin/env bash", True),
        ("#!/usr/bin/bash -l", True),
        ("#! /opt/local/bin/zsh", True),
        ("#!/bin/tcsh", False),
        ("#!/bin/csh", False),
        ("#!/usr/bin/env python3", False),
    ],
)
def test_only_posix_shells_get_the_line(first, changed):
    text = f"{first}\nhpcsweep-node\n"
    assert (with_values(text) != text) is changed


def test_it_brings_every_value_and_the_way_to_the_agent(tmp_path):
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "0.env").write_text(own_environment("/opt/my env/bin/python") + "export NOTE='a,b \"c\"'\n")
    script = tmp_path / "job.sh"
    script.write_text(with_values('#!/bin/sh\necho "$NOTE"; echo "$PATH"; echo "$HPCSWEEP_JOB_STARTED_AT"\n'))
    env = {"PATH": "/usr/bin:/bin", "HPCSWEEP_JOB_DIR": str(tmp_path), "HPCSWEEP_ARRAY_INDEX": "0"}
    done = subprocess.run(["/bin/sh", str(script)], env=env, capture_output=True, text=True, check=True)
    note, path, started = done.stdout.splitlines()
    assert (note, path) == ('a,b "c"', "/usr/bin:/bin:/opt/my env/bin")
    assert int(started) > 1_700_000_000


def test_a_slurm_script_that_is_an_array_is_refused():
    slurm = SlurmScheduler()
    assert slurm.read_user_script("#!/bin/bash\n#SBATCH --time=5\n").walltime_s == 300
    for line in ("#SBATCH --array=0-3", "#SBATCH -p gpu -a 0-3"):
        with pytest.raises(SpecError, match="job array"):
            slurm.read_user_script(f"#!/bin/bash\n{line}\n")

"""#SBATCH lines that Slurm would not read, or after which the job would be lost sight of."""

import pytest

from hpcsweep.errors import SpecError
from hpcsweep.schedulers.slurm.directives import check_directives
from hpcsweep.schedulers.slurm.scheduler import SlurmScheduler

HEAD = "#!/bin/bash\n#SBATCH --job-name=s-0001-0\n#SBATCH --array=0-3\n#SBATCH --export=NONE\n"

REFUSED = {
    "another cluster": ("#SBATCH --clusters=far\n", "--clusters=far"),
    "another cluster, in short": ("#SBATCH -M far\n", "-M far"),
    "waiting": ("#SBATCH --wait\n", "hpcsweep submit --wait"),
    "waiting, in short": ("#SBATCH -W\n", "hpcsweep submit --wait"),
    "no submission": ("#SBATCH --test-only\n", "--dry-run"),
    "a second name": (
        "#SBATCH --job-name=mine\n",
        "line 5 of the script: '--job-name=mine' is already set by hpcsweep in line 2",
    ),
    "a second name, in short": ("#SBATCH -J mine\n", "is already set by hpcsweep in line 2"),
    "a second array": ("#SBATCH -a 0-99\n", "is already set by hpcsweep in line 3"),
    "a second environment": ("#SBATCH --export=ALL\n", "is already set by hpcsweep in line 4"),
    "after a command": (
        "module load cuda\n\n#SBATCH --mem=1G\n",
        "line 7 of the script, '#SBATCH --mem=1G', comes after",
    ),
    "Windows line ends": ("#SBATCH --mem=1G\r\n", "carriage return"),
}


@pytest.mark.parametrize(("more", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(more, words):
    with pytest.raises(SpecError) as caught:
        SlurmScheduler().submit_argv("job.sh", "/s/jobs/0", HEAD + more + "exec agent\n")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "line", ["--mail-type=END", "--mem-per-gpu=10G", "-x node7", "--wait-all-nodes=1", "--array-unknown", "-n 4"]
)
def test_everything_else_is_the_users_own(line):
    check_directives(f"{HEAD}#SBATCH {line}\n\n# a comment\n#SBATCH --mem=1G\nexec agent\n")

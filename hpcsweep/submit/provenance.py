"""Record where a sweep comes from: git revision and command line."""

import sys
from pathlib import Path

from hpcsweep.spec.secret_values import masked
from hpcsweep.submit.git_revision import git_revision


def provenance(experiment_file: Path) -> dict[str, str]:
    """Return the command line, and the git revision of the experiment's folder if it is in a repository."""
    return {"command": masked(" ".join(sys.argv[1:]))} | git_revision(experiment_file.resolve().parent)

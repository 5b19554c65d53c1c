"""Where a sweep comes from: git revision, command line."""

import sys
from pathlib import Path

from hpcsweep.spec.secret_values import masked
from hpcsweep.submit.git_revision import git_revision


def provenance(experiment_file: Path) -> dict[str, str]:
    """Git revision of the folder that holds the experiment, where it is one; and the command line."""
    found = {"command": masked(" ".join(sys.argv[1:]))}
    found |= git_revision(experiment_file.resolve().parent)
    return found

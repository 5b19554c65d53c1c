"""Where a sweep comes from: versions, git revision, command line."""

import importlib.metadata
import platform
import sys
from pathlib import Path

import hpcsweep
from hpcsweep.spec.secret_values import masked
from hpcsweep.submit.git_revision import git_revision


def versions() -> dict[str, str]:
    """Versions of what planned and rendered the sweep."""
    found = {"hpcsweep": hpcsweep.__version__, "python": platform.python_version()}
    for package in ("jinja2", "pydantic", "submitit"):
        found[package] = importlib.metadata.version(package)
    return found


def provenance(experiment_file: Path) -> dict[str, str]:
    """Git revision of the folder that holds the experiment, where it is one; and the command line."""
    found = {"command": masked(" ".join(sys.argv[1:]))}
    found |= git_revision(experiment_file.resolve().parent)
    return found

"""Where a sweep comes from: versions, git revision, command line."""

import importlib.metadata
import platform
import sys
from pathlib import Path

import hpcsweep
from hpcsweep.hosts.local import LocalHost
from hpcsweep.spec.secret_values import masked

_GIT_TIMEOUT_S = 10.0


def versions() -> dict[str, str]:
    """Versions of what planned and rendered the sweep."""
    found = {"hpcsweep": hpcsweep.__version__, "python": platform.python_version()}
    for package in ("jinja2", "pydantic", "submitit"):
        found[package] = importlib.metadata.version(package)
    return found


def provenance(experiment_file: Path) -> dict[str, str]:
    """Git revision of the folder that holds the experiment, where it is one; and the command line."""
    found = {"command": masked(" ".join(sys.argv[1:]))}
    git = ["git", "-C", str(experiment_file.resolve().parent)]
    host = LocalHost()
    head = host.run([*git, "rev-parse", "HEAD"], timeout_s=_GIT_TIMEOUT_S)
    if head.exit_code == 0:
        found["git_revision"] = head.stdout.strip()
        changes = host.run([*git, "status", "--porcelain"], timeout_s=_GIT_TIMEOUT_S)
        found["git_changes"] = "yes" if changes.stdout.strip() else "no"
    return found

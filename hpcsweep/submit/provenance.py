"""Where a sweep comes from: git revision, command line."""

import sys
from pathlib import Path

from hpcsweep.hosts.local import LocalHost

_GIT_TIMEOUT_S = 10.0


def provenance(experiment_file: Path) -> dict[str, str]:
    """Git revision of the folder that holds the experiment, where it is one; and the command line."""
    found = {"command": " ".join(sys.argv[1:])}
    git = ["git", "-C", str(experiment_file.resolve().parent)]
    host = LocalHost()
    head = host.run([*git, "rev-parse", "HEAD"], timeout_s=_GIT_TIMEOUT_S)
    if head.exit_code == 0:
        found["git_revision"] = head.stdout.strip()
        changes = host.run([*git, "status", "--porcelain"], timeout_s=_GIT_TIMEOUT_S)
        found["git_changes"] = "yes" if changes.stdout.strip() else "no"
    return found

"""Prepare a user's own batch script for submission: one line is added that reads the values of its run. Pure."""

import posixpath
import re

from hpcsweep.render.environment import sh

SOURCED = "tasks/$HPCSWEEP_ARRAY_INDEX.env"
_SHELL = re.compile(r"#!\s*(?:/\S*/env\s+(?:-S\s+)?|/(?:\S*/)?)(?:ba|da|k|z)?sh\b")
OLD_SOURCED = "elements/$HPCSWEEP_ARRAY_INDEX.env"
"""The path before version 0.2, in scripts and templates of users."""
LINE = f'. "${{HPCSWEEP_JOB_DIR:?}}/{SOURCED}"  # by hpcsweep: the values of this run, and where hpcsweep-node is'


def with_values(text: str) -> str:
    """Return the script with `LINE` before its first command; unchanged if it has it, or is not for a POSIX shell.

    -v and --export cannot pass every value, and a job has the PATH of a login shell, without hpcsweep's environment.
    """
    text = text.replace(OLD_SOURCED, SOURCED)
    if SOURCED in text or not _SHELL.match(text):
        return text
    lines = text.split("\n")
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    return "\n".join([*lines[:first], LINE, *lines[first:]])


def own_environment(python: str) -> str:
    """Return the start of the .env file of a user's own script: the start time of the job, and the PATH of the agent.

    `python`: the interpreter on the cluster; `hpcsweep-node` is in its folder, which is appended to PATH.
    """
    return (
        'export HPCSWEEP_JOB_STARTED_AT="${HPCSWEEP_JOB_STARTED_AT:-$(date +%s)}"\n'
        f'export PATH="$PATH":{sh(posixpath.dirname(python))}\n'
    )

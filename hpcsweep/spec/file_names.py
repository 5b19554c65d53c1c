"""Names of the files of a job folder `jobs/N/`."""

SPEC_FILE = "job.json"
SCRIPT_FILE = "job.sh"
COMMANDS_FILE = "prepare.sh"
"""Commands of the user, in the job of a preparation."""

TASKS_DIR = "tasks"
"""Folder of the environment files and end records of the array tasks."""

OLD_TASKS_DIR = "elements"
"""Name of `TASKS_DIR` before version 0.2: sweeps of those versions are still read."""

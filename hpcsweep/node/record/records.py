"""The small JSON files beside the events: owner.json, exit.json, not_run.json, tasks/K.exit.json."""

from hpcsweep.atomic_files import read_record as read_json
from hpcsweep.atomic_files import write_json

__all__ = ["EXIT_FILE", "NOT_RUN_FILE", "OWNER_FILE", "read_json", "write_json"]

OWNER_FILE = "owner.json"
EXIT_FILE = "exit.json"
NOT_RUN_FILE = "not_run.json"
